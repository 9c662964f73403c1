// Times and lengths of time as words. Dates are written day first with the month's name, so that nobody can misread
// them; every absolute time is in the zone that is handed in.
import { t } from '../i18n/t';

const LOCALE = 'en-GB';

const cache = new Map<string, Intl.DateTimeFormat>();

function formatter(key: string, zone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const id = `${key} ${zone}`;
  let found = cache.get(id);
  if (!found) {
    found = new Intl.DateTimeFormat(LOCALE, { ...options, timeZone: zone, hourCycle: 'h23' });
    cache.set(id, found);
  }
  return found;
}

const DATE: Intl.DateTimeFormatOptions = { day: 'numeric', month: 'short', year: 'numeric' };

/** "24 Nov 2026, 11:05:12"; with tenths where the view is that narrow. */
export function formatMoment(ms: number, zone: string, fine = false): string {
  const options: Intl.DateTimeFormatOptions = {
    ...DATE,
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  };
  if (fine) options.fractionalSecondDigits = 2;
  return formatter(fine ? 'fine' : 'moment', zone, options).format(ms);
}

export function formatDate(ms: number, zone: string): string {
  return formatter('date', zone, DATE).format(ms);
}

/** "CET" where the zone has such a name, else "UTC+5:30"; the one that holds at this time. */
export function zoneAbbreviation(ms: number, zone: string): string {
  const parts = formatter('zone', zone, { hour: '2-digit', timeZoneName: 'short' }).formatToParts(ms);
  return parts.find((part) => part.type === 'timeZoneName')?.value.replace('GMT', 'UTC') ?? zone;
}

const STEPS: [number, string][] = [
  [365.25 * 86_400_000, 'y'],
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
  [1, 'ms'],
];

/** A length of time with its fitting unit: "2.5 h", "10 min", "31 d". */
export function formatSpan(ms: number): string {
  const [size, unit] = STEPS.find(([size, unit]) => ms >= size * (unit === 'y' ? 2 : 1)) ?? [1, 'ms'];
  return `${Number((ms / size).toPrecision(3))} ${unit}`;
}

/** How long ago, in whole units: "12 s ago". Never negative: clocks differ a little. */
export function formatAgo(ms: number, nowMs: number): string {
  const ago = nowMs - ms;
  if (ago < 1_000) return t('time.just_now');
  const [size, unit] = STEPS.find(([size]) => ago >= size) ?? [1_000, 's'];
  return t('time.ago', { span: `${Math.floor(ago / size)} ${unit}` });
}
