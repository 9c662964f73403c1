// Where a time axis is marked, and with what words: at round wall-clock times of the project's zone, on days of 23 and
// 25 hours too.
import { instantOf, offsetMs, type Wall, wallOf } from './zone';

export type TickUnit = 'fraction' | 'second' | 'minute' | 'hour' | 'day' | 'month' | 'year';

export interface Ticks {
  unit: TickUnit;
  at: number[];
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const STEPS: [TickUnit, number, number][] = [
  ['fraction', 10, 10],
  ['fraction', 50, 50],
  ['fraction', 100, 100],
  ['fraction', 500, 500],
  ...[1, 2, 5, 10, 15, 30].map((n): [TickUnit, number, number] => ['second', n, n * SECOND]),
  ...[1, 2, 5, 10, 15, 30].map((n): [TickUnit, number, number] => ['minute', n, n * MINUTE]),
  ...[1, 2, 3, 6, 12].map((n): [TickUnit, number, number] => ['hour', n, n * HOUR]),
  ...[1, 2, 7, 14].map((n): [TickUnit, number, number] => ['day', n, n * DAY]),
  ...[1, 2, 3, 6].map((n): [TickUnit, number, number] => ['month', n, n * 30.5 * DAY]),
  ...[1, 2, 5, 10, 20, 50].map((n): [TickUnit, number, number] => ['year', n, n * 365.25 * DAY]),
];

/** At most about `most` marks between two times. */
export function ticks(from: number, to: number, most: number, zone: string): Ticks {
  const wanted = (to - from) / Math.max(1, most);
  const [unit, step, stepMs] = STEPS.find(([, , ms]) => ms >= wanted) ?? ['year', 100, 36_525 * DAY];
  if (stepMs < HOUR) return { unit, at: even(from, to, stepMs, offsetMs(from, zone)) };
  return { unit, at: onTheWall(from, to, unit, step, zone) };
}

/** Below an hour, offsets are whole steps and do not matter except for zones off the quarter hour. */
function even(from: number, to: number, stepMs: number, offset: number): number[] {
  const at: number[] = [];
  for (let t = Math.ceil((from + offset) / stepMs) * stepMs - offset; t <= to; t += stepMs) at.push(t);
  return at;
}

function onTheWall(from: number, to: number, unit: TickUnit, step: number, zone: string): number[] {
  const wall: Wall = { ...wallOf(from, zone), minute: 0, second: 0 };
  switch (unit) {
    case 'hour':
      wall.hour -= wall.hour % step;
      break;
    case 'day':
      wall.hour = 0;
      // Fortnights and weeks count from the month's first day, so that marks stay while one pans.
      wall.day -= (wall.day - 1) % step;
      break;
    case 'month':
      Object.assign(wall, { hour: 0, day: 1, month: wall.month - ((wall.month - 1) % step) });
      break;
    default:
      Object.assign(wall, { hour: 0, day: 1, month: 1, year: wall.year - (wall.year % step) });
  }
  const at: number[] = [];
  for (let guard = 0; guard < 1_000; guard++) {
    const t = instantOf(wall, zone);
    if (t > to) break;
    if (t >= from && t > (at.at(-1) ?? -Infinity)) at.push(t);
    advance(wall, unit, step);
  }
  return at;
}

function advance(wall: Wall, unit: TickUnit, step: number): void {
  if (unit === 'hour') {
    wall.hour += step;
    if (wall.hour >= 24) Object.assign(wall, { hour: 0, ...nextDay(wall, 1) });
  } else if (unit === 'day') {
    const month = wall.month;
    Object.assign(wall, nextDay(wall, step));
    // The last mark of a month and the first of the next must not crowd each other.
    if (step > 1 && wall.month !== month) wall.day = 1;
    else if (step > 1 && daysLeft(wall) < step / 2)
      Object.assign(wall, { ...nextDay(wall, daysLeft(wall) + 1) });
  } else if (unit === 'month') {
    wall.month += step;
    while (wall.month > 12) Object.assign(wall, { month: wall.month - 12, year: wall.year + 1 });
  } else {
    wall.year += step;
  }
}

function nextDay(wall: Wall, days: number): Pick<Wall, 'year' | 'month' | 'day'> {
  const date = new Date(Date.UTC(wall.year, wall.month - 1, wall.day + days));
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
}

function daysLeft(wall: Wall): number {
  return new Date(Date.UTC(wall.year, wall.month, 0)).getUTCDate() - wall.day;
}

const LABELS: Record<TickUnit, Intl.DateTimeFormatOptions> = {
  fraction: { minute: '2-digit', second: '2-digit', fractionalSecondDigits: 2 },
  second: { hour: '2-digit', minute: '2-digit', second: '2-digit' },
  minute: { hour: '2-digit', minute: '2-digit' },
  hour: { hour: '2-digit', minute: '2-digit' },
  day: { day: 'numeric', month: 'short' },
  month: { month: 'short' },
  year: { year: 'numeric' },
};

/** What stands in the second line, once at the first mark and again where it changes. */
const CONTEXT: Partial<Record<TickUnit, Intl.DateTimeFormatOptions>> = {
  fraction: { day: 'numeric', month: 'short', year: 'numeric' },
  second: { day: 'numeric', month: 'short', year: 'numeric' },
  minute: { day: 'numeric', month: 'short', year: 'numeric' },
  hour: { day: 'numeric', month: 'short', year: 'numeric' },
  day: { year: 'numeric' },
  month: { year: 'numeric' },
};

/** The words under each mark; two lines where the day or year changes. */
export function tickLabels({ unit, at }: Ticks, zone: string): string[] {
  const first = new Intl.DateTimeFormat('en-GB', { ...LABELS[unit], timeZone: zone, hourCycle: 'h23' });
  const context = CONTEXT[unit];
  const second = context && new Intl.DateTimeFormat('en-GB', { ...context, timeZone: zone });
  let before = '';
  return at.map((t) => {
    const under = second?.format(t) ?? '';
    const changed = under !== before;
    before = under;
    return changed && under ? `${first.format(t)}\n${under}` : first.format(t);
  });
}
