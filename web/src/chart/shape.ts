// The data behind one picture: the server's answer in the form that is drawn, and how live points extend it.
// Pure functions over plain arrays; times are milliseconds since 1970.
import type { GapReason, Series } from '../api/types';

export interface DrawnGap {
  from: number;
  to: number;
  reason: GapReason;
}

export interface Drawn {
  /** What was asked for. */
  from: number;
  to: number;
  /** Every point is here; otherwise each entry stands for a bucket of `widthMs`. */
  raw: boolean;
  widthMs: number;
  /** How many points stand behind the picture. */
  count: number;
  /** Time of the point, or the start of the bucket. */
  t: number[];
  /** The value, or the bucket's mean. */
  mean: number[];
  min: number[];
  max: number[];
  n: number[];
  flag: number[];
  gaps: DrawnGap[];
  /** No data is known to be newer than this. */
  lastMs: number | null;
}

/** Batches travel some seconds: a series is not silent before this. */
export const BATCH_MS = 15_000;

/** New points of one element, as the live stream brings them. */
export interface Arrival {
  element: string;
  time_us: number[];
  value: number[];
  flag: number[];
}

const US_PER_MS = 1_000;

/** The server's answer as it is drawn. */
export function shape(series: Series | undefined, from: number, to: number): Drawn {
  const empty = { from, to, raw: true, widthMs: 0, count: 0, lastMs: null };
  const none = { t: [], mean: [], min: [], max: [], n: [], flag: [] };
  if (!series) return { ...empty, ...none, gaps: [] };
  const gaps = series.gaps.map((gap) => ({
    from: Date.parse(gap.from),
    to: Date.parse(gap.to),
    reason: gap.reason,
  }));
  const widthMs = (series.width_us ?? 0) / US_PER_MS;
  if (series.buckets) {
    const { time_us, min, mean, max, count, flag } = series.buckets;
    const t = time_us.map((us) => us / US_PER_MS);
    const last = t.at(-1);
    const lastMs = last === undefined ? null : Math.min(last + widthMs, Math.max(to, last));
    return {
      from,
      to,
      raw: false,
      widthMs,
      count: series.count,
      t,
      mean,
      min,
      max,
      n: count,
      flag,
      gaps,
      lastMs,
    };
  }
  if (!series.points) return { ...empty, ...none, gaps };
  const { time_us, value, flag } = series.points;
  const t = time_us.map((us) => us / US_PER_MS);
  const n = value.map(() => 1);
  const lastMs = t.at(-1) ?? null;
  return {
    from,
    to,
    raw: true,
    widthMs: 0,
    count: t.length,
    t,
    mean: value,
    min: value,
    max: value,
    n,
    flag,
    gaps,
    lastMs,
  };
}

/**
 * The picture with new points in it, or `null` when they cannot be put in truthfully (late data, before the end of
 * what is drawn): then it must be read again.
 */
export function extend(drawn: Drawn, arrival: Arrival): Drawn | null {
  const first = arrival.time_us[0];
  if (first === undefined) return drawn;
  if (drawn.raw && drawn.lastMs !== null && first / US_PER_MS <= drawn.lastMs) {
    const known = new Set(drawn.t);
    const news = arrival.time_us.findIndex((us) => !known.has(us / US_PER_MS));
    if (news === -1) return drawn;
    if ((arrival.time_us[news] ?? 0) / US_PER_MS <= drawn.lastMs) return null;
    return extend(drawn, {
      element: arrival.element,
      time_us: arrival.time_us.slice(news),
      value: arrival.value.slice(news),
      flag: arrival.flag.slice(news),
    });
  }
  const next: Drawn = {
    ...drawn,
    t: [...drawn.t],
    mean: [...drawn.mean],
    min: drawn.raw ? [] : [...drawn.min],
    max: drawn.raw ? [] : [...drawn.max],
    n: [...drawn.n],
    flag: [...drawn.flag],
  };
  for (let i = 0; i < arrival.time_us.length; i++) {
    const t = (arrival.time_us[i] ?? 0) / US_PER_MS;
    const value = arrival.value[i];
    if (value === undefined || value === null) continue;
    const added = drawn.raw
      ? addPoint(next, t, value, arrival.flag[i] ?? 2)
      : addToBucket(next, t, value, arrival.flag[i] ?? 2);
    if (!added) return null;
    next.count += 1;
    next.to = Math.max(next.to, t);
    next.lastMs = Math.max(next.lastMs ?? t, t);
  }
  if (next.raw) {
    next.min = next.mean;
    next.max = next.mean;
  }
  // A gap that reached to the end of what was asked for ends where data came in.
  const since = first / US_PER_MS;
  next.gaps = drawn.gaps
    .map((gap) => (gap.from < since && gap.to > since ? { ...gap, to: since } : gap))
    .filter((gap) => gap.from < since);
  return next;
}

function addPoint(next: Drawn, t: number, value: number, flag: number): boolean {
  if (next.lastMs !== null && t <= next.lastMs) return false;
  next.t.push(t);
  next.mean.push(value);
  next.n.push(1);
  next.flag.push(flag);
  return true;
}

function addToBucket(next: Drawn, t: number, value: number, flag: number): boolean {
  const last = next.t.length - 1;
  const start = next.t[last];
  if (start === undefined || t < start) return false;
  if (t < start + next.widthMs) {
    const n = next.n[last] ?? 0;
    next.mean[last] = ((next.mean[last] ?? 0) * n + value) / (n + 1);
    next.min[last] = Math.min(next.min[last] ?? value, value);
    next.max[last] = Math.max(next.max[last] ?? value, value);
    next.n[last] = n + 1;
    next.flag[last] = worse(next.flag[last] ?? 1, flag);
    return true;
  }
  next.t.push(start + Math.floor((t - start) / next.widthMs) * next.widthMs);
  next.mean.push(value);
  next.min.push(value);
  next.max.push(value);
  next.n.push(1);
  next.flag.push(flag);
  return true;
}

/** Missing is no worse than what was measured: it carries no value. */
const BADNESS: Record<number, number> = { 1: 0, 9: 1, 2: 2, 3: 3, 4: 4 };

export function worse(a: number, b: number): number {
  return (BADNESS[b] ?? 0) > (BADNESS[a] ?? 0) ? b : a;
}

/** Gaps with the one that opens when a live series falls silent. */
export function gapsUntil(drawn: Drawn, nowMs: number, intervalMs: number): DrawnGap[] {
  const { lastMs, gaps } = drawn;
  if (lastMs === null || intervalMs <= 0) return gaps;
  if (nowMs - lastMs <= silenceMs(drawn, intervalMs)) {
    // The newest batch is still on its way: that is no gap yet.
    return gaps.filter((gap) => gap.from < lastMs || gap.reason !== 'no_records');
  }
  const before = gaps.filter((gap) => gap.to <= lastMs);
  const reason = gaps.find((gap) => gap.to > lastMs)?.reason ?? 'no_records';
  return [...before, { from: lastMs, to: nowMs, reason }];
}

/** How long a live series may be silent before it counts as a gap. */
function silenceMs(drawn: Drawn, intervalMs: number): number {
  return Math.max(2.5 * intervalMs + drawn.widthMs, BATCH_MS);
}

/** May entry `i` be joined to the one before it? Not across a gap; the server knows which interval held when. */
export function joins(drawn: Drawn, i: number, gaps: DrawnGap[]): boolean {
  const before = drawn.t[i - 1];
  const here = drawn.t[i];
  if (before === undefined || here === undefined) return false;
  const end = before + drawn.widthMs;
  return !gaps.some((gap) => gap.from >= before && gap.from < here && gap.to > Math.min(end, here));
}

export interface Statistics {
  /** Points, and the entries (points or buckets) that show them. */
  count: number;
  entries: number;
  last: number;
  min: number;
  mean: number;
  max: number;
  suspect: number;
  fail: number;
}

/** What the legend says of the part between two times. */
export function statistics(drawn: Drawn, from: number, to: number): Statistics | null {
  let n = 0;
  let sum = 0;
  const found: Statistics = {
    count: 0,
    entries: 0,
    last: 0,
    min: Infinity,
    mean: 0,
    max: -Infinity,
    suspect: 0,
    fail: 0,
  };
  for (let i = 0; i < drawn.t.length; i++) {
    const t = drawn.t[i] ?? 0;
    if (t + drawn.widthMs < from || t > to) continue;
    const weight = drawn.n[i] ?? 0;
    const mean = drawn.mean[i] ?? 0;
    n += weight;
    found.entries += 1;
    sum += mean * weight;
    found.min = Math.min(found.min, drawn.min[i] ?? mean);
    found.max = Math.max(found.max, drawn.max[i] ?? mean);
    found.last = mean;
    if (drawn.flag[i] === 3) found.suspect += 1;
    if (drawn.flag[i] === 4) found.fail += 1;
  }
  if (n === 0) return null;
  return { ...found, count: n, mean: sum / n };
}
