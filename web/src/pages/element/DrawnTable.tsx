// What the chart draws, as a table: the same entries, no more and no fewer, newest first, in pages.
import { useState } from 'react';
import type { Scene } from '../../chart/scene';
import { t } from '../../i18n/t';
import { formatMoment, zoneAbbreviation } from '../../time/format';
import { Button } from '../../ui/controls';
import { flagWord } from '../../ui/Value';
import { formatNumber } from '../../units/units';

const PAGE_ROWS = 100;

export function DrawnTable({ scene, unit }: { scene: Scene; unit: string }) {
  const [shown, setShown] = useState(PAGE_ROWS);
  const { drawn, from, to, zone, scale } = scene;
  const rows = drawn.t
    .map((time, i) => ({ time, i }))
    .filter(({ time }) => time + drawn.widthMs >= from && time <= to);
  rows.reverse();
  const show = (value: number | undefined) => formatNumber((value ?? 0) / scale.factor, scale.digits);
  const number = 'px-3 py-1.5 text-right font-medium';
  const value = unit ? `, ${unit}` : '';
  return (
    // A table wider than a phone scrolls by itself, and by keys when it has focus.
    <section
      aria-label={t('table.title')}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
      tabIndex={0}
      className="focus-ring max-h-[60vh] overflow-auto rounded"
    >
      <table className="w-full text-left tabular-nums">
        <thead className="sticky top-0 bg-panel text-[13px] text-muted">
          <tr>
            <th className="px-3 py-1.5 font-medium">
              {t(drawn.raw ? 'table.time' : 'table.start')}, {zoneAbbreviation(to, zone)}
            </th>
            {drawn.raw ? (
              <th className={number}>
                {t('table.value')}
                {value}
              </th>
            ) : (
              <>
                {(['min', 'mean', 'max'] as const).map((name) => (
                  <th key={name} className={number}>
                    {t(`legend.${name}`)}
                    {value}
                  </th>
                ))}
                <th className={number}>{t('table.points')}</th>
              </>
            )}
            <th className="px-3 py-1.5 font-medium">{t('table.flag')}</th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, shown).map(({ time, i }) => (
            <tr key={time} className="border-line border-t">
              <td className="px-3 py-1.5 whitespace-nowrap">{formatMoment(time, zone)}</td>
              {drawn.raw ? null : <td className={number}>{show(drawn.min[i])}</td>}
              <td className={number}>{show(drawn.mean[i])}</td>
              {drawn.raw ? null : (
                <>
                  <td className={number}>{show(drawn.max[i])}</td>
                  <td className={number}>{drawn.n[i]}</td>
                </>
              )}
              <td className="px-3 py-1.5">{flagWord(drawn.flag[i] ?? 0) ?? ''}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > shown ? (
        <Button more="m-2" onClick={() => setShown(shown + PAGE_ROWS)}>
          {t('table.more', { count: rows.length - shown })}
        </Button>
      ) : null}
    </section>
  );
}
