// What stands in place of a page that could not be shown at all, with a way on.
import { useQueryErrorResetBoundary } from '@tanstack/react-query';
import { type ErrorComponentProps, Link, useRouter } from '@tanstack/react-router';
import { t } from '../i18n/t';
import { Failed } from './states';

export function PageFailed({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  const queries = useQueryErrorResetBoundary();
  const retry = () => {
    queries.reset();
    reset();
    void router.invalidate();
  };
  return (
    <div className="mx-auto flex w-full max-w-3xl flex-col gap-4 p-4 md:p-6">
      <Failed error={error} retry={retry} />
      <Link to="/projects" className="focus-ring self-start rounded">
        {t('not_found.go')}
      </Link>
    </div>
  );
}
