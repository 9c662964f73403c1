// Adding a logger: name it, get the one line to run on it, and watch until it appears.
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { type FormEvent, useEffect, useState } from 'react';
import { api, call } from '../api/client';
import { isStatus, Refused } from '../api/problem';
import { devicesQuery, elementsQuery } from '../api/queries';
import type { ClaimLine, Device } from '../api/types';
import { t } from '../i18n/t';
import { formatSpan } from '../time/format';
import { CopyLine } from '../ui/CopyLine';
import { Button, buttonClass, TextField } from '../ui/controls';
import { Tick } from '../ui/icons';
import { PageHead, Panel } from '../ui/Page';
import { StateMark } from '../ui/StateMark';
import { Failed } from '../ui/states';
import { useNow } from '../ui/useNow';

const route = getRouteApi('/signed-in/p/$project/devices/add');

/** While somebody waits, the list is asked for this often. */
const LISTEN_MS = 2_000;

export function AddLogger() {
  const { project } = route.useParams();
  const client = useQueryClient();
  const [known, setKnown] = useState<Set<string>>();
  const create = useMutation({
    mutationFn: async (name: string) => {
      // Whoever is here before the claim exists cannot be the one who uses it.
      const before = await client.fetchInfiniteQuery({ ...devicesQuery(project), staleTime: 0 });
      setKnown(new Set(before.pages.flatMap((page) => page.items.map((device) => device.id))));
      return call(
        api.POST('/api/v1/projects/{project}/claims', { params: { path: { project } }, body: { name } }),
      );
    },
  });
  const fault = create.error instanceof Refused ? create.error.faults[0]?.reason : undefined;
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    create.mutate(String(new FormData(event.currentTarget).get('name')).trim());
  };

  return (
    <>
      <PageHead
        title={t('add.title')}
        above={
          <Link to="/p/$project/devices" params={{ project }} className="focus-ring rounded">
            {t('nav.devices')}
          </Link>
        }
      />
      {create.data && known ? (
        <Listening project={project} claim={create.data} known={known} />
      ) : (
        <Panel>
          <form onSubmit={submit} className="flex max-w-md flex-col gap-4">
            <p>{t('add.intro')}</p>
            <TextField
              name="name"
              required
              maxLength={128}
              label={t('add.name')}
              hint={t('add.name_hint')}
              fault={fault}
            />
            {create.error && fault === undefined ? (
              isStatus(create.error, 403) ? (
                <p role="alert">{t('add.forbidden')}</p>
              ) : (
                <Failed error={create.error} />
              )
            ) : null}
            <Button type="submit" look="primary" more="self-start" pending={create.isPending}>
              {t('add.create')}
            </Button>
          </form>
        </Panel>
      )}
    </>
  );
}

function Listening({ project, claim, known }: { project: string; claim: ClaimLine; known: Set<string> }) {
  const nowMs = useNow();
  const devices = useInfiniteQuery({ ...devicesQuery(project), refetchInterval: LISTEN_MS });
  const arrived = devices.data?.pages.flatMap((page) => page.items).find((device) => !known.has(device.id));
  const left = Date.parse(claim.expires) - nowMs;
  return (
    <>
      <Panel title={t('add.run')}>
        <div className="flex flex-col gap-3">
          <p>{t('add.run_text', { name: claim.name })}</p>
          <CopyLine line={`fieldkeep-logger enroll '${claim.line}'`} label={t('add.run')} />
          <p>{t('add.then')}</p>
          <CopyLine line="fieldkeep-logger run" label={t('add.then')} />
          <p className="text-[13px] text-muted">
            {left > 0 ? t('add.expires', { span: formatSpan(left) }) : t('add.expired')}
          </p>
        </div>
      </Panel>
      <Panel title={t('add.watch')}>
        <div role="status" className="flex flex-col items-start gap-3">
          {arrived ? <Arrived project={project} device={arrived} /> : <p>{t('add.listening')}</p>}
        </div>
      </Panel>
    </>
  );
}

function Arrived({ project, device }: { project: string; device: Device }) {
  const client = useQueryClient();
  const elements = useQuery({ ...elementsQuery(project), refetchInterval: LISTEN_MS });
  const first = elements.data?.items.find((element) => element.device === device.id && element.latest);
  useEffect(() => {
    void client.invalidateQueries({ queryKey: ['project', project] });
  }, [client, project]);
  return (
    <>
      <p className="flex items-center gap-2">
        <Tick className="size-5 text-reporting" />
        {t('add.enrolled', { name: device.name })}
      </p>
      <p className="flex flex-wrap items-center gap-x-3">
        <StateMark state={device.state} />
        <span>{device.sentence}</span>
      </p>
      {first ? (
        <Link
          to="/p/$project/elements/$element"
          params={{ project, element: first.id }}
          search={{ last: '5m' }}
          className={buttonClass('primary')}
        >
          {t('add.see', { name: first.name })}
        </Link>
      ) : null}
      <Link
        to="/p/$project/devices/$device"
        params={{ project, device: device.id }}
        className={buttonClass('plain')}
      >
        {t('add.open')}
      </Link>
    </>
  );
}
