// One device: what state it is in and why, its clock and certificate, its channels with their elements, its log.
import { useQuery, useSuspenseQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { deviceQuery, elementsQuery, logQuery, projectQuery } from '../api/queries';
import type { Device, Element, LogLine } from '../api/types';
import { t } from '../i18n/t';
import { formatAgo, formatDate, formatMoment, formatSpan } from '../time/format';
import { CompletenessStrip } from '../ui/CompletenessStrip';
import { byName, nameWithin } from '../ui/names';
import { PageHead, Panel } from '../ui/Page';
import { StateMark } from '../ui/StateMark';
import { Failed, Loading } from '../ui/states';
import { useNow } from '../ui/useNow';
import { Ago, FlagNote, Value } from '../ui/Value';
import { symbolOf } from '../units/units';
import { Simulated } from './DeviceBits';
import { DeviceClockPanel } from './DeviceClock';
import { ElementTiles } from './ElementTiles';

const route = getRouteApi('/signed-in/p/$project/devices/$device');

export function DevicePage() {
  const { project, device: id } = route.useParams();
  const { data: zone } = useSuspenseQuery({ ...projectQuery(project), select: (found) => found.zone });
  const device = useQuery(deviceQuery(project, id));
  const elements = useQuery(elementsQuery(project));
  const log = useQuery(logQuery(project, id));
  const own = elements.data?.items.filter((element) => element.device === id);

  if (!device.data) {
    return device.error ? <Failed error={device.error} retry={() => void device.refetch()} /> : <Loading />;
  }
  return (
    <>
      <PageHead
        title={device.data.name}
        above={
          <Link to="/p/$project/devices" params={{ project }} className="focus-ring rounded">
            {t('nav.devices')}
          </Link>
        }
      >
        <Simulated device={device.data} />
      </PageHead>
      {device.error ? <Failed error={device.error} retry={() => void device.refetch()} /> : null}
      <Facts device={device.data} zone={zone} />
      <CompletenessStrip project={project} of={{ device: id }} />
      <DeviceClockPanel project={project} device={id} zone={zone} />
      {elements.error ? (
        <Failed error={elements.error} retry={() => void elements.refetch()} />
      ) : own === undefined ? (
        <Loading />
      ) : own.length === 0 ? (
        <p className="text-muted">{t('device.no_elements')}</p>
      ) : (
        <>
          <ElementTiles project={project} zone={zone} device={device.data.name} elements={own} />
          <Channels project={project} zone={zone} device={device.data.name} elements={own} />
        </>
      )}
      <Panel title={t('device.log')} flush>
        {log.error ? (
          <div className="p-4">
            <Failed error={log.error} retry={() => void log.refetch()} />
          </div>
        ) : log.data === undefined ? (
          <Loading />
        ) : (
          <Log lines={log.data.items} zone={zone} />
        )}
      </Panel>
    </>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex flex-col gap-0.5">
      <dt className="text-[13px] text-muted">{name}</dt>
      <dd className="wrap-anywhere">{children}</dd>
    </div>
  );
}

function Facts({ device, zone }: { device: Device; zone: string }) {
  return (
    <Panel>
      <p className="mb-4 flex flex-wrap items-center gap-x-3 gap-y-1 text-[15px]">
        <StateMark state={device.state} />
        <span>{device.sentence}</span>
      </p>
      <dl className="grid grid-cols-[repeat(auto-fill,minmax(min(100%,190px),1fr))] gap-4">
        <Fact name={t('device.last_seen')}>
          {device.last_seen ? <Ago time={device.last_seen} zone={zone} /> : t('device.never')}
        </Fact>
        <Fact name={t('device.clock')}>{clockWords(device)}</Fact>
        <Fact name={t('device.certificate')}>
          <Certificate expires={device.certificate_expires} zone={zone} />
        </Fact>
        <Fact name={t('device.version')}>{device.version ?? t('unknown')}</Fact>
        <Fact name={t('device.id')}>
          <code className="select-all">{device.id}</code>
        </Fact>
      </dl>
    </Panel>
  );
}

function clockWords({ clock, clock_age_s }: Device): string {
  if (!clock) return t('unknown');
  if (clock === 'free_running' && clock_age_s) {
    return t('clock.free_running_since', { ago: formatAgo(0, clock_age_s * 1_000) });
  }
  return t(`clock.${clock}`);
}

function Certificate({ expires, zone }: { expires: string; zone: string }) {
  const nowMs = useNow(60_000);
  const left = Date.parse(expires) - nowMs;
  const date = formatDate(Date.parse(expires), zone);
  return left < 0 ? t('device.expired', { date }) : t('device.valid', { date, span: formatSpan(left) });
}

interface ChannelsProps {
  project: string;
  zone: string;
  device: string;
  elements: Element[];
}

function Channels({ project, zone, device, elements }: ChannelsProps) {
  return (
    <Panel title={t('device.channels')} flush>
      <table className="w-full text-left">
        <thead>
          <tr className="border-line border-b text-[13px] text-muted">
            <th className="px-4 py-2 font-medium max-md:hidden">{t('device.channel')}</th>
            <th className="px-4 py-2 font-medium">{t('device.element')}</th>
            <th className="px-4 py-2 text-right font-medium">{t('device.latest')}</th>
            <th className="px-4 py-2 text-right font-medium max-md:hidden">{t('device.age')}</th>
            <th className="px-4 py-2 text-right font-medium max-md:hidden">{t('device.every')}</th>
          </tr>
        </thead>
        <tbody>
          {byName(elements).map((element) => (
            <tr key={element.id} className="h-10 border-line border-b last:border-b-0 hover:bg-hover">
              <td className="px-4 py-2 max-md:hidden">
                <code>{element.channel}</code>
              </td>
              <td className="px-4 py-2">
                <Link
                  to="/p/$project/elements/$element"
                  params={{ project, element: element.id }}
                  className="focus-ring rounded font-medium wrap-anywhere"
                >
                  {nameWithin(element.name, device)}
                </Link>
                <span className="text-[13px] text-muted"> {symbolOf(element.unit)}</span>
              </td>
              <td className="px-4 py-2 text-right">
                {element.latest ? (
                  <>
                    <FlagNote latest={element.latest} />{' '}
                    <Value value={element.latest.value} unit={element.unit} digits={element.digits} />
                  </>
                ) : (
                  <span className="text-muted">{t('element.no_value')}</span>
                )}
              </td>
              <td className="px-4 py-2 text-right text-muted max-md:hidden">
                {element.latest ? <Ago time={element.latest.time} zone={zone} /> : null}
              </td>
              <td className="px-4 py-2 text-right text-muted tabular-nums max-md:hidden">
                {element.interval_us ? formatSpan(element.interval_us / 1_000) : t('device.on_event')}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

function Log({ lines, zone }: { lines: LogLine[]; zone: string }) {
  if (lines.length === 0) return <p className="p-4 text-muted">{t('device.log_empty')}</p>;
  return (
    <ol>
      {keyed(lines).map(({ line, key }) => (
        <li
          key={key}
          className="grid gap-x-4 gap-y-0.5 border-line border-b px-4 py-2 last:border-b-0 md:grid-cols-[190px_110px_minmax(0,1fr)]"
        >
          <time dateTime={line.time} className="text-muted tabular-nums">
            {formatMoment(Date.parse(line.time), zone)}
          </time>
          <span
            className={line.level === 'error' || line.level === 'warning' ? 'font-semibold' : 'text-muted'}
          >
            {t(`log.${line.level}`)} · {t(`log.${line.source}`)}
          </span>
          <span className="wrap-anywhere">
            {line.text} <code className="text-muted">{line.code}</code>
          </span>
        </li>
      ))}
    </ol>
  );
}

/** Lines carry no id; those alike in time and code are told apart by their place among each other. */
function keyed(lines: LogLine[]): { line: LogLine; key: string }[] {
  const seen = new Map<string, number>();
  return lines
    .toReversed()
    .map((line) => {
      const alike = `${line.time} ${line.code}`;
      const place = (seen.get(alike) ?? 0) + 1;
      seen.set(alike, place);
      return { line, key: `${alike} ${place}` };
    })
    .toReversed();
}
