// Second factors: passkeys, an authenticator app, recovery codes.
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, call } from '../../api/client';
import { addPasskey, canUsePasskeys, NoPasskey } from '../../api/passkey';
import type { Factors, TotpEnrolment } from '../../api/types';
import { t } from '../../i18n/t';
import { Complaint } from '../../ui/Complaint';
import { CopyLine } from '../../ui/CopyLine';
import { Button, TextField } from '../../ui/controls';
import { Panel } from '../../ui/Page';
import { asksForProof } from '../../ui/Prove';
import { explain } from '../../ui/states';

interface Props {
  factors: Factors;
  email: string;
  /** Recovery codes that were just made; shown this once. */
  codes: string[] | null;
  changed: (codes?: string[] | null) => void;
}

const when = (time: string) => time.slice(0, 10);

export function FactorPanel({ factors, email, codes, changed }: Props) {
  const [enrolment, setEnrolment] = useState<TotpEnrolment | null>(null);
  const [name, setName] = useState('');
  const possible = canUsePasskeys(factors.passkey_host);

  const act = useMutation({
    meta: { signsIn: true },
    mutationFn: (run: () => Promise<unknown>) => run(),
  });
  const makePasskey = async () => {
    const added = await addPasskey(name.trim() || t('passkey.default_name'), email);
    setName('');
    changed(added.recovery_codes);
  };
  const begin = async () => setEnrolment(await call(api.POST('/api/v1/auth/totp')));
  const confirm = async (code: string) => {
    const added = await call(api.POST('/api/v1/auth/totp/confirm', { body: { code } }));
    setEnrolment(null);
    changed(added.recovery_codes);
  };
  const removeApp = async () => {
    await call(api.DELETE('/api/v1/auth/totp'));
    changed();
  };
  const removePasskey = async (passkey: string) => {
    await call(api.DELETE('/api/v1/auth/passkeys/{passkey}', { params: { path: { passkey } } }));
    changed();
  };
  const renamePasskey = async (passkey: string, newName: string) => {
    const body = { name: newName };
    await call(api.PATCH('/api/v1/auth/passkeys/{passkey}', { params: { path: { passkey } }, body }));
    changed();
  };
  const newCodes = async () => {
    const made = await call(api.POST('/api/v1/auth/recovery-codes'));
    changed(made.recovery_codes);
  };
  const keep = async () => {
    await call(api.POST('/api/v1/auth/recovery-codes/kept'));
    changed();
  };
  const submitCode = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const code = String(new FormData(event.currentTarget).get('code'));
    act.mutate(() => confirm(code));
  };
  const error = act.error && !asksForProof(act.error) ? act.error : null;

  return (
    <>
      {error ? (
        <Complaint>{error instanceof NoPasskey ? t('passkey.none') : explain(error)}</Complaint>
      ) : null}
      {codes ? (
        <Panel title={t('codes.title')}>
          <div className="flex flex-col gap-4">
            <p>{t('codes.once')}</p>
            <ol className="grid list-inside list-decimal gap-1 font-mono sm:grid-cols-2" data-testid="codes">
              {codes.map((code) => (
                <li key={code}>
                  <code className="select-all">{code}</code>
                </li>
              ))}
            </ol>
            <div className="flex flex-wrap gap-2">
              <Button onClick={() => window.print()}>{t('codes.print')}</Button>
              {factors.codes_kept == null ? (
                <Button look="primary" pending={act.isPending} onClick={() => act.mutate(keep)}>
                  {t('codes.kept')}
                </Button>
              ) : (
                <p role="status">{t('codes.kept_on', { day: when(factors.codes_kept) })}</p>
              )}
            </div>
          </div>
        </Panel>
      ) : null}
      <Panel title={t('passkeys.title')}>
        <div className="flex flex-col gap-4">
          {possible ? (
            <p>{t('passkeys.what')}</p>
          ) : factors.passkey_host == null ? (
            <p>{t('passkeys.no_name')}</p>
          ) : (
            <p>{t('passkeys.other_name', { host: factors.passkey_host })}</p>
          )}
          {factors.passkeys.map((passkey) => (
            <div key={passkey.id} className="flex flex-wrap items-center gap-2">
              <span className="min-w-0 flex-1">
                <span className="font-medium wrap-anywhere">{passkey.name}</span>
                <span className="block text-[13px] text-muted">
                  {passkey.last_used
                    ? t('passkeys.used', { day: when(passkey.last_used) })
                    : t('passkeys.made', { day: when(passkey.made) })}
                </span>
              </span>
              <Button
                aria-label={`${t('rename')}: ${passkey.name}`}
                onClick={() => {
                  const other = window.prompt(t('passkeys.name'), passkey.name)?.trim();
                  if (other) act.mutate(() => renamePasskey(passkey.id, other));
                }}
              >
                {t('rename')}
              </Button>
              <Button
                aria-label={`${t('remove')}: ${passkey.name}`}
                onClick={() => act.mutate(() => removePasskey(passkey.id))}
              >
                {t('remove')}
              </Button>
            </div>
          ))}
          {possible ? (
            <div className="flex max-w-sm flex-col gap-3">
              <TextField
                label={t('passkeys.name')}
                hint={t('passkeys.name_hint')}
                value={name}
                maxLength={128}
                onChange={(event) => setName(event.currentTarget.value)}
              />
              <div>
                <Button look="primary" pending={act.isPending} onClick={() => act.mutate(makePasskey)}>
                  {t('passkeys.add')}
                </Button>
              </div>
            </div>
          ) : null}
        </div>
      </Panel>
      <Panel title={t('totp.title')}>
        <div className="flex flex-col gap-4">
          {factors.totp ? (
            <div className="flex flex-wrap items-center gap-2">
              <p className="flex-1">{t('totp.since', { day: when(factors.totp) })}</p>
              <Button aria-label={`${t('remove')}: ${t('totp.title')}`} onClick={() => act.mutate(removeApp)}>
                {t('remove')}
              </Button>
            </div>
          ) : enrolment ? (
            <form onSubmit={submitCode} className="flex flex-col gap-4">
              <p>{t('totp.scan')}</p>
              <img
                src={`data:image/svg+xml;base64,${btoa(enrolment.qr_svg)}`}
                alt={t('totp.qr')}
                className="size-52 bg-white p-2"
              />
              <CopyLine line={enrolment.secret} label={t('totp.secret')} />
              <div className="max-w-sm">
                <TextField
                  name="code"
                  inputMode="numeric"
                  autoComplete="one-time-code"
                  required
                  label={t('code.six')}
                />
              </div>
              <div>
                <Button type="submit" look="primary" pending={act.isPending}>
                  {t('totp.confirm')}
                </Button>
              </div>
            </form>
          ) : (
            <>
              <p>{t('totp.what')}</p>
              <div>
                <Button pending={act.isPending} onClick={() => act.mutate(begin)}>
                  {t('totp.begin')}
                </Button>
              </div>
            </>
          )}
        </div>
      </Panel>
      {(factors.totp || factors.passkeys.length > 0) && !codes ? (
        <Panel title={t('codes.title')}>
          <div className="flex flex-wrap items-center gap-2">
            <p className="flex-1">{t('codes.left', { count: factors.recovery_codes })}</p>
            <Button pending={act.isPending} onClick={() => act.mutate(newCodes)}>
              {t('codes.new')}
            </Button>
          </div>
        </Panel>
      ) : null}
    </>
  );
}
