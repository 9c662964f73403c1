// What part of time a chart shows: its form in the address, and the moves (pan, zoom) as plain functions.
// A view that ends "now" is live and moves with the clock; a fixed one never moves by itself.

export type View =
  | { kind: 'last'; spanMs: number }
  | { kind: 'all' }
  | { kind: 'fixed'; from: number; to: number };

export interface Range {
  from: number;
  to: number;
}

/** The address parameters of a view. */
export interface RangeSearch {
  last?: string;
  from?: string;
  to?: string;
}

const SECOND = 1_000;
const UNIT_MS: Record<string, number> = {
  s: SECOND,
  m: 60 * SECOND,
  h: 3_600 * SECOND,
  d: 86_400 * SECOND,
  y: 365 * 86_400 * SECOND,
};

export const PRESETS = ['5m', '1h', '24h', '7d', '30d', '1y', 'all'] as const;
const DEFAULT: View = { kind: 'last', spanMs: 3_600 * SECOND };

/** Narrower than this is noise of the clock, wider is no data of ours. */
const MIN_SPAN_MS = 100;
const MAX_SPAN_MS = 100 * 365 * 86_400 * SECOND;

/** Reads an address; what makes no sense is the last hour. */
export function viewOf(search: RangeSearch): View {
  if (search.from !== undefined && search.to !== undefined) {
    const from = Date.parse(search.from);
    const to = Date.parse(search.to);
    if (to - from >= MIN_SPAN_MS && to - from <= MAX_SPAN_MS) return { kind: 'fixed', from, to };
  }
  if (search.last === 'all') return { kind: 'all' };
  const [, amount, unit] = /^(\d{1,9})([smhdy])$/.exec(search.last ?? '') ?? [];
  const spanMs = Number(amount) * (UNIT_MS[unit ?? ''] ?? Number.NaN);
  if (spanMs >= MIN_SPAN_MS && spanMs <= MAX_SPAN_MS) return { kind: 'last', spanMs };
  return DEFAULT;
}

/** Writes an address. */
export function searchOf(view: View): RangeSearch {
  switch (view.kind) {
    case 'all':
      return { last: 'all' };
    case 'last':
      return { last: presetOf(view) ?? `${Math.max(1, Math.round(view.spanMs / SECOND))}s` };
    case 'fixed':
      return { from: new Date(view.from).toISOString(), to: new Date(view.to).toISOString() };
  }
}

/** The preset that a view is, if it is one. */
export function presetOf(view: View): string | undefined {
  if (view.kind === 'all') return 'all';
  if (view.kind === 'fixed') return undefined;
  return PRESETS.find((preset) => {
    const parsed = viewOf({ last: preset });
    return preset !== 'all' && parsed.kind === 'last' && parsed.spanMs === view.spanMs;
  });
}

/** The times a view means at `now`; `first` is where the data begins, where that is known. */
export function rangeOf(view: View, now: number, first: number | null): Range {
  switch (view.kind) {
    case 'fixed':
      return { from: view.from, to: view.to };
    case 'last':
      return { from: now - view.spanMs, to: now };
    case 'all':
      return { from: first ?? now - 3_600 * SECOND, to: now };
  }
}

export function isLive(view: View): boolean {
  return view.kind !== 'fixed';
}

/** The live view as wide as this range. */
export function liveView(range: Range): View {
  return { kind: 'last', spanMs: Math.max(SECOND, range.to - range.from) };
}

/** Moves by a part of the width; negative is towards the past. */
export function pan(range: Range, part: number): Range {
  const by = (range.to - range.from) * part;
  return { from: range.from + by, to: range.to + by };
}

/** Widens (factor above 1) or narrows around the time that stays in place. */
export function zoom(range: Range, factor: number, around: number = (range.from + range.to) / 2): Range {
  const span = range.to - range.from;
  const wanted = Math.min(MAX_SPAN_MS, Math.max(MIN_SPAN_MS, span * factor));
  const place = (around - range.from) / span;
  const from = around - wanted * place;
  return { from, to: from + wanted };
}

/** Whole milliseconds, the right way round, neither too narrow nor too wide. */
export function fixedView(range: Range): View {
  const low = Math.floor(Math.min(range.from, range.to));
  const high = Math.ceil(Math.max(range.from, range.to));
  const { from, to } =
    high - low < MIN_SPAN_MS ? { from: low, to: low + MIN_SPAN_MS } : { from: low, to: high };
  return { kind: 'fixed', from, to };
}
