// Who did what in a project: filters, pages, and the same as a file.
import { useInfiniteQuery, useSuspenseQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { projectQuery, type TrailFilter, trailQuery } from '../api/queries';
import type { TrailEntry } from '../api/types';
import { t } from '../i18n/t';
import { formatMoment } from '../time/format';
import { Button, buttonClass, SelectField, TextField } from '../ui/controls';
import { PageHead, Panel } from '../ui/Page';
import { Empty, Failed, Loading } from '../ui/states';

const route = getRouteApi('/signed-in/p/$project/trail');

/** Groups of acts, as the server takes them. */
const GROUPS = [
  'project',
  'member',
  'key',
  'location',
  'claim',
  'device',
  'element',
  'deployment',
  'clock',
  'retention',
  'hold',
  'data',
  'trail',
  'door',
] as const;
const RESULTS = ['done', 'refused', 'failed'] as const;

export function Trail() {
  const { project: id } = route.useParams();
  const { data: project } = useSuspenseQuery(projectQuery(id));
  const [filter, setFilter] = useState<TrailFilter>({});
  const trail = useInfiniteQuery(trailQuery(id, filter));
  const entries = trail.data?.pages.flatMap((page) => page.items);
  const query = new URLSearchParams(filter as Record<string, string>).toString();
  const file = (format: string) =>
    `/api/v1/projects/${id}/trail/export?format=${format}${query ? `&${query}` : ''}`;
  return (
    <>
      <PageHead title={t('nav.trail')}>
        <a href={file('csv')} download className={buttonClass()}>
          {t('trail.csv')}
        </a>
        <a href={file('jsonl')} download className={buttonClass()}>
          {t('trail.jsonl')}
        </a>
      </PageHead>
      <Filters apply={setFilter} />
      {trail.error ? <Failed error={trail.error} retry={() => void trail.refetch()} /> : null}
      {entries === undefined ? (
        trail.error ? null : (
          <Loading />
        )
      ) : entries.length === 0 ? (
        <Empty title={t('trail.empty')} />
      ) : (
        <Panel flush>
          <ol>
            {entries.map((entry) => (
              <EntryRow key={entry.number} entry={entry} zone={project.zone} />
            ))}
          </ol>
        </Panel>
      )}
      {trail.hasNextPage ? (
        <Button
          onClick={() => void trail.fetchNextPage()}
          pending={trail.isFetchingNextPage}
          more="self-start"
        >
          {t('devices.more')}
        </Button>
      ) : null}
    </>
  );
}

function Filters({ apply }: { apply: (filter: TrailFilter) => void }) {
  const [act, setAct] = useState('');
  const [result, setResult] = useState('');
  const [who, setWho] = useState('');
  const [object, setObject] = useState('');
  const [from, setFrom] = useState('');
  const [to, setTo] = useState('');
  return (
    <form
      className="flex flex-wrap items-end gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        apply({
          ...(act ? { act } : {}),
          ...(result ? { result: result as (typeof RESULTS)[number] } : {}),
          ...(who.trim() ? { who: who.trim() } : {}),
          ...(object.trim() ? { object: object.trim() } : {}),
          ...(from ? { from: `${from}T00:00:00Z` } : {}),
          ...(to ? { to: `${to}T00:00:00Z` } : {}),
        });
      }}
    >
      <SelectField
        label={t('trail.act')}
        value={act}
        onChange={(event) => setAct(event.currentTarget.value)}
        options={[
          { value: '', label: t('trail.any') },
          ...GROUPS.map((group) => ({ value: group, label: t(`trail.group_${group}`) })),
        ]}
      />
      <SelectField
        label={t('trail.result')}
        value={result}
        onChange={(event) => setResult(event.currentTarget.value)}
        options={[
          { value: '', label: t('trail.any') },
          ...RESULTS.map((word) => ({ value: word, label: t(`trail.${word}`) })),
        ]}
      />
      <TextField
        label={t('trail.who')}
        placeholder="usr_…"
        value={who}
        onChange={(event) => setWho(event.currentTarget.value)}
      />
      <TextField
        label={t('trail.object')}
        placeholder="elm_…"
        value={object}
        onChange={(event) => setObject(event.currentTarget.value)}
      />
      <TextField
        label={t('trail.from')}
        type="date"
        value={from}
        onChange={(event) => setFrom(event.currentTarget.value)}
      />
      <TextField
        label={t('trail.to')}
        type="date"
        value={to}
        onChange={(event) => setTo(event.currentTarget.value)}
      />
      <Button type="submit" look="primary">
        {t('trail.apply')}
      </Button>
    </form>
  );
}

function EntryRow({ entry, zone }: { entry: TrailEntry; zone: string }) {
  const { who, object, result, code, count } = entry;
  const name = who.name ?? (who.id || t('trail.nobody'));
  return (
    <li className="flex flex-col gap-1 border-line border-b px-4 py-3 last:border-b-0">
      <p className="flex flex-wrap items-baseline gap-x-3">
        <time dateTime={entry.at} className="text-[13px] text-muted tabular-nums">
          {formatMoment(Date.parse(entry.at), zone)}
        </time>
        <span className="font-medium">{entry.act}</span>
        <span className="wrap-anywhere">{name}</span>
        {result === 'done' ? null : (
          <span className="font-medium text-[13px]">
            {t(result === 'refused' ? 'trail.refused' : 'trail.failed')}
            {code ? ` (${code})` : ''}
          </span>
        )}
        {count > 1 ? <span className="text-[13px]">{t('trail.times', { count })}</span> : null}
      </p>
      <p className="text-[13px] text-muted wrap-anywhere">
        {[
          object ? `${object.kind} ${object.id}` : '',
          `${who.kind} ${who.id}`.trim(),
          entry.address ?? '',
          entry.request_id ?? '',
        ]
          .filter(Boolean)
          .join(' · ')}
      </p>
      {entry.old || entry.new ? (
        <p className="text-[13px] wrap-anywhere">
          {entry.old ? <code>{JSON.stringify(entry.old)}</code> : null}
          {entry.old && entry.new ? ' → ' : null}
          {entry.new ? <code>{JSON.stringify(entry.new)}</code> : null}
        </p>
      ) : null}
      {entry.reason ? <p className="text-[13px] wrap-anywhere">“{entry.reason}”</p> : null}
      {entry.damaged ? <p className="font-medium text-alarm">{t('trail.damaged')}</p> : null}
    </li>
  );
}
