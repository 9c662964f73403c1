// The line under a chart that keeps it honest: how many points stand behind the picture, in what form, in which zone.
import type { Scene } from '../../chart/scene';
import type { Statistics } from '../../chart/shape';
import { t } from '../../i18n/t';
import { formatMoment, formatSpan, zoneAbbreviation } from '../../time/format';

interface CaptionProps {
  id: string;
  scene: Scene | null;
  statistics: Statistics | null;
  busy: boolean;
}

export function captionOf(scene: Scene, statistics: Statistics | null): string {
  if (!statistics) return t('caption.none');
  if (scene.drawn.raw) return t('caption.raw', { count: statistics.count });
  return t('caption.buckets', {
    count: statistics.count,
    buckets: t('caption.bucket', { count: statistics.entries }),
    width: formatSpan(scene.drawn.widthMs),
  });
}

export function Caption({ id, scene, statistics, busy }: CaptionProps) {
  if (!scene) return <p id={id} className="min-h-5 text-[13px]" />;
  const { from, to, zone, gaps } = scene;
  const shownGaps = gaps.filter((gap) => gap.to > from && gap.from < to).length;
  const short = zoneAbbreviation(to, zone);
  return (
    <div className="flex flex-wrap justify-between gap-x-6 gap-y-1 text-[13px] text-muted tabular-nums">
      <p id={id} data-testid="caption">
        {captionOf(scene, statistics)}
        {statistics && statistics.suspect > 0
          ? ` · △ ${t('caption.suspect', { count: statistics.suspect })}`
          : ''}
        {statistics && statistics.fail > 0 ? ` · ✕ ${t('caption.fail', { count: statistics.fail })}` : ''}
        {shownGaps > 0 ? ` · ${t('caption.gaps', { count: shownGaps })}` : ''}
        {busy ? ` · ${t('caption.busy')}` : ''}
      </p>
      <p>
        {formatMoment(from, zone)} – {formatMoment(to, zone)}{' '}
        <span className="whitespace-nowrap">
          {zone}
          {short === zone ? '' : ` (${short})`}
        </span>
      </p>
    </div>
  );
}
