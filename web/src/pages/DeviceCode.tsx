// Letting a command line in: the person types the code that it shows, sees who asks from where, and says yes or no.
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, call } from '../api/client';
import { Refused } from '../api/problem';
import { t } from '../i18n/t';
import { Button, TextField } from '../ui/controls';
import { Tick } from '../ui/icons';
import { PageHead, Panel } from '../ui/Page';
import { Failed } from '../ui/states';
import { TopBar } from '../ui/TopBar';

/** The code that a link brought along; it stays out of the server's sight. */
const brought = () => location.hash.replace(/^#/, '').slice(0, 64);

export function DeviceCode() {
  const [code, setCode] = useState(brought);
  const look = useMutation({
    mutationFn: (user_code: string) => call(api.POST('/api/v1/auth/device', { body: { user_code } })),
  });
  const answer = useMutation({
    mutationFn: (approve: boolean) =>
      call(api.POST('/api/v1/auth/device/answer', { body: { user_code: code, approve } })),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    look.mutate(code);
  };
  const fault = look.error instanceof Refused ? look.error.faults[0]?.reason : undefined;
  return (
    <>
      <TopBar />
      <main id="content" tabIndex={-1} className="mx-auto flex max-w-xl flex-col gap-4 p-6 outline-none">
        <PageHead title={t('device_code.title')} />
        {answer.isSuccess ? (
          <Panel>
            <p role="status" className="flex items-center gap-2">
              {answer.variables ? <Tick className="size-5 text-reporting" /> : null}
              {t(answer.variables ? 'device_code.let_in' : 'device_code.refused')}
            </p>
          </Panel>
        ) : look.data ? (
          <Panel title={t('device_code.asks')}>
            <div className="flex flex-col gap-4">
              <dl className="grid grid-cols-[max-content_minmax(0,1fr)] gap-x-4 gap-y-1">
                <dt className="text-muted">{t('device_code.name')}</dt>
                <dd className="font-medium wrap-anywhere">{look.data.name}</dd>
                <dt className="text-muted">{t('device_code.from')}</dt>
                <dd className="wrap-anywhere">{look.data.from}</dd>
                <dt className="text-muted">{t('device_code.code')}</dt>
                <dd>
                  <code>{code}</code>
                </dd>
              </dl>
              <p>{t('device_code.means')}</p>
              {answer.error ? <Failed error={answer.error} /> : null}
              <div className="flex flex-wrap gap-2">
                <Button look="primary" pending={answer.isPending} onClick={() => answer.mutate(true)}>
                  {t('device_code.yes')}
                </Button>
                <Button pending={answer.isPending} onClick={() => answer.mutate(false)}>
                  {t('device_code.no')}
                </Button>
              </div>
            </div>
          </Panel>
        ) : (
          <Panel>
            <form onSubmit={submit} className="flex flex-col gap-4">
              <p>{t('device_code.intro')}</p>
              <TextField
                name="code"
                required
                maxLength={64}
                autoComplete="off"
                autoCapitalize="characters"
                spellCheck={false}
                value={code}
                onChange={(event) => setCode(event.currentTarget.value)}
                label={t('device_code.code')}
                fault={fault}
              />
              {look.error && fault === undefined ? <Failed error={look.error} /> : null}
              <Button type="submit" look="primary" more="self-start" pending={look.isPending}>
                {t('device_code.look')}
              </Button>
            </form>
          </Panel>
        )}
      </main>
    </>
  );
}
