// The data behind a picture: as read, as it grows live, with its gaps and figures.
import { describe, expect, it } from 'vitest';
import type { Series } from '../api/types';
import { extend, gapsUntil, joins, shape, statistics, worse } from './shape';

const S = 1_000_000;
const base = { element: 'elm_1', gaps: [], points: null, buckets: null };
const raw = (time_us: number[], value: number[]): Series => ({
  ...base,
  raw: true,
  width_us: null,
  count: value.length,
  points: { time_us, value, flag: value.map(() => 2) },
});
const bucketed: Series = {
  ...base,
  raw: false,
  width_us: 10 * S,
  count: 15,
  buckets: {
    time_us: [0, 10 * S],
    min: [1, 2],
    mean: [2, 4],
    max: [3, 9],
    count: [10, 5],
    flag: [2, 3],
  },
};
const arrival = (time_us: number[], value: number[], flag = value.map(() => 2)) => ({
  element: 'elm_1',
  time_us,
  value,
  flag,
});

describe('the server’s answer', () => {
  it('is drawn point by point when it is raw', () => {
    const drawn = shape(raw([S, 2 * S], [5, 6]), 0, 5_000);
    expect(drawn).toMatchObject({
      raw: true,
      t: [1_000, 2_000],
      mean: [5, 6],
      n: [1, 1],
      count: 2,
      lastMs: 2_000,
    });
  });

  it('keeps envelope and counts of buckets', () => {
    const drawn = shape(bucketed, 0, 15_000);
    expect(drawn).toMatchObject({
      raw: false,
      widthMs: 10_000,
      max: [3, 9],
      n: [10, 5],
      count: 15,
      lastMs: 15_000,
    });
  });

  it('may be nothing at all', () => {
    expect(shape(undefined, 0, 1)).toMatchObject({ t: [], count: 0, lastMs: null });
  });
});

describe('live points', () => {
  it('are added behind the last one, and none twice', () => {
    const drawn = shape(raw([S, 2 * S], [5, 6]), 0, 5_000);
    const next = extend(drawn, arrival([2 * S, 3 * S], [6, 7]));
    expect(next).toMatchObject({ t: [1_000, 2_000, 3_000], mean: [5, 6, 7], max: [5, 6, 7], count: 3 });
    expect(extend(drawn, arrival([S, 2 * S], [5, 6]))).toBe(drawn);
    expect(drawn.t).toHaveLength(2);
  });

  it('ask for a fresh read when they come late', () => {
    const drawn = shape(raw([S, 3 * S], [5, 6]), 0, 5_000);
    expect(extend(drawn, arrival([2 * S], [9]))).toBeNull();
    expect(extend(shape(bucketed, 0, 15_000), arrival([5 * S], [9]))).toBeNull();
  });

  it('widen the last bucket: lowest, highest, mean, count and worst flag', () => {
    const next = extend(shape(bucketed, 0, 15_000), arrival([16 * S], [10], [4]));
    expect(next).toMatchObject({
      max: [3, 10],
      min: [1, 2],
      n: [10, 6],
      mean: [2, 5],
      flag: [2, 4],
      count: 16,
    });
  });

  it('open a new bucket on the same raster', () => {
    const next = extend(shape(bucketed, 0, 15_000), arrival([47 * S], [1]));
    expect(next?.t).toEqual([0, 10_000, 40_000]);
    expect(next?.n).toEqual([10, 5, 1]);
  });

  it('end a gap that reached to the present', () => {
    const series = {
      ...raw([S], [5]),
      gaps: [{ from: iso(1_000), to: iso(9_000), reason: 'no_records' as const }],
    };
    expect(extend(shape(series, 0, 9_000), arrival([4 * S], [1]))?.gaps).toEqual([
      { from: 1_000, to: 4_000, reason: 'no_records' },
    ]);
  });
});

const iso = (ms: number) => new Date(ms).toISOString();

describe('gaps', () => {
  const drawn = shape(raw([S, 2 * S, 9 * S], [1, 2, 3]), 0, 10_000);

  it('are never bridged by the line', () => {
    const gap = { from: 2_000, to: 9_000, reason: 'sensor_error' as const };
    expect(joins(drawn, 1, [gap])).toBe(true);
    expect(joins(drawn, 2, [gap])).toBe(false);
    expect(joins(drawn, 2, [])).toBe(true);
    expect(joins(drawn, 0, [])).toBe(false);
  });

  it('open at the live edge when a series falls silent, and keep their reason', () => {
    expect(gapsUntil(drawn, 12_000, 1_000)).toEqual([]);
    expect(gapsUntil(drawn, 40_000, 1_000)).toEqual([{ from: 9_000, to: 40_000, reason: 'no_records' }]);
    const known = { ...drawn, gaps: [{ from: 9_000, to: 20_000, reason: 'sensor_error' as const }] };
    expect(gapsUntil(known, 40_000, 1_000)).toEqual([{ from: 9_000, to: 40_000, reason: 'sensor_error' }]);
    expect(gapsUntil(drawn, 1e9, 0)).toEqual([]);
    const underWay = { ...drawn, gaps: [{ from: 9_000, to: 12_000, reason: 'no_records' as const }] };
    expect(gapsUntil(underWay, 12_000, 1_000)).toEqual([]);
  });
});

describe('statistics', () => {
  it('weigh buckets by their points', () => {
    expect(statistics(shape(bucketed, 0, 20_000), 0, 20_000)).toMatchObject({
      count: 15,
      entries: 2,
      min: 1,
      max: 9,
      mean: (2 * 10 + 4 * 5) / 15,
      suspect: 1,
    });
  });

  it('count only what is shown', () => {
    expect(statistics(shape(raw([S, 2 * S], [5, 6]), 0, 5_000), 1_500, 5_000)).toMatchObject({
      count: 1,
      mean: 6,
    });
    expect(statistics(shape(undefined, 0, 1), 0, 1)).toBeNull();
  });

  it('a missing value is no worse than a bad one', () => {
    expect([worse(1, 3), worse(4, 3), worse(9, 3), worse(2, 9)]).toEqual([3, 4, 3, 2]);
  });
});
