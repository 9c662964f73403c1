// Wall-clock time in a named zone, both ways, on Intl alone: the project's zone, not the browser's, rules every screen.

export interface Wall {
  year: number;
  /** 1 to 12. */
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

const readers = new Map<string, Intl.DateTimeFormat>();

function reader(zone: string): Intl.DateTimeFormat {
  let found = readers.get(zone);
  if (!found) {
    found = new Intl.DateTimeFormat('en-GB', {
      timeZone: zone,
      calendar: 'iso8601',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    readers.set(zone, found);
  }
  return found;
}

/** What a clock on the wall shows. */
export function wallOf(ms: number, zone: string): Wall {
  const wall: Wall = { year: 0, month: 0, day: 0, hour: 0, minute: 0, second: 0 };
  for (const part of reader(zone).formatToParts(ms)) {
    if (part.type in wall) wall[part.type as keyof Wall] = Number(part.value);
  }
  return wall;
}

function asUtc(wall: Wall): number {
  return Date.UTC(wall.year, wall.month - 1, wall.day, wall.hour, wall.minute, wall.second);
}

/** How far the zone's clocks are ahead of UTC. */
export function offsetMs(ms: number, zone: string): number {
  return asUtc(wallOf(ms, zone)) - Math.floor(ms / 1_000) * 1_000;
}

/**
 * The instant at which the wall clock shows this. An hour that a clock change repeats is read as its first pass; one
 * that it skips is read as if the clocks had not yet changed. Fields may overflow (day 32 is the next month's first).
 */
export function instantOf(wall: Wall, zone: string): number {
  const local = asUtc(wall);
  // Every offset that is near in time, the earlier clocks' first.
  for (const around of [local - 86_400_000, local + 86_400_000]) {
    const candidate = local - offsetMs(around, zone);
    if (asUtc(wallOf(candidate, zone)) === local) return candidate;
  }
  return local - offsetMs(local - 86_400_000, zone);
}

/** Reads what a `datetime-local` field holds. */
export function parseWall(text: string, zone: string): number | null {
  const found = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d))?/.exec(text);
  if (!found) return null;
  const [year, month, day, hour, minute, second] = found.slice(1).map((part) => Number(part ?? 0));
  return instantOf(
    {
      year: year ?? 0,
      month: month ?? 1,
      day: day ?? 1,
      hour: hour ?? 0,
      minute: minute ?? 0,
      second: second || 0,
    },
    zone,
  );
}

/** Writes what a `datetime-local` field takes. */
export function writeWall(ms: number, zone: string): string {
  const wall = wallOf(ms, zone);
  const two = (value: number) => String(value).padStart(2, '0');
  const year = String(wall.year).padStart(4, '0');
  return `${year}-${two(wall.month)}-${two(wall.day)}T${two(wall.hour)}:${two(wall.minute)}:${two(wall.second)}`;
}
