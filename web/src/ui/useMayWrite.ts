// May the one who is signed in change things in this project? The server decides again; this only spares dead buttons.
import { useSuspenseQuery } from '@tanstack/react-query';
import { meQuery } from '../api/queries';
import type { Role } from '../api/types';

const WRITERS: Role[] = ['editor', 'administrator'];

export function useMayWrite(project: string): boolean {
  const { data: me } = useSuspenseQuery(meQuery);
  return me.projects.some(({ id, role }) => id === project && WRITERS.includes(role));
}
