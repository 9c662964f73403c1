// What is read off the chart: the value under the cursor, or the latest one. Also said aloud, politely, when the cursor
// rests.
import { useEffect, useState } from 'react';
import type { Element } from '../../api/types';
import type { Reading } from '../../chart/plot';
import type { Scene } from '../../chart/scene';
import { t } from '../../i18n/t';
import { formatMoment, formatSpan } from '../../time/format';
import { Ago, FlagNote, flagWord, Value } from '../../ui/Value';
import { formatNumber } from '../../units/units';

interface ReadoutProps {
  scene: Scene | null;
  reading: Reading | null;
  element: Element;
  zone: string;
}

/** Long enough that a moving cursor stays silent. */
const REST_MS = 500;

interface Words {
  value: string;
  unit: string;
  note: string;
}

function wordsOf(scene: Scene, reading: Reading): Words | null {
  const { drawn, zone, scale } = scene;
  if (reading.kind === 'gap') {
    const { gap } = reading;
    const note = `${formatMoment(gap.from, zone)} – ${formatMoment(gap.to, zone)} (${formatSpan(gap.to - gap.from)})`;
    return { value: scene.reason(gap), unit: '', note };
  }
  const i = reading.index;
  const time = drawn.t[i];
  if (time === undefined) return null;
  const show = (value: number | undefined) => formatNumber((value ?? 0) / scale.factor, scale.digits);
  const flag = flagWord(drawn.flag[i] ?? 0);
  const fine = scene.to - scene.from < 10_000;
  const at = formatMoment(time, zone, fine);
  const note = drawn.raw
    ? [at, flag]
    : [
        t('readout.from', { time: at, span: formatSpan(drawn.widthMs) }),
        t('readout.between', { min: show(drawn.min[i]), max: show(drawn.max[i]) }),
        t('readout.points', { count: drawn.n[i] ?? 0 }),
        flag,
      ];
  return { value: show(drawn.mean[i]), unit: scale.symbol, note: note.filter(Boolean).join(' · ') };
}

export function Readout({ scene, reading, element, zone }: ReadoutProps) {
  const words = scene && reading ? wordsOf(scene, reading) : null;
  const text = words ? `${words.value} ${words.unit}, ${words.note}` : '';
  const [said, setSaid] = useState('');
  useEffect(() => {
    const timer = setTimeout(() => setSaid(text), REST_MS);
    return () => clearTimeout(timer);
  }, [text]);
  const { latest } = element;
  return (
    <div className="min-h-14 text-right max-md:w-full max-md:text-left">
      {words ? (
        <>
          <p className="font-medium text-[28px] leading-9 tabular-nums">
            {words.value} <span className="font-normal text-base text-muted">{words.unit}</span>
          </p>
          <p className="text-[13px] text-muted tabular-nums">{words.note}</p>
        </>
      ) : latest ? (
        <>
          <p data-testid="latest">
            <Value value={latest.value} unit={element.unit} digits={element.digits} big />
          </p>
          <p className="text-[13px] text-muted">
            {t('readout.latest')} <Ago time={latest.time} zone={zone} /> <FlagNote latest={latest} />
          </p>
        </>
      ) : (
        <p className="text-muted">{t('element.no_value')}</p>
      )}
      <p role="status" className="sr-only">
        {said}
      </p>
    </div>
  );
}
