// One element's chart. The address holds what is shown; this page turns it into a scene, keeps the live edge moving, and
// turns moves on the chart back into addresses, so that Back undoes a zoom.
import { useQuery, useSuspenseQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useEffect, useId, useMemo, useState } from 'react';
import { pointsQuery } from '../api/points';
import { deviceQuery, elementQuery, projectQuery } from '../api/queries';
import type { Element } from '../api/types';
import { Chart } from '../chart/Chart';
import type { Reading } from '../chart/plot';
import {
  fixedView,
  isLive,
  pan,
  type Range,
  rangeOf,
  searchOf,
  type View,
  viewOf,
  zoom,
} from '../chart/range';
import type { Scene } from '../chart/scene';
import { gapsUntil, statistics } from '../chart/shape';
import { t } from '../i18n/t';
import { now } from '../time/now';
import { CompletenessStrip } from '../ui/CompletenessStrip';
import { nameWithin } from '../ui/names';
import { PageHead } from '../ui/Page';
import { Failed, Loading } from '../ui/states';
import { useNow } from '../ui/useNow';
import { useWidth } from '../ui/useWidth';
import { scaleFor, symbolOf } from '../units/units';
import { Simulated } from './DeviceBits';
import { Caption } from './element/Caption';
import { DrawnTable } from './element/DrawnTable';
import { Legend } from './element/Legend';
import { Readout } from './element/Readout';
import { Toolbar } from './element/Toolbar';

const route = getRouteApi('/signed-in/p/$project/elements/$element');

export function ElementPage() {
  const { project, element: id } = route.useParams();
  const { data: zone } = useSuspenseQuery({ ...projectQuery(project), select: (found) => found.zone });
  const element = useQuery(elementQuery(project, id));
  if (!element.data) {
    return element.error ? (
      <Failed error={element.error} retry={() => void element.refetch()} />
    ) : (
      <Loading />
    );
  }
  return <ElementView key={id} project={project} zone={zone} element={element.data} />;
}

/** Booleans and states hold until they change. */
function holds(element: Element): boolean {
  return element.value_kind !== 'number';
}

/** A bucket a pixel, in steps of a hundred so that a small resize asks for nothing new. */
function bucketsFor(width: number): number {
  return Math.min(2_000, Math.max(200, Math.ceil((width - 60) / 100) * 100));
}

function ElementView({ project, zone, element }: { project: string; zone: string; element: Element }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const captionId = useId();
  const [wrapper, width] = useWidth();
  const address = JSON.stringify(search);
  const view = useMemo(() => viewOf(JSON.parse(address)), [address]);
  const [preview, setPreview] = useState<Range | null>(null);
  const [reading, setReading] = useState<Reading | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new address ends whatever move led to it
  useEffect(() => setPreview(null), [address]);

  const device = useQuery({ ...deviceQuery(project, element.device ?? ''), enabled: !!element.device });

  const tick = useNow();
  const live = isLive(view) && preview === null;
  const points = useQuery({
    ...pointsQuery(project, element.id, view, bucketsFor(width)),
    enabled: width > 0,
  });
  const drawn = points.data;

  const scene = useMemo((): Scene | null => {
    if (!drawn) return null;
    const nowMs = Math.max(tick, now() - 1_000);
    const { from, to } = preview ?? rangeOf(view, nowMs, drawn.from);
    const intervalMs = (element.interval_us ?? 0) / 1_000;
    const size = Math.max(...drawn.max.map(Math.abs), ...drawn.min.map(Math.abs), 0);
    return {
      drawn,
      gaps: isLive(view) ? gapsUntil(drawn, nowMs, intervalMs) : drawn.gaps,
      from,
      to,
      zone,
      steps: holds(element),
      scale: scaleFor(element.unit, element.digits, size),
      reason: (gap) => t(`gap.${gap.reason}`),
    };
  }, [drawn, view, preview, tick, zone, element]);

  const go = (next: View, replace = false) =>
    void navigate({
      search: { ...searchOf(next), ...(search.show ? { show: search.show } : {}) },
      resetScroll: false,
      replace,
    });
  const range: Range = scene ?? { from: tick - 3_600_000, to: tick };
  const move = (next: Range) => go(fixedView(next));
  const found = scene && statistics(scene.drawn, scene.from, scene.to);
  const name = nameWithin(element.name, device.data?.name);
  const unit = scene?.scale.symbol ?? symbolOf(element.unit);

  return (
    <>
      <PageHead
        title={name}
        above={
          element.device ? (
            <span className="flex flex-wrap items-center gap-2">
              <Link
                to="/p/$project/devices/$device"
                params={{ project, device: element.device }}
                className="focus-ring rounded"
              >
                {device.data?.name ?? t('element.device')}
              </Link>
              {device.data ? <Simulated device={device.data} /> : null}
            </span>
          ) : null
        }
      >
        <Readout scene={scene} reading={reading} element={element} zone={zone} />
      </PageHead>
      <Toolbar
        view={view}
        range={range}
        zone={zone}
        live={live}
        lastMs={element.latest ? Date.parse(element.latest.time) : null}
        table={search.show === 'table'}
        go={go}
        pan={(part) => move(pan(range, part))}
        zoom={(factor) => move(zoom(range, factor))}
        showTable={(table) =>
          void navigate({
            search: { ...searchOf(view), ...(table ? { show: 'table' } : {}) },
            resetScroll: false,
            replace: true,
          })
        }
      />
      {points.error ? <Failed error={points.error} retry={() => void points.refetch()} /> : null}
      <section
        ref={wrapper}
        className="flex min-w-0 flex-col gap-2 rounded border border-line bg-panel p-3 md:p-4"
      >
        <Legend name={name} unit={unit} scene={scene} statistics={found} />
        {scene === null ? (
          points.error ? null : (
            <Loading />
          )
        ) : search.show === 'table' ? (
          <DrawnTable scene={scene} unit={unit} />
        ) : (
          <Chart
            scene={scene}
            colour={element.colour ?? null}
            label={
              unit
                ? t('chart.label', { name: element.name, unit })
                : t('chart.label_plain', { name: element.name })
            }
            describedBy={captionId}
            busy={points.isPlaceholderData}
            handlers={{
              preview: setPreview,
              commit: (next) => {
                setPreview(next);
                move(next);
              },
              all: () => go({ kind: 'all' }),
              reading: setReading,
            }}
          />
        )}
        <Caption id={captionId} scene={scene} statistics={found} busy={points.isPlaceholderData} />
      </section>
      <p className="text-[13px] text-muted max-md:hidden">{t('chart.help')}</p>
      <CompletenessStrip project={project} of={{ element: element.id }} />
    </>
  );
}
