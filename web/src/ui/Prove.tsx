// Proving once more who one is, where the server asks for it: by password, by code or by passkey.
import { useMutation } from '@tanstack/react-query';
import type { FormEvent } from 'react';
import { api, call } from '../api/client';
import { canUsePasskeys, NoPasskey, proveByPasskey } from '../api/passkey';
import { Refused } from '../api/problem';
import type { Factors } from '../api/types';
import { t } from '../i18n/t';
import { Complaint } from './Complaint';
import { Button, TextField } from './controls';
import { Panel } from './Page';
import { explain } from './states';

/** Whether the server wants to know once more who it is. */
export function asksForProof(error: unknown): boolean {
  return error instanceof Refused && error.code === 'reauthentication_required';
}

export function Prove({ factors, done }: { factors: Factors | undefined; done: () => void }) {
  const prove = useMutation({
    meta: { signsIn: true },
    mutationFn: (body: { password: string } | { code: string }) =>
      call(api.POST('/api/v1/auth/prove', { body })),
    onSuccess: done,
  });
  const passkey = useMutation({ meta: { signsIn: true }, mutationFn: proveByPasskey, onSuccess: done });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    prove.mutate({ password: String(new FormData(event.currentTarget).get('password')) });
  };
  const error = prove.error ?? passkey.error;
  return (
    <Panel title={t('prove.title')}>
      <form onSubmit={submit} className="flex max-w-sm flex-col gap-4">
        <p>{t('prove.why')}</p>
        {error ? (
          <Complaint>{error instanceof NoPasskey ? t('passkey.none') : explain(error)}</Complaint>
        ) : null}
        <TextField
          name="password"
          type="password"
          autoComplete="current-password"
          required
          label={t('sign_in.password')}
        />
        <div className="flex flex-wrap gap-2">
          <Button type="submit" look="primary" pending={prove.isPending}>
            {t('prove.go')}
          </Button>
          {factors && factors.passkeys.length > 0 && canUsePasskeys(factors.passkey_host) ? (
            <Button pending={passkey.isPending} onClick={() => passkey.mutate()}>
              {t('prove.passkey')}
            </Button>
          ) : null}
        </div>
      </form>
    </Panel>
  );
}
