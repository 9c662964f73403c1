// The points that charts and sparks draw, read in the form they are drawn in.
import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { rangeOf, type View } from '../chart/range';
import { type Drawn, shape } from '../chart/shape';
import { now } from '../time/now';
import { api, call } from './client';

async function readDrawn(
  project: string,
  element: string,
  from: number,
  to: number,
  buckets: number,
  signal: AbortSignal,
): Promise<Drawn> {
  const query = {
    element: [element],
    from: new Date(from).toISOString(),
    to: new Date(to).toISOString(),
    buckets,
  };
  const page = await call(
    api.GET('/api/v1/projects/{project}/points', { params: { path: { project }, query }, signal }),
  );
  return shape(page.items[0], from, to);
}

/** Where "all" begins to look: no device of ours reports an earlier time. */
const DAWN_MS = Date.UTC(2000, 0, 1);

export const pointsQuery = (project: string, element: string, view: View, buckets: number) =>
  queryOptions({
    queryKey: ['points', project, element, view, buckets],
    queryFn: async ({ signal }) => {
      const time = now();
      if (view.kind !== 'all') {
        const { from, to } = rangeOf(view, time, null);
        return readDrawn(project, element, from, to, buckets, signal);
      }
      // Two looks: a coarse one finds where the data begins, the second draws it.
      const whole = await readDrawn(project, element, DAWN_MS, time, 4_000, signal);
      const first = whole.t[0];
      if (first === undefined) return { ...whole, from: time - 3_600_000 };
      return readDrawn(project, element, first, time, buckets, signal);
    },
    placeholderData: keepPreviousData,
    staleTime: view.kind === 'fixed' ? 60_000 : 10_000,
    refetchInterval: view.kind === 'fixed' ? false : refreshMs(view.kind === 'last' ? view.spanMs : Infinity),
  });

/** The live tail is patched point by point; a fresh read now and then brings gaps and late data. */
function refreshMs(spanMs: number): number {
  return Math.min(600_000, Math.max(30_000, spanMs / 60));
}

const SPARK_MS = 3_600_000;
const SPARK_BUCKETS = 120;

/** The last hour of several elements in one call, small. */
export const sparksQuery = (project: string, elements: string[]) =>
  queryOptions({
    queryKey: ['sparks', project, elements],
    queryFn: async ({ signal }) => {
      const to = now();
      const from = to - SPARK_MS;
      const query = {
        element: elements,
        from: new Date(from).toISOString(),
        to: new Date(to).toISOString(),
        buckets: SPARK_BUCKETS,
      };
      const page = await call(
        api.GET('/api/v1/projects/{project}/points', { params: { path: { project }, query }, signal }),
      );
      return new Map(page.items.map((series) => [series.element, shape(series, from, to)]));
    },
    enabled: elements.length > 0,
    refetchInterval: 30_000,
  });
