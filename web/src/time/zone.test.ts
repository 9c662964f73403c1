// Wall time and back, above all on the two days a year when it is not plain.
import { describe, expect, it } from 'vitest';
import { instantOf, offsetMs, parseWall, wallOf, writeWall } from './zone';

const CPH = 'Europe/Copenhagen';
const HOUR = 3_600_000;
const utc = (text: string) => Date.parse(text);

describe('wall time in a zone', () => {
  it('reads winter and summer', () => {
    expect(wallOf(utc('2026-01-15T11:00:00Z'), CPH)).toMatchObject({ hour: 12, day: 15 });
    expect(wallOf(utc('2026-07-15T11:00:00Z'), CPH)).toMatchObject({ hour: 13, day: 15 });
    expect(wallOf(utc('2026-01-15T23:30:00Z'), CPH)).toMatchObject({ hour: 0, minute: 30, day: 16 });
  });

  it('knows offsets off the hour and before 1970', () => {
    expect(offsetMs(utc('2026-01-01T00:00:00Z'), 'Asia/Kathmandu')).toBe(5.75 * HOUR);
    expect(offsetMs(utc('1969-12-31T23:59:59.5Z'), 'UTC')).toBe(0);
  });

  it('finds the instant of a wall time on both sides of a change', () => {
    expect(parseWall('2026-03-29T01:59', CPH)).toBe(utc('2026-03-29T00:59:00Z'));
    expect(parseWall('2026-03-29T03:00', CPH)).toBe(utc('2026-03-29T01:00:00Z'));
    expect(parseWall('2026-10-25T01:59', CPH)).toBe(utc('2026-10-24T23:59:00Z'));
    expect(parseWall('2026-10-25T03:00', CPH)).toBe(utc('2026-10-25T02:00:00Z'));
  });

  it('reads the hour that does not exist as if the clocks had not changed', () => {
    expect(parseWall('2026-03-29T02:30', CPH)).toBe(utc('2026-03-29T01:30:00Z'));
  });

  it('reads the hour that happens twice as its first pass', () => {
    expect(parseWall('2026-10-25T02:30', CPH)).toBe(utc('2026-10-25T00:30:00Z'));
  });

  it('carries overflowing fields', () => {
    const wall = { year: 2026, month: 1, day: 32, hour: 0, minute: 0, second: 0 };
    expect(instantOf(wall, 'UTC')).toBe(utc('2026-02-01T00:00:00Z'));
  });

  it('writes what it reads', () => {
    for (const text of ['2026-02-28T23:59:59', '2026-07-01T00:00:00']) {
      expect(writeWall(parseWall(text, 'America/St_Johns') ?? 0, 'America/St_Johns')).toBe(text);
    }
  });

  it('refuses what is no time', () => {
    expect(parseWall('', CPH)).toBeNull();
    expect(parseWall('2026-02-28', CPH)).toBeNull();
  });
});
