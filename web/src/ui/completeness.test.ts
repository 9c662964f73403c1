// The strip of days: which cell says what.
import { expect, it } from 'vitest';
import type { Completeness } from '../api/types';
import { causes, cells, DAYS, percentWords, stripRange } from './completeness';

const NOON = Date.UTC(2026, 2, 15, 12);
const NOTHING = { never_sampled: 0, sensor_error: 0, dropped: 0, not_sent: 0, held: 0, damaged: 0 };

function found(days: Completeness['days']): Completeness {
  return {
    from: '2026-03-12T00:00:00Z',
    to: '2026-03-15T12:00:00Z',
    interval_us: 1_000_000,
    expected: 0,
    stored: 0,
    percent: null,
    missing: NOTHING,
    days,
    holes: [],
    holes_left_off: 0,
    revision: '0.0',
  };
}

it('asks for whole days of UTC that end with today', () => {
  expect(stripRange(NOON)).toEqual({ from: '2026-02-14T00:00:00.000Z', to: '2026-03-16T00:00:00.000Z' });
  expect(stripRange(Date.UTC(2026, 2, 15))).toEqual(stripRange(NOON));
});

it('has a cell for every day, each filled as far as its day is', () => {
  const days = cells(
    found([
      { day: '2026-03-12T00:00:00Z', expected: 100, stored: 100, percent: 100, missing: NOTHING },
      {
        day: '2026-03-13T00:00:00Z',
        expected: 1_000,
        stored: 999,
        percent: 99.9,
        missing: { ...NOTHING, not_sent: 1 },
      },
      {
        day: '2026-03-14T00:00:00Z',
        expected: 5,
        stored: 0,
        percent: 0,
        missing: { ...NOTHING, dropped: 5 },
      },
      { day: '2026-03-15T00:00:00Z', expected: null, stored: 7, percent: null, missing: NOTHING },
    ]),
    NOON,
  );
  expect(days).toHaveLength(DAYS);
  const [none, whole, partial, empty, events] = days.slice(-5);
  expect(none).toMatchObject({ level: 'none', words: '11 Mar 2026: nothing expected' });
  expect(whole).toMatchObject({ level: 'whole', part: 1, words: '12 Mar 2026: 100 %' });
  expect(partial).toMatchObject({ level: 'partial', words: '13 Mar 2026: 99.9 %: 1 not sent yet' });
  expect(partial?.part).toBeCloseTo(0.999);
  expect(empty).toMatchObject({ level: 'empty', part: 0, words: '14 Mar 2026: 0 %: 5 lost on the device' });
  expect(events).toMatchObject({ level: 'none', words: '15 Mar 2026: 7 on events' });
});

it('tells causes that can be mended first, and a hundred only where nothing is missing', () => {
  expect(causes({ ...NOTHING, never_sampled: 3, held: 2, not_sent: 1_000 })).toBe(
    '1,000 not sent yet, 2 held back, 3 never sampled',
  );
  expect(causes(NOTHING)).toBe('');
  expect(percentWords(99.999)).toBe('99.9 %');
  expect(percentWords(100)).toBe('100 %');
});
