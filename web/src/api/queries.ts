// What is read from the server, each with its cache key; the only file that names paths for reading.
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query';
import { now } from '../time/now';
import { stripRange } from '../ui/completeness';
import { api, call } from './client';
import type { Element } from './types';

/** Device states are the server's judgement; no event tells of a change, so they are asked for. */
const STATES_EVERY_MS = 5_000;

export const meQuery = queryOptions({
  queryKey: ['me'],
  queryFn: ({ signal }) => call(api.GET('/api/v1/me', { signal })),
  staleTime: 60_000,
});

export const factorsQuery = queryOptions({
  queryKey: ['factors'],
  queryFn: ({ signal }) => call(api.GET('/api/v1/auth/factors', { signal })),
});

export const sessionsQuery = queryOptions({
  queryKey: ['sessions'],
  queryFn: ({ signal }) => call(api.GET('/api/v1/auth/sessions', { signal })),
});

/** For operators only; everybody else is refused. */
export const spaceQuery = queryOptions({
  queryKey: ['space'],
  queryFn: ({ signal }) => call(api.GET('/api/v1/instance/space', { signal })),
  refetchInterval: 60_000,
  retry: false,
});

/** For operators only; others are refused. */
export const backupQuery = queryOptions({
  queryKey: ['instance', 'backup'],
  queryFn: ({ signal }) => call(api.GET('/api/v1/instance/backup', { signal })),
  refetchInterval: 60_000,
});

export const projectsQuery = queryOptions({
  queryKey: ['projects'],
  queryFn: ({ signal }) => call(api.GET('/api/v1/projects', { signal })),
});

export const projectQuery = (project: string) =>
  queryOptions({
    queryKey: ['project', project],
    queryFn: ({ signal }) =>
      call(api.GET('/api/v1/projects/{project}', { params: { path: { project } }, signal })),
    staleTime: 60_000,
  });

export const devicesQuery = (project: string) =>
  infiniteQueryOptions({
    queryKey: ['devices', project],
    queryFn: ({ signal, pageParam }) =>
      call(
        api.GET('/api/v1/projects/{project}/devices', {
          params: { path: { project }, query: pageParam ? { cursor: pageParam } : {} },
          signal,
        }),
      ),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor || undefined,
    refetchInterval: STATES_EVERY_MS,
  });

export const deviceQuery = (project: string, device: string) =>
  queryOptions({
    queryKey: ['device', project, device],
    queryFn: ({ signal }) =>
      call(
        api.GET('/api/v1/projects/{project}/devices/{device}', {
          params: { path: { project, device } },
          signal,
        }),
      ),
    refetchInterval: STATES_EVERY_MS,
  });

export const logQuery = (project: string, device: string) =>
  queryOptions({
    queryKey: ['log', project, device],
    queryFn: ({ signal }) =>
      call(
        api.GET('/api/v1/projects/{project}/devices/{device}/log', {
          params: { path: { project, device } },
          signal,
        }),
      ),
    refetchInterval: STATES_EVERY_MS,
  });

/** Asked for seldom: clocks are looked at twice a minute. */
export const clockQuery = (project: string, device: string) =>
  queryOptions({
    queryKey: ['clock', project, device],
    queryFn: ({ signal }) =>
      call(
        api.GET('/api/v1/projects/{project}/devices/{device}/clock', {
          params: { path: { project, device } },
          signal,
        }),
      ),
    refetchInterval: 30_000,
  });

export const elementsQuery = (project: string) =>
  queryOptions({
    queryKey: ['elements', project],
    queryFn: async ({ signal }) => {
      const read = (cursor?: string) =>
        call(
          api.GET('/api/v1/projects/{project}/elements', {
            params: { path: { project }, query: { limit: 1_000, ...(cursor ? { cursor } : {}) } },
            signal,
          }),
        );
      const first = await read();
      const items: Element[] = first.items;
      let next = first.next_cursor;
      while (next) {
        const page = await read(next);
        items.push(...page.items);
        next = page.next_cursor;
      }
      return { items };
    },
    refetchInterval: 60_000,
  });

export const elementQuery = (project: string, element: string) =>
  queryOptions({
    queryKey: ['element', project, element],
    queryFn: ({ signal }) =>
      call(
        api.GET('/api/v1/projects/{project}/elements/{element}', {
          params: { path: { project, element } },
          signal,
        }),
      ),
    refetchInterval: 60_000,
  });

export const keysQuery = (project: string) =>
  queryOptions({
    queryKey: ['keys', project],
    queryFn: ({ signal }) =>
      call(
        api.GET('/api/v1/projects/{project}/keys', {
          params: { path: { project }, query: { limit: 1_000 } },
          signal,
        }),
      ),
  });

export const servicesQuery = (project: string) =>
  queryOptions({
    queryKey: ['service-accounts', project],
    queryFn: ({ signal }) =>
      call(
        api.GET('/api/v1/projects/{project}/service-accounts', {
          params: { path: { project }, query: { limit: 1_000 } },
          signal,
        }),
      ),
  });

export const compatibilityQuery = (project: string) =>
  queryOptions({
    queryKey: ['compatibility', project],
    queryFn: ({ signal }) =>
      call(api.GET('/api/v1/projects/{project}/compatibility', { params: { path: { project } }, signal })),
  });

/** Whose completeness: an element's values, or a device's records. */
export type CompletenessOf = { element: string } | { device: string };

export const completenessQuery = (project: string, of: CompletenessOf) =>
  queryOptions({
    queryKey: ['completeness', project, of],
    queryFn: ({ signal }) => {
      const query = stripRange(now());
      return 'element' in of
        ? call(
            api.GET('/api/v1/projects/{project}/elements/{element}/completeness', {
              params: { path: { project, element: of.element }, query },
              signal,
            }),
          )
        : call(
            api.GET('/api/v1/projects/{project}/devices/{device}/completeness', {
              params: { path: { project, device: of.device }, query },
              signal,
            }),
          );
    },
    staleTime: 60_000,
    refetchInterval: 300_000,
  });

/** Everybody in a project; auditors and administrators only. Asked for again, since an emergency must be seen. */
export const membersQuery = (project: string) =>
  queryOptions({
    queryKey: ['members', project],
    queryFn: ({ signal }) =>
      call(
        api.GET('/api/v1/projects/{project}/members', {
          params: { path: { project }, query: { limit: 1_000 } },
          signal,
        }),
      ),
    refetchInterval: 60_000,
    retry: false,
  });

export const hangingQuery = (project: string, person: string) =>
  queryOptions({
    queryKey: ['hanging', project, person],
    queryFn: ({ signal }) =>
      call(
        api.GET('/api/v1/projects/{project}/members/{person}/hanging', {
          params: { path: { project, person } },
          signal,
        }),
      ),
    staleTime: 0,
  });

/** Which entries of the trail; what is left out does not matter. */
export interface TrailFilter {
  act?: string;
  result?: 'done' | 'refused' | 'failed';
  who?: string;
  object?: string;
  from?: string;
  to?: string;
}

export const trailQuery = (project: string, filter: TrailFilter) =>
  infiniteQueryOptions({
    queryKey: ['trail', project, filter],
    queryFn: ({ signal, pageParam }) =>
      call(
        api.GET('/api/v1/projects/{project}/trail', {
          params: { path: { project }, query: { ...filter, ...(pageParam ? { cursor: pageParam } : {}) } },
          signal,
        }),
      ),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor || undefined,
  });
