// Service accounts: made with scopes, given a secret, which is exchanged without a gap; disabled at once.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, call } from '../../api/client';
import { servicesQuery } from '../../api/queries';
import type { Scope, ServiceAccount, ServiceCredential } from '../../api/types';
import { t } from '../../i18n/t';
import { now } from '../../time/now';
import { Button, TextField } from '../../ui/controls';
import { Panel } from '../../ui/Page';
import { Failed, Loading } from '../../ui/states';
import { day, ScopeBoxes, Secret, Sure, ticked } from './Bits';

/** How long an old secret goes on beside the new one. */
const OVERLAP_MS = 24 * 3_600_000;

export function Services({ project }: { project: string }) {
  const client = useQueryClient();
  const accounts = useQuery(servicesQuery(project));
  const [making, setMaking] = useState(false);
  const create = useMutation({
    mutationFn: (body: { name: string; scopes: Scope[] }) =>
      call(api.POST('/api/v1/projects/{project}/service-accounts', { params: { path: { project } }, body })),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: servicesQuery(project).queryKey });
      setMaking(false);
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    create.mutate({ name: String(form.get('name')).trim(), scopes: ticked(form) });
  };
  return (
    <Panel title={t('service.title')}>
      <div className="flex flex-col gap-4">
        <p className="text-muted">{t('service.hint')}</p>
        {accounts.isPending ? <Loading /> : null}
        {accounts.error ? <Failed error={accounts.error} /> : null}
        {accounts.data?.items.map((account) => (
          <Account key={account.id} project={project} account={account} />
        ))}
        {making ? (
          <form onSubmit={submit} className="flex max-w-md flex-col gap-4">
            <TextField name="name" required maxLength={128} label={t('keys.name')} />
            <ScopeBoxes chosen={['read']} />
            {create.error ? <Failed error={create.error} /> : null}
            <Button type="submit" look="primary" more="self-start" pending={create.isPending}>
              {t('service.make')}
            </Button>
          </form>
        ) : (
          <Button more="self-start" onClick={() => setMaking(true)}>
            {t('service.make')}
          </Button>
        )}
      </div>
    </Panel>
  );
}

const live = (credential: ServiceCredential) => !credential.revoked && Date.parse(credential.expires) > now();

function Account({ project, account }: { project: string; account: ServiceAccount }) {
  const client = useQueryClient();
  const [secret, setSecret] = useState<string>();
  const path = { project, account: account.id };
  const refresh = () => client.invalidateQueries({ queryKey: servicesQuery(project).queryKey });
  const secrets = account.credentials.filter((one) => one.kind === 'secret' && live(one));
  const add = useMutation({
    mutationFn: () =>
      call(
        api.POST('/api/v1/projects/{project}/service-accounts/{account}/credentials', {
          params: { path },
          body: { others_end: new Date(now() + OVERLAP_MS).toISOString() },
        }),
      ),
    onSuccess: async (made) => {
      setSecret(made.secret ?? undefined);
      await refresh();
    },
  });
  const revoke = useMutation({
    mutationFn: (credential: string) =>
      call(
        api.DELETE('/api/v1/projects/{project}/service-accounts/{account}/credentials/{credential}', {
          params: { path: { ...path, credential } },
        }),
      ),
    onSuccess: refresh,
  });
  const enable = useMutation({
    mutationFn: (enabled: boolean) =>
      call(
        api.PATCH('/api/v1/projects/{project}/service-accounts/{account}', {
          params: { path },
          body: { enabled },
        }),
      ),
    onSuccess: refresh,
  });
  const failed = add.error ?? revoke.error ?? enable.error;
  return (
    <section className="flex flex-col gap-2 rounded border border-line p-3">
      <h3 className="font-semibold">
        {account.name}
        {account.enabled ? '' : ` (${t('service.disabled')})`}
      </h3>
      <dl className="grid gap-x-4 gap-y-1 text-sm sm:grid-cols-[max-content_minmax(0,1fr)]">
        <dt className="text-muted">{t('service.id')}</dt>
        <dd>
          <code className="break-all select-all">{account.id}</code>
        </dd>
        <dt className="text-muted">{t('service.login')}</dt>
        <dd>
          <code className="break-all select-all">{account.login}</code>
        </dd>
        <dt className="text-muted">{t('keys.scopes')}</dt>
        <dd>{account.scopes.join(', ')}</dd>
        <dt className="text-muted">{t('keys.head_used')}</dt>
        <dd>{day(account.last_used, t('keys.unused'))}</dd>
      </dl>
      <ul className="flex flex-col gap-1 text-sm">
        {account.credentials.filter(live).map((one) => (
          <li key={one.id} className="flex flex-wrap items-center gap-x-3">
            <code>
              {one.kind} {one.hint}…
            </code>
            <span>{t('keys.ends', { day: day(one.expires, '') })}</span>
            <Sure label={t('keys.revoke')} pending={revoke.isPending} act={() => revoke.mutate(one.id)} />
          </li>
        ))}
      </ul>
      {secret ? <Secret secret={secret} more={account.id} done={() => setSecret(undefined)} /> : null}
      {failed ? <Failed error={failed} /> : null}
      <div className="flex flex-wrap gap-2">
        <Button onClick={() => add.mutate()} pending={add.isPending} disabled={secrets.length > 1}>
          {t(secrets.length > 0 ? 'service.rotate' : 'service.secret')}
        </Button>
        {account.enabled ? (
          <Sure label={t('service.disable')} pending={enable.isPending} act={() => enable.mutate(false)} />
        ) : (
          <Button onClick={() => enable.mutate(true)} pending={enable.isPending}>
            {t('service.enable')}
          </Button>
        )}
      </div>
      {secrets.length > 1 ? <p className="text-[13px] text-muted">{t('service.two')}</p> : null}
    </section>
  );
}
