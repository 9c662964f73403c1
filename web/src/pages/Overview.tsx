// A project at a glance: how many devices are in which state, and each device with its sentence and latest values, those
// that need a person first.
import { useInfiniteQuery, useQuery, useSuspenseQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { devicesQuery, elementsQuery, projectQuery } from '../api/queries';
import type { Device, Element } from '../api/types';
import { t } from '../i18n/t';
import { buttonClass } from '../ui/controls';
import { Plus } from '../ui/icons';
import { PageHead } from '../ui/Page';
import { StateMark, URGENCY } from '../ui/StateMark';
import { Empty, Failed, Loading } from '../ui/states';
import { useMayWrite } from '../ui/useMayWrite';
import { Simulated } from './DeviceBits';
import { ElementTiles } from './ElementTiles';

const route = getRouteApi('/signed-in/p/$project/');

/** More on one page would be a list, and there is a page for that. */
const DEVICES_SHOWN = 12;

export function Overview() {
  const { project: id } = route.useParams();
  const { data: project } = useSuspenseQuery(projectQuery(id));
  const mayWrite = useMayWrite(id);
  const devices = useInfiniteQuery(devicesQuery(id));
  const elements = useQuery(elementsQuery(id));
  const failure = devices.error ?? elements.error;
  const known = devices.data?.pages.flatMap((page) => page.items) ?? [];
  const byUrgency = known.toSorted((a, b) => URGENCY.indexOf(a.state) - URGENCY.indexOf(b.state));
  const reload = () => void Promise.all([devices.refetch(), elements.refetch()]);

  return (
    <>
      <PageHead title={project.name}>
        {mayWrite ? (
          <Link to="/p/$project/devices/add" params={{ project: id }} className={buttonClass('plain')}>
            <Plus />
            {t('add.title')}
          </Link>
        ) : null}
      </PageHead>
      {failure ? <Failed error={failure} retry={reload} /> : null}
      {devices.data === undefined ? (
        failure ? null : (
          <Loading />
        )
      ) : known.length === 0 ? (
        <Empty title={t('devices.empty')}>
          {mayWrite ? (
            <>
              <p>{t('devices.empty_next')}</p>
              <Link to="/p/$project/devices/add" params={{ project: id }} className={buttonClass('primary')}>
                {t('add.title')}
              </Link>
            </>
          ) : null}
        </Empty>
      ) : (
        <>
          <Counts devices={known} more={devices.hasNextPage} />
          {byUrgency.slice(0, DEVICES_SHOWN).map((device) => (
            <DevicePanel
              key={device.id}
              project={id}
              zone={project.zone}
              device={device}
              elements={elements.data?.items.filter((element) => element.device === device.id) ?? []}
            />
          ))}
          {known.length > DEVICES_SHOWN || devices.hasNextPage ? (
            <Link
              to="/p/$project/devices"
              params={{ project: id }}
              className={buttonClass('plain', 'self-start')}
            >
              {t('overview.all_devices')}
            </Link>
          ) : null}
        </>
      )}
    </>
  );
}

function Counts({ devices, more }: { devices: Device[]; more: boolean }) {
  return (
    <ul className="flex flex-wrap gap-x-6 gap-y-2" aria-label={t('overview.counts')}>
      {URGENCY.map((state) => ({ state, count: devices.filter((device) => device.state === state).length }))
        .filter(({ count }) => count > 0)
        .map(({ state, count }) => (
          <li key={state} className="flex items-baseline gap-2">
            <span className="font-medium text-[20px]">{count}</span>
            <StateMark state={state} />
          </li>
        ))}
      {more ? (
        <li className="self-center text-muted">{t('overview.first', { count: devices.length })}</li>
      ) : null}
    </ul>
  );
}

interface DevicePanelProps {
  project: string;
  zone: string;
  device: Device;
  elements: Element[];
}

function DevicePanel({ project, zone, device, elements }: DevicePanelProps) {
  return (
    <section className="flex flex-col gap-3 rounded border border-line bg-panel p-4">
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1">
        <h2 className="font-semibold text-[15px] wrap-anywhere">
          <Link
            to="/p/$project/devices/$device"
            params={{ project, device: device.id }}
            className="focus-ring rounded text-ink no-underline hover:underline"
          >
            {device.name}
          </Link>
        </h2>
        <Simulated device={device} />
        <StateMark state={device.state} />
        <p className="text-[13px] text-muted">{device.sentence}</p>
      </div>
      {elements.length > 0 ? (
        <ElementTiles project={project} zone={zone} device={device.name} elements={elements} />
      ) : (
        <p className="text-muted">{t('device.no_elements')}</p>
      )}
    </section>
  );
}
