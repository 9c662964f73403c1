// API keys: made with a role, scopes and an end, shown once, revoked at once.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, call } from '../../api/client';
import { keysQuery } from '../../api/queries';
import type { ApiKey, Role, Scope } from '../../api/types';
import { t } from '../../i18n/t';
import { now } from '../../time/now';
import { Button, INPUT, TextField } from '../../ui/controls';
import { Panel } from '../../ui/Page';
import { Failed, Loading } from '../../ui/states';
import { CELL, day, ScopeBoxes, Secret, Sure, ticked } from './Bits';

const ROLES: Role[] = ['viewer', 'auditor', 'editor', 'administrator'];
const DAYS = [7, 30, 90, 365];

export function ApiKeys({ project }: { project: string }) {
  const keys = useQuery(keysQuery(project));
  const [making, setMaking] = useState(false);
  const [secret, setSecret] = useState<string>();
  return (
    <Panel title={t('keys.api')}>
      <div className="flex flex-col gap-4">
        <p className="text-muted">{t('keys.api_hint')}</p>
        {secret ? <Secret secret={secret} done={() => setSecret(undefined)} /> : null}
        {keys.isPending ? <Loading /> : null}
        {keys.error ? <Failed error={keys.error} /> : null}
        {keys.data && keys.data.items.length > 0 ? <Table project={project} keys={keys.data.items} /> : null}
        {making ? (
          <Form
            project={project}
            made={(made) => {
              setSecret(made);
              setMaking(false);
            }}
          />
        ) : (
          <Button more="self-start" onClick={() => setMaking(true)}>
            {t('keys.make')}
          </Button>
        )}
      </div>
    </Panel>
  );
}

function state(key: ApiKey): string {
  if (key.revoked) return t('keys.revoked', { day: day(key.revoked, '') });
  if (!key.expires) return t('keys.never_ends');
  const word = Date.parse(key.expires) > now() ? 'keys.ends' : 'keys.ended';
  return t(word, { day: day(key.expires, '') });
}

function Table({ project, keys }: { project: string; keys: ApiKey[] }) {
  const client = useQueryClient();
  const revoke = useMutation({
    mutationFn: (key: string) =>
      call(api.DELETE('/api/v1/projects/{project}/keys/{key}', { params: { path: { project, key } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: keysQuery(project).queryKey }),
  });
  const live = (key: ApiKey) => !key.revoked && (!key.expires || Date.parse(key.expires) > now());
  return (
    <div className="overflow-x-auto">
      {revoke.error ? <Failed error={revoke.error} /> : null}
      <table className="w-full border-collapse text-sm">
        <thead>
          <tr>
            {(['name', 'may', 'end', 'used'] as const).map((head) => (
              <th key={head} scope="col" className={CELL}>
                {t(`keys.head_${head}`)}
              </th>
            ))}
            <th className={CELL}>
              <span className="sr-only">{t('keys.head_do')}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <tr key={key.id} className={live(key) ? '' : 'text-muted'}>
              <td className={CELL}>
                {key.name}
                <br />
                <code className="text-[13px]">{key.prefix}…</code>
              </td>
              <td className={CELL}>
                {key.role}
                <br />
                <span className="text-[13px]">{key.scopes.join(', ')}</span>
              </td>
              <td className={CELL}>{state(key)}</td>
              <td className={CELL}>{day(key.last_used, t('keys.unused'))}</td>
              <td className={CELL}>
                {live(key) ? (
                  <Sure
                    label={t('keys.revoke')}
                    pending={revoke.isPending}
                    act={() => revoke.mutate(key.id)}
                  />
                ) : null}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Form({ project, made }: { project: string; made: (secret: string) => void }) {
  const client = useQueryClient();
  const create = useMutation({
    mutationFn: (body: { name: string; role: Role; expires: string; scopes: Scope[] | null }) =>
      call(api.POST('/api/v1/projects/{project}/keys', { params: { path: { project } }, body })),
    onSuccess: async ({ secret }) => {
      await client.invalidateQueries({ queryKey: keysQuery(project).queryKey });
      made(secret);
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const days = Number(form.get('days'));
    const scopes = ticked(form);
    create.mutate({
      name: String(form.get('name')).trim(),
      role: String(form.get('role')) as Role,
      expires: days > 0 ? new Date(now() + days * 86_400_000).toISOString() : 'never',
      scopes: scopes.length > 0 ? scopes : null,
    });
  };
  return (
    <form onSubmit={submit} className="flex max-w-md flex-col gap-4">
      <TextField name="name" required maxLength={128} label={t('keys.name')} hint={t('keys.name_hint')} />
      <label className="flex flex-col gap-1 font-medium">
        {t('keys.role')}
        <select name="role" className={INPUT}>
          {ROLES.map((role) => (
            <option key={role}>{role}</option>
          ))}
        </select>
      </label>
      <ScopeBoxes chosen={[]} />
      <p className="text-[13px] text-muted">{t('keys.scopes_hint')}</p>
      <label className="flex flex-col gap-1 font-medium">
        {t('keys.expires')}
        <select name="days" className={INPUT} defaultValue={90}>
          {DAYS.map((days) => (
            <option key={days} value={days}>
              {t('keys.days', { count: days })}
            </option>
          ))}
          <option value={0}>{t('keys.never')}</option>
        </select>
      </label>
      {create.error ? <Failed error={create.error} /> : null}
      <Button type="submit" look="primary" more="self-start" pending={create.isPending}>
        {t('keys.make')}
      </Button>
    </form>
  );
}
