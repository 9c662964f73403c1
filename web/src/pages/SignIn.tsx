// Signing in: by the one-time link whose token is in the address's fragment, or by e-mail and password; then, after a
// first link, choosing a password. The token is taken out of the address before it is used.
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { type FormEvent, useEffect, useState } from 'react';
import { api, call } from '../api/client';
import { NoPasskey, showSecondPasskey, signInByPasskey } from '../api/passkey';
import { isStatus, Refused, Unreachable } from '../api/problem';
import { meQuery } from '../api/queries';
import type { Me } from '../api/types';
import { t } from '../i18n/t';
import { Complaint } from '../ui/Complaint';
import { Button, TextField } from '../ui/controls';
import { useTitle } from '../ui/Page';
import { explain } from '../ui/states';

const route = getRouteApi('/sign-in');

/** Takes the token out of the address, so that it is neither kept in the history nor sent anywhere by accident. */
function takeToken(): string | null {
  const token = location.hash.replace(/^#/, '');
  if (token) history.replaceState(history.state, '', location.pathname + location.search);
  return token || null;
}

// A link is used once; React may mount the page twice.
let token = takeToken();

function failure(error: unknown, byLink: boolean): string {
  if (error instanceof Unreachable) return t('failed.unreachable');
  if (error instanceof NoPasskey) return t('passkey.none');
  if (isStatus(error, 429)) return t('sign_in.too_often');
  if (isStatus(error, 401)) return t(byLink ? 'sign_in.link_used' : 'sign_in.wrong');
  return explain(error);
}

export function SignIn() {
  useTitle(t('sign_in.title'));
  const { next } = route.useSearch();
  const [cameByLink] = useState(() => token !== null);
  const client = useQueryClient();
  const navigate = useNavigate();
  const [me, setMe] = useState<Me | null>(() => client.getQueryData(meQuery.queryKey) ?? null);

  const enter = (who: Me) => {
    client.clear();
    client.setQueryData(meQuery.queryKey, who);
    setMe(who);
    if (who.must_set_password || who.step === 'show_factor') return;
    if (who.step === 'set_up_factor') {
      void navigate({ to: '/account', replace: true });
      return;
    }
    const only = who.projects.length === 1 ? who.projects[0] : undefined;
    if (next) void navigate({ href: `/app${next}`, replace: true });
    else if (only) void navigate({ to: '/p/$project', params: { project: only.id }, replace: true });
    else void navigate({ to: '/projects', replace: true });
  };

  const link = useMutation({
    meta: { signsIn: true },
    mutationFn: (body: { token: string }) => call(api.POST('/api/v1/auth/link', { body })),
    onSuccess: enter,
  });
  const { mutate: redeem } = link;
  useEffect(() => {
    if (token) redeem({ token });
    token = null;
  }, [redeem]);

  return (
    <main className="mx-auto flex min-h-dvh max-w-sm flex-col justify-center gap-6 p-6">
      <div className="flex items-center gap-3">
        <img src="/app/icon.svg" alt="" className="size-9" />
        <span className="font-semibold text-[20px]">Fieldkeep</span>
      </div>
      {link.isPending ? (
        <p role="status">{t('sign_in.by_link')}</p>
      ) : me?.step === 'show_factor' ? (
        <SecondFactor enter={enter} />
      ) : me?.must_set_password ? (
        <ChoosePassword me={me} done={() => enter({ ...me, must_set_password: false })} />
      ) : (
        <PasswordForm
          linkFailure={link.error ? failure(link.error, true) : null}
          goesOn={next !== undefined && !cameByLink}
          enter={enter}
        />
      )}
    </main>
  );
}

interface PasswordFormProps {
  linkFailure: string | null;
  /** Something was asked for that needs signing in first. */
  goesOn: boolean;
  enter: (me: Me) => void;
}

function PasswordForm({ linkFailure, goesOn, enter }: PasswordFormProps) {
  const signIn = useMutation({
    meta: { signsIn: true },
    mutationFn: (body: { email: string; password: string }) =>
      call(api.POST('/api/v1/auth/sign-in', { body })),
    onSuccess: enter,
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    signIn.mutate({ email: String(form.get('email')).trim(), password: String(form.get('password')) });
  };
  const passkey = useMutation({
    meta: { signsIn: true },
    mutationFn: signInByPasskey,
    onSuccess: enter,
  });
  const error = signIn.error ?? passkey.error;
  const complaint = error
    ? passkey.error && isStatus(error, 401)
      ? t('passkey.refused')
      : passkey.error && isStatus(error, 409)
        ? explain(error)
        : failure(error, false)
    : linkFailure;
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <h1 className="font-semibold text-[15px]">{t('sign_in.title')}</h1>
      {complaint ? <Complaint>{complaint}</Complaint> : goesOn ? <p>{t('sign_in.goes_on')}</p> : null}
      <TextField name="email" type="email" autoComplete="username" required label={t('sign_in.email')} />
      <TextField
        name="password"
        type="password"
        autoComplete="current-password"
        required
        label={t('sign_in.password')}
      />
      <Button type="submit" look="primary" pending={signIn.isPending}>
        {t('sign_in.go')}
      </Button>
      <Button pending={passkey.isPending} onClick={() => passkey.mutate()}>
        {t('sign_in.passkey')}
      </Button>
      <p className="text-[13px] text-muted">{t('sign_in.lost')}</p>
    </form>
  );
}

function SecondFactor({ enter }: { enter: (me: Me) => void }) {
  const code = useMutation({
    meta: { signsIn: true },
    mutationFn: (body: { code: string }) => call(api.POST('/api/v1/auth/second-factor', { body })),
    onSuccess: enter,
  });
  const passkey = useMutation({ meta: { signsIn: true }, mutationFn: showSecondPasskey, onSuccess: enter });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    code.mutate({ code: String(new FormData(event.currentTarget).get('code')) });
  };
  const error = code.error ?? passkey.error;
  const complaint = error
    ? isStatus(error, 422)
      ? t('code.wrong')
      : passkey.error && isStatus(error, 401)
        ? t('passkey.refused')
        : failure(error, false)
    : null;
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <h1 className="font-semibold text-[15px]">{t('second.title')}</h1>
      {complaint ? <Complaint>{complaint}</Complaint> : null}
      <TextField
        name="code"
        autoComplete="one-time-code"
        required
        label={t('code.any')}
        hint={t('code.hint')}
      />
      <Button type="submit" look="primary" pending={code.isPending}>
        {t('sign_in.go')}
      </Button>
      <Button pending={passkey.isPending} onClick={() => passkey.mutate()}>
        {t('second.passkey')}
      </Button>
      <p className="text-[13px] text-muted">{t('second.lost')}</p>
    </form>
  );
}

function ChoosePassword({ me, done }: { me: Me; done: () => void }) {
  const [password, setPassword] = useState('');
  const choose = useMutation({
    mutationFn: (body: { password: string }) => call(api.POST('/api/v1/auth/password', { body })),
    onSuccess: done,
  });
  const fault = choose.error instanceof Refused ? choose.error.faults[0]?.reason : undefined;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    choose.mutate({ password });
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <h1 className="font-semibold text-[15px]">{t('password.title')}</h1>
      <p>{t('password.why')}</p>
      {choose.error && fault === undefined ? <Complaint>{explain(choose.error)}</Complaint> : null}
      {/* Password managers file the new password under this name. */}
      <TextField
        name="email"
        type="email"
        autoComplete="username"
        readOnly
        value={me.email ?? ''}
        label={t('sign_in.email')}
      />
      <TextField
        name="password"
        type="password"
        autoComplete="new-password"
        required
        value={password}
        onChange={(event) => setPassword(event.currentTarget.value)}
        label={t('password.new')}
        hint={t('password.hint')}
        fault={fault}
      />
      <Button type="submit" look="primary" pending={choose.isPending}>
        {t('password.go')}
      </Button>
    </form>
  );
}
