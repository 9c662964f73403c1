// Times as words, and the clock that follows the server.
import { afterEach, describe, expect, it } from 'vitest';
import { formatAgo, formatMoment, formatSpan, zoneAbbreviation } from './format';
import { learnServerTime, now } from './now';

describe('words for times', () => {
  it('write the day first and the zone that holds on that day', () => {
    const ms = Date.parse('2026-11-24T11:05:12Z');
    expect(formatMoment(ms, 'Europe/Copenhagen')).toBe('24 Nov 2026, 12:05:12');
    expect(zoneAbbreviation(ms, 'Europe/Copenhagen')).toBe('CET');
    expect(zoneAbbreviation(Date.parse('2026-07-01T00:00:00Z'), 'Europe/Copenhagen')).toBe('CEST');
  });

  it('midnight is 00, never 24', () => {
    expect(formatMoment(Date.parse('2026-11-24T00:00:00Z'), 'UTC')).toBe('24 Nov 2026, 00:00:00');
  });

  it('lengths take the unit that fits', () => {
    expect([1, 1_000, 90_000, 9_000_000, 43_200_000, 31 * 86_400_000].map(formatSpan)).toEqual([
      '1 ms',
      '1 s',
      '1.5 min',
      '2.5 h',
      '12 h',
      '31 d',
    ]);
  });

  it('ages are whole and never negative', () => {
    expect(formatAgo(5_000, 1_000)).toBe('just now');
    expect(formatAgo(0, 12_900)).toBe('12 s ago');
    expect(formatAgo(0, 3 * 86_400_000)).toBe('3 d ago');
  });
});

describe('the time of day by the server', () => {
  afterEach(() => learnServerTime(Date.now()));

  it('follows the server where the browser is far off', () => {
    learnServerTime(Date.now() + 600_000);
    expect(Math.abs(now() - Date.now() - 600_000)).toBeLessThan(1_000);
  });

  it('ignores what the Date header rounds away', () => {
    learnServerTime(Date.now() - 1_500);
    expect(Math.abs(now() - Date.now())).toBeLessThan(50);
    learnServerTime(Number.NaN);
    expect(Math.abs(now() - Date.now())).toBeLessThan(50);
  });
});
