// Who may do what in a project: everybody who is in it, changing what they may do, and their leaving.
import { useMutation, useQuery, useQueryClient, useSuspenseQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { api, call } from '../api/client';
import { hangingQuery, membersQuery, meQuery, projectQuery } from '../api/queries';
import type { Member, Role } from '../api/types';
import { t } from '../i18n/t';
import { formatMoment } from '../time/format';
import { Button, SelectField, TextField } from '../ui/controls';
import { PageHead, Panel } from '../ui/Page';
import { Failed, Loading } from '../ui/states';

const route = getRouteApi('/signed-in/p/$project/members');

const ROLES: Role[] = ['viewer', 'auditor', 'editor', 'administrator'];

export function Members() {
  const { project: id } = route.useParams();
  const { data: project } = useSuspenseQuery(projectQuery(id));
  const { data: me } = useSuspenseQuery(meQuery);
  const members = useQuery(membersQuery(id));
  const mayAdminister = me.projects.some((mine) => mine.id === id && mine.role === 'administrator');
  return (
    <>
      <PageHead title={t('nav.members')} />
      {members.error ? <Failed error={members.error} retry={() => void members.refetch()} /> : null}
      {members.data ? (
        <Panel flush>
          <ul>
            {members.data.items.map((member) => (
              <MemberRow
                key={member.id}
                member={member}
                others={members.data.items.filter((other) => other.id !== member.id)}
                project={id}
                zone={project.zone}
                mayAdminister={mayAdminister}
              />
            ))}
          </ul>
        </Panel>
      ) : members.error ? null : (
        <Loading />
      )}
    </>
  );
}

interface RowProps {
  member: Member;
  others: Member[];
  project: string;
  zone: string;
  mayAdminister: boolean;
}

function MemberRow({ member, others, project, zone, mayAdminister }: RowProps) {
  const [open, setOpen] = useState<'change' | 'remove' | null>(null);
  const at = (time: string) => formatMoment(Date.parse(time), zone);
  const close = () => setOpen(null);
  const reach = member.locations
    ? t('members.locations', { count: member.locations.length })
    : t('members.whole');
  return (
    <li className="flex flex-col gap-2 border-line border-b px-4 py-3 last:border-b-0">
      <div className="flex flex-wrap items-start justify-between gap-x-4 gap-y-2">
        <div className="min-w-0">
          <p className="font-medium wrap-anywhere">{member.name}</p>
          <p className="text-[13px] text-muted wrap-anywhere">{member.email}</p>
          <p className="text-[13px]">
            {t(`role.${member.role}`)} · {reach}
            {member.until ? ` · ${t('members.until', { time: at(member.until) })}` : ''}
          </p>
          <p className="text-[13px] text-muted">{t('members.granted', { time: at(member.granted) })}</p>
          {member.emergency ? <p className="font-medium text-[13px]">{t('members.emergency')}</p> : null}
          {member.enabled ? null : <p className="text-[13px]">{t('members.disabled')}</p>}
        </div>
        {mayAdminister ? (
          <div className="flex flex-wrap gap-2">
            <Button
              onClick={() => setOpen(open === 'change' ? null : 'change')}
              aria-expanded={open === 'change'}
            >
              {t('members.change')}
            </Button>
            <Button
              onClick={() => setOpen(open === 'remove' ? null : 'remove')}
              aria-expanded={open === 'remove'}
            >
              {t('members.remove')}
            </Button>
          </div>
        ) : null}
      </div>
      {open === 'change' ? <ChangeForm member={member} project={project} done={close} /> : null}
      {open === 'remove' ? (
        <RemoveForm member={member} others={others} project={project} done={close} />
      ) : null}
    </li>
  );
}

interface FormProps {
  member: Member;
  project: string;
  done: () => void;
}

function useMembersChanged(project: string) {
  const client = useQueryClient();
  return async () => {
    await client.invalidateQueries({ queryKey: ['members', project] });
    await client.invalidateQueries({ queryKey: ['trail', project] });
    await client.invalidateQueries({ queryKey: ['me'] });
  };
}

function ChangeForm({ member, project, done }: FormProps) {
  const [role, setRole] = useState<Role>(member.role);
  const [until, setUntil] = useState(member.until?.slice(0, 10) ?? '');
  const [reason, setReason] = useState('');
  const changed = useMembersChanged(project);
  const save = useMutation({
    mutationFn: () =>
      call(
        api.PATCH('/api/v1/projects/{project}/members/{person}', {
          params: { path: { project, person: member.id } },
          body: {
            role,
            // The end of a member stays as it is where nobody touched it.
            ...(until === (member.until?.slice(0, 10) ?? '')
              ? {}
              : { until: until ? `${until}T00:00:00Z` : null }),
            ...(reason.trim() ? { reason: reason.trim() } : {}),
          },
        }),
      ),
    onSuccess: async () => {
      await changed();
      done();
    },
  });
  return (
    <form
      className="flex w-full max-w-md flex-col gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <SelectField
        label={t('members.role')}
        value={role}
        onChange={(event) => setRole(event.currentTarget.value as Role)}
        options={ROLES.map((word) => ({ value: word, label: t(`role.${word}`) }))}
      />
      <TextField
        label={t('members.end')}
        hint={t('members.end_hint')}
        type="date"
        value={until}
        onChange={(event) => setUntil(event.currentTarget.value)}
      />
      <Reason value={reason} change={setReason} />
      {save.error ? <Failed error={save.error} /> : null}
      <Button type="submit" look="primary" pending={save.isPending} more="self-start">
        {t('members.save')}
      </Button>
    </form>
  );
}

function Reason({ value, change }: { value: string; change: (value: string) => void }) {
  return (
    <TextField
      label={t('members.reason')}
      hint={t('members.reason_hint')}
      maxLength={500}
      value={value}
      onChange={(event) => change(event.currentTarget.value)}
    />
  );
}

/** First what hangs on the one who leaves, then what becomes of it, then the act. */
function RemoveForm({ member, others, project, done }: FormProps & { others: Member[] }) {
  const hanging = useQuery(hangingQuery(project, member.id));
  const [fate, setFate] = useState('revoke');
  const [everywhere, setEverywhere] = useState(false);
  const [reason, setReason] = useState('');
  const changed = useMembersChanged(project);
  const keys = hanging.data?.keys ?? [];
  const remove = useMutation({
    mutationFn: () =>
      call(
        api.POST('/api/v1/projects/{project}/members/{person}/remove', {
          params: { path: { project, person: member.id } },
          body: {
            everywhere,
            ...(fate === 'revoke' ? { keys: 'revoke' } : { keys: 'hand_over', to: fate }),
            ...(reason.trim() ? { reason: reason.trim() } : {}),
          },
        }),
      ),
    onSuccess: async () => {
      await changed();
      done();
    },
  });
  if (hanging.error) return <Failed error={hanging.error} retry={() => void hanging.refetch()} />;
  if (!hanging.data) return <Loading />;
  const takers = others.filter((other) => other.role === 'administrator' && !other.locations);
  return (
    <form
      className="flex w-full max-w-md flex-col gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        remove.mutate();
      }}
    >
      {keys.length + hanging.data.claims.length === 0 ? (
        <p className="text-muted">{t('members.nothing_hangs')}</p>
      ) : (
        <div>
          <p className="font-medium">{t('members.hangs')}</p>
          <ul className="list-disc pl-5">
            {keys.map((key) => (
              <li key={key.id} className="wrap-anywhere">
                {t('members.key', { name: key.name, prefix: key.prefix })}
              </li>
            ))}
            {hanging.data.claims.map((claim) => (
              <li key={claim} className="wrap-anywhere">
                {t('members.claim', { name: claim })}
              </li>
            ))}
          </ul>
        </div>
      )}
      {keys.length > 0 ? (
        <SelectField
          label={t('members.fate')}
          value={fate}
          onChange={(event) => setFate(event.currentTarget.value)}
          options={[
            { value: 'revoke', label: t('members.revoke') },
            ...takers.map((taker) => ({
              value: taker.id,
              label: t('members.hand_over', { name: taker.name }),
            })),
          ]}
        />
      ) : null}
      {hanging.data.other_projects > 0 ? (
        <label className="flex items-start gap-2">
          <input
            type="checkbox"
            className="focus-ring mt-1"
            checked={everywhere}
            onChange={(event) => setEverywhere(event.currentTarget.checked)}
          />
          <span>{t('members.everywhere', { count: hanging.data.other_projects })}</span>
        </label>
      ) : null}
      <Reason value={reason} change={setReason} />
      {remove.error ? <Failed error={remove.error} /> : null}
      <Button type="submit" look="primary" pending={remove.isPending} more="self-start">
        {t('members.remove_now', { name: member.name })}
      </Button>
    </form>
  );
}
