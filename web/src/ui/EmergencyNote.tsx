// Says that an operator of the server let themself into this project. Only who may see members learns of it.
import { useQuery, useSuspenseQuery } from '@tanstack/react-query';
import { membersQuery, meQuery } from '../api/queries';
import type { Role } from '../api/types';
import { t } from '../i18n/t';
import { formatMoment } from '../time/format';
import { Stale } from './states';
import { useNow } from './useNow';

const AUDITORS: Role[] = ['auditor', 'administrator'];

export function useMayAudit(project: string): boolean {
  const { data: me } = useSuspenseQuery(meQuery);
  return me.projects.some(({ id, role }) => id === project && AUDITORS.includes(role));
}

export function EmergencyNote({ project, zone }: { project: string; zone: string }) {
  const mayAudit = useMayAudit(project);
  const nowMs = useNow();
  const members = useQuery({ ...membersQuery(project), enabled: mayAudit });
  const inside = (members.data?.items ?? []).filter(
    ({ emergency, until }) => emergency && until && Date.parse(until) > nowMs,
  );
  return inside.map((member) => (
    <Stale key={member.id}>
      {t('members.emergency_note', {
        name: member.name,
        time: formatMoment(Date.parse(member.until ?? ''), zone),
      })}
    </Stale>
  ));
}
