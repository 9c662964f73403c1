// Marks of the time axis: on local round times, on days of 23 and 25 hours, never crowded.
import { describe, expect, it } from 'vitest';
import { tickLabels, ticks } from './ticks';

const CPH = 'Europe/Copenhagen';
const utc = (text: string) => Date.parse(text);
const iso = (ms: number) => new Date(ms).toISOString().slice(0, 16);

describe('marks on the time axis', () => {
  it('stand at local hours, not at hours of UTC', () => {
    const found = ticks(utc('2026-07-01T00:00:00Z'), utc('2026-07-02T00:00:00Z'), 8, CPH);
    expect(found.unit).toBe('hour');
    expect(tickLabels(found, CPH).map((label) => label.split('\n')[0])).toContain('12:00');
    for (const label of tickLabels(found, CPH)) expect(label).toMatch(/^(00|03|06|09|12|15|18|21):00/);
  });

  it('keep local midnights on the day of 23 hours', () => {
    const { at } = ticks(utc('2026-03-27T12:00:00Z'), utc('2026-04-01T12:00:00Z'), 6, CPH);
    expect(at.map(iso)).toEqual([
      '2026-03-27T23:00',
      '2026-03-28T23:00',
      '2026-03-29T22:00',
      '2026-03-30T22:00',
      '2026-03-31T22:00',
    ]);
  });

  it('keep local midnights on the day of 25 hours', () => {
    const { at } = ticks(utc('2026-10-23T12:00:00Z'), utc('2026-10-27T12:00:00Z'), 6, CPH);
    expect(at.map(iso)).toEqual([
      '2026-10-23T22:00',
      '2026-10-24T22:00',
      '2026-10-25T23:00',
      '2026-10-26T23:00',
    ]);
  });

  it('rise without repeating through both changes', () => {
    for (const day of ['2026-03-29', '2026-10-25']) {
      for (const most of [6, 12, 24, 48, 100]) {
        const { at } = ticks(utc(`${day}T00:00:00Z`) - 7_200_000, utc(`${day}T23:59:00Z`), most, CPH);
        expect(at.length).toBeGreaterThan(2);
        expect(at).toEqual([...new Set(at)].sort((a, b) => a - b));
      }
    }
  });

  it('never crowd: about as many as asked for, from milliseconds to decades', () => {
    const end = utc('2026-11-24T11:05:12Z');
    for (let span = 200; span < 4e12; span *= 1.7) {
      for (const zone of ['UTC', CPH, 'Asia/Kathmandu', 'America/St_Johns']) {
        const { at } = ticks(end - span, end, 8, zone);
        expect(at.length, `${span} ms in ${zone}`).toBeLessThanOrEqual(14);
      }
    }
  });

  it('say the day once and again where it changes', () => {
    const found = ticks(utc('2026-06-30T18:00:00Z'), utc('2026-07-01T02:00:00Z'), 9, 'UTC');
    const twoLines = tickLabels(found, 'UTC').filter((label) => label.includes('\n'));
    expect(twoLines).toEqual(['18:00\n30 Jun 2026', '00:00\n1 Jul 2026']);
  });
});
