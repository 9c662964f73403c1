// Tells the only operator to see to it that there is a second way in, until there is one.
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { factorsQuery, meQuery } from '../api/queries';
import { t } from '../i18n/t';
import { Stale } from './states';

export function OperatorNote() {
  const me = useQuery(meQuery);
  const factors = useQuery({ ...factorsQuery, enabled: me.data?.operator === true });
  const data = factors.data;
  if (data?.waived) return <Stale>{t('factors.demo')}</Stale>;
  if (!data?.only_operator || data.codes_kept != null) return null;
  return (
    <Stale>
      {t('factors.alone')} <Link to="/account">{t('account.title')}</Link>
    </Stale>
  );
}
