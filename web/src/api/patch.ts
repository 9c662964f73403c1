// How points from the live stream change what is cached: latest values everywhere, and the pictures of live charts.
import type { QueryClient, QueryKey } from '@tanstack/react-query';
import type { View } from '../chart/range';
import { type Arrival, BATCH_MS, type Drawn, extend } from '../chart/shape';
import type { Element } from './types';

/** The element with the newest of these points as its latest; the same object when nothing is newer. */
export function patchElement(element: Element, arrival: Arrival): Element {
  if (element.id !== arrival.element) return element;
  let best = -1;
  let bestUs = element.latest ? Date.parse(element.latest.time) * 1_000 : -Infinity;
  arrival.time_us.forEach((us, i) => {
    if (us > bestUs && typeof arrival.value[i] === 'number') {
      best = i;
      bestUs = us;
    }
  });
  const value = arrival.value[best];
  if (value === undefined) return element;
  const latest = { time: new Date(bestUs / 1_000).toISOString(), value, flag: arrival.flag[best] ?? 2 };
  return { ...element, latest: { ...element.latest, ...latest } };
}

/** Late data comes in bursts; the pictures that it changes are read again at this pace. */
const REREAD_MS = 2_000;

/** Puts arrivals into the cache of one project. */
export class Patcher {
  private readonly waiting = new Map<string, QueryKey>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly client: QueryClient,
    private readonly project: string,
  ) {}

  points(arrival: Arrival): void {
    this.client.setQueryData<{ items: Element[] }>(['elements', this.project], (list) => {
      if (!list?.items.some((element) => element.id === arrival.element)) return list;
      return { ...list, items: list.items.map((element) => patchElement(element, arrival)) };
    });
    this.client.setQueryData<Element>(['element', this.project, arrival.element], (element) =>
      element ? patchElement(element, arrival) : element,
    );
    const queries = this.client
      .getQueryCache()
      .findAll({ queryKey: ['points', this.project, arrival.element], type: 'active' });
    for (const query of queries) this.picture(query.queryKey, query.state.data as Drawn | undefined, arrival);
  }

  private picture(key: QueryKey, drawn: Drawn | undefined, arrival: Arrival): void {
    if (!drawn) return;
    const view = key[3] as View;
    if (view.kind === 'fixed') {
      const touches = arrival.time_us.some((us) => us / 1_000 >= view.from && us / 1_000 <= view.to);
      if (touches) this.reread(key);
      return;
    }
    const longest = view.kind === 'last' ? view.spanMs : Infinity;
    const next = extend(drawn, arrival);
    if (next === null) {
      const newest = Math.max(...arrival.time_us) / 1_000;
      if (newest >= (drawn.lastMs ?? newest) - longest) this.reread(key);
      return;
    }
    // After a silence only the server can say whether there is a gap, and why.
    const silent = (arrival.time_us[0] ?? 0) / 1_000 - (drawn.lastMs ?? Infinity);
    if (silent > BATCH_MS + drawn.widthMs) this.reread(key);
    // A dot a point is only true while there is room for each; beyond that the server makes buckets.
    if (next.raw && next.t.length > 2 * Number(key[4])) this.reread(key);
    this.client.setQueryData(key, next, { updatedAt: this.client.getQueryState(key)?.dataUpdatedAt ?? 0 });
  }

  private reread(key: QueryKey): void {
    this.waiting.set(JSON.stringify(key), key);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      const keys = [...this.waiting.values()];
      this.waiting.clear();
      for (const queryKey of keys) void this.client.invalidateQueries({ queryKey, exact: true });
    }, REREAD_MS);
  }

  missed(): void {
    for (const of of ['points', 'elements', 'element']) {
      void this.client.invalidateQueries({ queryKey: [of, this.project] });
    }
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
