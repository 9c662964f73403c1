// One's own sessions: where one is signed in, and ending it there.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, call } from '../../api/client';
import { sessionsQuery } from '../../api/queries';
import { t } from '../../i18n/t';
import { Button } from '../../ui/controls';
import { Panel } from '../../ui/Page';
import { Failed, Loading } from '../../ui/states';

export function SessionPanel() {
  const sessions = useQuery(sessionsQuery);
  const client = useQueryClient();
  const refresh = () => client.invalidateQueries({ queryKey: ['sessions'] });
  const end = useMutation({
    mutationFn: (session: string) =>
      call(api.DELETE('/api/v1/auth/sessions/{session}', { params: { path: { session } } })),
    onSettled: refresh,
  });
  const endOthers = useMutation({
    mutationFn: () => call(api.POST('/api/v1/auth/sessions/end-others')),
    onSettled: refresh,
  });
  const items = sessions.data?.items ?? [];
  return (
    <Panel title={t('sessions.title')}>
      {sessions.error ? (
        <Failed error={sessions.error} retry={() => void sessions.refetch()} />
      ) : sessions.data === undefined ? (
        <Loading />
      ) : (
        <div className="flex flex-col gap-3">
          <ul className="flex flex-col gap-3">
            {items.map((session) => (
              <li key={session.id} className="flex flex-wrap items-center gap-2">
                <span className="min-w-0 flex-1">
                  <span className="font-medium">
                    {session.current ? t('sessions.this') : (session.origin ?? t('unknown'))}
                  </span>
                  <span className="block text-[13px] text-muted">
                    {t('sessions.seen', {
                      began: session.created.slice(0, 16).replace('T', ' '),
                      seen: session.last_seen.slice(0, 16).replace('T', ' '),
                      origin: session.origin ?? t('unknown'),
                    })}
                  </span>
                </span>
                {session.current ? null : (
                  <Button
                    aria-label={`${t('sessions.end')}: ${session.origin ?? session.id}`}
                    onClick={() => end.mutate(session.id)}
                  >
                    {t('sessions.end')}
                  </Button>
                )}
              </li>
            ))}
          </ul>
          {items.length > 1 ? (
            <div>
              <Button pending={endOthers.isPending} onClick={() => endOthers.mutate()}>
                {t('sessions.end_others')}
              </Button>
            </div>
          ) : null}
        </div>
      )}
    </Panel>
  );
}
