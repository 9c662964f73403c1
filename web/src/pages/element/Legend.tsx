// The key of a chart: how the series is drawn, and its last, lowest, mean and highest value in what is shown.
import type { Scene } from '../../chart/scene';
import type { Statistics } from '../../chart/shape';
import { t } from '../../i18n/t';
import { formatNumber } from '../../units/units';

const FIGURES = ['min', 'mean', 'max'] as const;
/** Between an open and a closed door there is no mean. */
const STEP_FIGURES = ['min', 'max'] as const;

interface LegendProps {
  name: string;
  unit: string;
  scene: Scene | null;
  statistics: Statistics | null;
}

export function Legend({ name, unit, scene, statistics }: LegendProps) {
  const raw = scene?.drawn.raw ?? true;
  const scale = scene?.scale;
  const show = (value: number) => (scale ? formatNumber(value / scale.factor, scale.digits) : '');
  return (
    <div className="flex flex-wrap items-center justify-between gap-x-6 gap-y-1 text-[13px]">
      <p className="flex flex-wrap items-center gap-x-4 gap-y-1">
        <span className="font-semibold">{unit ? `${name}, ${unit}` : name}</span>
        <span className="flex items-center gap-1.5 text-muted">
          <Sample raw={raw} />
          {t(raw ? 'legend.raw' : 'legend.envelope')}
        </span>
      </p>
      {statistics ? (
        <dl className="flex flex-wrap gap-x-4 tabular-nums">
          {(scene?.steps ? STEP_FIGURES : FIGURES).map((figure) => (
            <div key={figure} className="flex gap-1.5">
              <dt className="text-muted">{t(`legend.${figure}`)}</dt>
              <dd className="font-medium">{show(statistics[figure])}</dd>
            </div>
          ))}
        </dl>
      ) : null}
    </div>
  );
}

/** A small drawing of how the data is drawn. */
function Sample({ raw }: { raw: boolean }) {
  return (
    <svg viewBox="0 0 24 12" className="h-3 w-6" aria-hidden="true" style={{ color: 'var(--series-1)' }}>
      {raw ? null : <path d="M1 3h22v7H1z" fill="currentColor" opacity="0.4" />}
      <path d="M1 6.5h22" stroke="currentColor" strokeWidth="1.5" />
      {raw ? <circle cx="12" cy="6.5" r="2.5" fill="currentColor" /> : null}
    </svg>
  );
}
