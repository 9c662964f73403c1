// One's own account: password, second factors, sessions. Somebody who must set up a second factor comes here first.
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { factorsQuery, meQuery } from '../api/queries';
import { t } from '../i18n/t';
import { Button } from '../ui/controls';
import { PageHead, Panel } from '../ui/Page';
import { Failed, Loading, Stale } from '../ui/states';
import { TopBar } from '../ui/TopBar';
import { FactorPanel } from './account/FactorPanel';
import { PasswordPanel } from './account/PasswordPanel';
import { SessionPanel } from './account/SessionPanel';

export function Account() {
  const me = useQuery(meQuery);
  const factors = useQuery(factorsQuery);
  const client = useQueryClient();
  const navigate = useNavigate();
  const [codes, setCodes] = useState<string[] | null>(null);

  const changed = (shown?: string[] | null) => {
    if (shown) setCodes(shown);
    void client.invalidateQueries({ queryKey: ['factors'] });
    void client.invalidateQueries({ queryKey: ['me'] });
  };

  if (factors.error) return <Failed error={factors.error} retry={() => void factors.refetch()} />;
  if (!me.data || !factors.data) return <Loading />;
  const setsUp = me.data.step === 'set_up_factor';
  return (
    <>
      {setsUp ? null : <TopBar />}
      <main
        id="content"
        tabIndex={-1}
        className="mx-auto flex max-w-3xl flex-col gap-4 p-4 outline-none md:p-6"
      >
        <PageHead title={setsUp ? t('factors.first') : t('account.title')} above={me.data.email} />
        {setsUp ? <p>{t('factors.why')}</p> : null}
        {factors.data.waived ? <Stale>{t('factors.demo')}</Stale> : null}
        <FactorPanel factors={factors.data} email={me.data.email ?? ''} codes={codes} changed={changed} />
        {setsUp || (codes && me.data.step === 'done' && factors.data.required) ? (
          <div>
            <Button
              look="primary"
              disabled={setsUp}
              onClick={() => {
                client.clear();
                void navigate({ to: '/projects' });
              }}
            >
              {t('factors.go_on')}
            </Button>
          </div>
        ) : null}
        {setsUp ? null : (
          <>
            <PasswordPanel email={me.data.email ?? ''} />
            <SessionPanel />
          </>
        )}
        {setsUp ? null : (
          <Panel title={t('account.lost_title')}>
            <p>{t('account.lost')}</p>
          </Panel>
        )}
      </main>
    </>
  );
}
