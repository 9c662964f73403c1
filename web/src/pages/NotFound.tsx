// An address that is no page of this app.
import { Link } from '@tanstack/react-router';
import { t } from '../i18n/t';
import { buttonClass } from '../ui/controls';
import { useTitle } from '../ui/Page';
import { Empty } from '../ui/states';

export function NotFound() {
  useTitle(t('not_found.title'));
  return (
    <main className="mx-auto max-w-lg p-6">
      <h1 className="sr-only">{t('not_found.title')}</h1>
      <Empty title={t('not_found.text')}>
        <Link to="/projects" className={buttonClass('plain')}>
          {t('not_found.go')}
        </Link>
      </Empty>
    </main>
  );
}
