// Tells an operator what is wrong with the backups, on every page, until it is right. The words are the server's: the
// same that `fieldkeep admin doctor` prints.
import { useQuery } from '@tanstack/react-query';
import { backupQuery, meQuery } from '../api/queries';
import { t } from '../i18n/t';
import { Stale } from './states';

export function BackupNote() {
  const me = useQuery(meQuery);
  const backup = useQuery({ ...backupQuery, enabled: me.data?.operator === true });
  const warnings = backup.data?.warnings ?? [];
  if (warnings.length === 0) return null;
  return (
    <Stale>
      {t('backup.look')} {warnings.map((warning) => warning.text).join(' · ')}
    </Stale>
  );
}
