// Another password; every other session ends with it.
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, call } from '../../api/client';
import { Refused } from '../../api/problem';
import { t } from '../../i18n/t';
import { Complaint } from '../../ui/Complaint';
import { Button, TextField } from '../../ui/controls';
import { Panel } from '../../ui/Page';
import { explain } from '../../ui/states';

export function PasswordPanel({ email }: { email: string }) {
  const [current, setCurrent] = useState('');
  const [password, setPassword] = useState('');
  const change = useMutation({
    mutationFn: () => call(api.POST('/api/v1/auth/password', { body: { current, password } })),
    onSuccess: () => {
      setCurrent('');
      setPassword('');
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate();
  };
  const faults = change.error instanceof Refused ? change.error.faults : [];
  const fault = faults.find(({ field }) => field === 'password')?.reason;
  return (
    <Panel title={t('password.change')}>
      <form onSubmit={submit} className="flex max-w-sm flex-col gap-4">
        {change.error && fault === undefined ? <Complaint>{explain(change.error)}</Complaint> : null}
        {change.isSuccess ? <p role="status">{t('password.changed')}</p> : null}
        <input type="email" autoComplete="username" value={email} readOnly hidden />
        <TextField
          type="password"
          autoComplete="current-password"
          required
          value={current}
          onChange={(event) => setCurrent(event.currentTarget.value)}
          label={t('password.current')}
        />
        <TextField
          type="password"
          autoComplete="new-password"
          required
          value={password}
          onChange={(event) => setPassword(event.currentTarget.value)}
          label={t('password.new')}
          hint={t('password.hint')}
          fault={fault}
        />
        <div>
          <Button type="submit" pending={change.isPending}>
            {t('password.change')}
          </Button>
        </div>
      </form>
    </Panel>
  );
}
