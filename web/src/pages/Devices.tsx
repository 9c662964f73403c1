// All devices of a project: a table on a desk, cards on a phone.
import { useInfiniteQuery, useSuspenseQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { devicesQuery, projectQuery } from '../api/queries';
import type { Device } from '../api/types';
import { t } from '../i18n/t';
import { Button, buttonClass } from '../ui/controls';
import { Plus } from '../ui/icons';
import { PageHead } from '../ui/Page';
import { StateMark } from '../ui/StateMark';
import { Empty, Failed, Loading } from '../ui/states';
import { useMayWrite } from '../ui/useMayWrite';
import { Ago } from '../ui/Value';
import { Simulated } from './DeviceBits';

const route = getRouteApi('/signed-in/p/$project/devices');

export function Devices() {
  const { project: id } = route.useParams();
  const { data: project } = useSuspenseQuery(projectQuery(id));
  const mayWrite = useMayWrite(id);
  const devices = useInfiniteQuery(devicesQuery(id));
  const rows = devices.data?.pages.flatMap((page) => page.items);
  return (
    <>
      <PageHead title={t('nav.devices')}>
        {mayWrite ? (
          <Link to="/p/$project/devices/add" params={{ project: id }} className={buttonClass('primary')}>
            <Plus />
            {t('add.title')}
          </Link>
        ) : null}
      </PageHead>
      {devices.error ? <Failed error={devices.error} retry={() => void devices.refetch()} /> : null}
      {rows === undefined ? (
        devices.error ? null : (
          <Loading />
        )
      ) : rows.length === 0 ? (
        <Empty title={t('devices.empty')}>{mayWrite ? <p>{t('devices.empty_next')}</p> : null}</Empty>
      ) : (
        <>
          <DeviceTable rows={rows} project={id} zone={project.zone} />
          <DeviceCards rows={rows} project={id} zone={project.zone} />
        </>
      )}
      {devices.hasNextPage ? (
        <Button
          onClick={() => void devices.fetchNextPage()}
          pending={devices.isFetchingNextPage}
          more="self-start"
        >
          {t('devices.more')}
        </Button>
      ) : null}
    </>
  );
}

interface ListProps {
  rows: Device[];
  project: string;
  zone: string;
}

function Name({ device, project }: { device: Device; project: string }) {
  return (
    <Link
      to="/p/$project/devices/$device"
      params={{ project, device: device.id }}
      className="focus-ring rounded font-medium wrap-anywhere"
    >
      {device.name}
    </Link>
  );
}

function LastSeen({ device, zone }: { device: Device; zone: string }) {
  return device.last_seen ? <Ago time={device.last_seen} zone={zone} /> : <span>{t('device.never')}</span>;
}

function DeviceTable({ rows, project, zone }: ListProps) {
  return (
    <div className="overflow-hidden rounded border border-line bg-panel max-md:hidden">
      <table className="w-full text-left">
        <thead>
          <tr className="border-line border-b text-[13px] text-muted">
            <th className="px-4 py-2 font-medium">{t('device.name')}</th>
            <th className="px-4 py-2 font-medium">{t('device.state')}</th>
            <th className="px-4 py-2 font-medium max-lg:hidden">{t('device.sentence')}</th>
            <th className="px-4 py-2 text-right font-medium">{t('device.last_seen')}</th>
            <th className="px-4 py-2 text-right font-medium">{t('device.elements')}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((device) => (
            <tr key={device.id} className="h-10 border-line border-b last:border-b-0 hover:bg-hover">
              <td className="px-4 py-2">
                <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
                  <Name device={device} project={project} />
                  <Simulated device={device} />
                </span>
              </td>
              <td className="px-4 py-2">
                <StateMark state={device.state} />
              </td>
              <td className="px-4 py-2 text-muted max-lg:hidden">{device.sentence}</td>
              <td className="px-4 py-2 text-right">
                <LastSeen device={device} zone={zone} />
              </td>
              <td className="px-4 py-2 text-right tabular-nums">{device.elements}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function DeviceCards({ rows, project, zone }: ListProps) {
  return (
    <ul className="flex flex-col gap-2 md:hidden">
      {rows.map((device) => (
        <li key={device.id} className="flex flex-col gap-1.5 rounded border border-line bg-panel p-3">
          <span className="flex flex-wrap items-center justify-between gap-x-3 gap-y-1">
            <span className="text-[15px]">
              <Name device={device} project={project} />
            </span>
            <StateMark state={device.state} />
          </span>
          <span className="text-[13px] text-muted">{device.sentence}</span>
          <span className="flex flex-wrap items-center gap-x-3 text-[13px] text-muted">
            <Simulated device={device} />
            <span>
              {t('device.last_seen')}: <LastSeen device={device} zone={zone} />
            </span>
            <span>{t('projects.elements', { count: device.elements })}</span>
          </span>
        </li>
      ))}
    </ul>
  );
}
