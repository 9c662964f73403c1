// Accepting an invitation: as somebody new, with a name and a password, or as who is signed in. The token is in the
// address's fragment and is taken out of it before it is used.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { type FormEvent, useEffect, useState } from 'react';
import { api, call } from '../api/client';
import { isStatus, Refused } from '../api/problem';
import { meQuery } from '../api/queries';
import { t } from '../i18n/t';
import { Complaint } from '../ui/Complaint';
import { Button, TextField } from '../ui/controls';
import { useTitle } from '../ui/Page';
import { explain, Loading } from '../ui/states';

const KEPT = 'fieldkeep.invitation';

/** Kept for this tab alone, so that signing in on the way does not lose it. */
function takeToken(): string {
  const token = location.hash.replace(/^#/, '');
  if (token) {
    history.replaceState(history.state, '', location.pathname);
    sessionStorage.setItem(KEPT, token);
  }
  return sessionStorage.getItem(KEPT) ?? '';
}

export function Invitation() {
  useTitle(t('invitation.title'));
  const [token] = useState(takeToken);
  const client = useQueryClient();
  const navigate = useNavigate();
  const offer = useQuery({
    queryKey: ['invitation', token],
    queryFn: () => call(api.POST('/api/v1/auth/invitation', { body: { token } })),
    meta: { signsIn: true },
    retry: false,
  });
  const me = useQuery({ ...meQuery, meta: { signsIn: true }, retry: false });
  useEffect(() => {
    if (offer.error) sessionStorage.removeItem(KEPT);
  }, [offer.error]);

  const arrive = () => {
    sessionStorage.removeItem(KEPT);
    client.clear();
    void navigate({ to: '/projects', replace: true });
  };
  const accept = useMutation({
    meta: { signsIn: true },
    mutationFn: (body: { token: string; name: string; password: string }) =>
      call(api.POST('/api/v1/auth/invitation/accept', { body })),
    onSuccess: arrive,
  });
  const join = useMutation({
    meta: { signsIn: true },
    mutationFn: () => call(api.POST('/api/v1/auth/invitation/join', { body: { token } })),
    onSuccess: arrive,
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    accept.mutate({ token, name: String(form.get('name')), password: String(form.get('password')) });
  };
  const faults = accept.error instanceof Refused ? accept.error.faults : [];
  const fault = (name: string) => faults.find(({ field }) => field === name)?.reason;
  const error = accept.error ?? join.error;
  const mine = me.data?.email === offer.data?.email && me.data?.step === 'done';

  return (
    <main className="mx-auto flex min-h-dvh max-w-sm flex-col justify-center gap-6 p-6">
      <h1 className="font-semibold text-[20px]">{t('invitation.title')}</h1>
      {offer.error ? (
        <Complaint>{isStatus(offer.error, 401) ? t('invitation.gone') : explain(offer.error)}</Complaint>
      ) : !offer.data ? (
        <Loading />
      ) : (
        <>
          <p>
            {t('invitation.to', {
              project: offer.data.project,
              role: offer.data.role,
              email: offer.data.email,
            })}
          </p>
          {error && faults.length === 0 ? <Complaint>{explain(error)}</Complaint> : null}
          {mine ? (
            <Button look="primary" pending={join.isPending} onClick={() => join.mutate()}>
              {t('invitation.accept')}
            </Button>
          ) : offer.data.has_account ? (
            <p>
              {t('invitation.has_account')}{' '}
              <Link to="/sign-in" search={{ next: '/invitation' }}>
                {t('sign_in.title')}
              </Link>
            </p>
          ) : (
            <form onSubmit={submit} className="flex flex-col gap-4">
              <input type="email" autoComplete="username" value={offer.data.email} readOnly hidden />
              <TextField
                name="name"
                autoComplete="name"
                required
                maxLength={128}
                label={t('invitation.name')}
                fault={fault('name')}
              />
              <TextField
                name="password"
                type="password"
                autoComplete="new-password"
                required
                label={t('password.new')}
                hint={t('password.hint')}
                fault={fault('password')}
              />
              <Button type="submit" look="primary" pending={accept.isPending}>
                {t('invitation.accept')}
              </Button>
            </form>
          )}
        </>
      )}
    </main>
  );
}
