// Keys and service accounts of a project: what lets programs in, and what lets clients of another API in.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { api, call } from '../api/client';
import { compatibilityQuery } from '../api/queries';
import { t } from '../i18n/t';
import { PageHead, Panel } from '../ui/Page';
import { Failed } from '../ui/states';
import { ApiKeys } from './keys/ApiKeys';
import { Services } from './keys/Services';

const route = getRouteApi('/signed-in/p/$project/keys');

export function Keys() {
  const { project } = route.useParams();
  return (
    <>
      <PageHead title={t('keys.title')} />
      <ApiKeys project={project} />
      <Services project={project} />
      <Compatibility project={project} />
    </>
  );
}

function Compatibility({ project }: { project: string }) {
  const client = useQueryClient();
  const query = compatibilityQuery(project);
  const { data } = useQuery(query);
  const set = useMutation({
    mutationFn: (on: boolean) =>
      call(
        api.PUT('/api/v1/projects/{project}/compatibility', {
          params: { path: { project } },
          body: { consibio_v2: on },
        }),
      ),
    onSuccess: (answer) => client.setQueryData(query.queryKey, answer),
  });
  return (
    <Panel title={t('compat.title')}>
      <div className="flex flex-col gap-3">
        <label className="flex items-start gap-2">
          <input
            type="checkbox"
            className="mt-1"
            checked={data?.consibio_v2 ?? false}
            disabled={data === undefined || set.isPending}
            onChange={(event) => set.mutate(event.currentTarget.checked)}
          />
          <span>{t('compat.consibio')}</span>
        </label>
        <p className="text-[13px] text-muted">{t('compat.hint')}</p>
        {set.error ? <Failed error={set.error} /> : null}
      </div>
    </Panel>
  );
}
