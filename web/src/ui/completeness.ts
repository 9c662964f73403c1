// How complete something is, in the form the strip of days draws it: one cell a UTC day, with what a person reads of it.
import type { CompleteDay, Completeness, MissingCounts } from '../api/types';
import { t } from '../i18n/t';
import { formatDate } from '../time/format';

export const DAY_MS = 86_400_000;
/** Days that the strip shows. */
export const DAYS = 30;

/** The order in which causes are told: what a person can do something about comes first. */
const CAUSES = ['not_sent', 'held', 'damaged', 'dropped', 'sensor_error', 'never_sampled'] as const;

/** `none`: nothing was expected, or nothing can be. */
export type Level = 'none' | 'whole' | 'partial' | 'empty';

export interface Cell {
  ms: number;
  level: Level;
  /** How much of the cell is filled, from 0 to 1. */
  part: number;
  /** The day in words. */
  words: string;
}

/** The strip's range: whole UTC days, the last one today. */
export function stripRange(nowMs: number): { from: string; to: string } {
  const end = (Math.floor(nowMs / DAY_MS) + 1) * DAY_MS;
  return { from: new Date(end - DAYS * DAY_MS).toISOString(), to: new Date(end).toISOString() };
}

/** One cell for each day of the strip, also for those before the first record. */
export function cells(found: Completeness, nowMs: number): Cell[] {
  const known = new Map(found.days.map((day) => [Date.parse(day.day), day]));
  const first = (Math.floor(nowMs / DAY_MS) + 1 - DAYS) * DAY_MS;
  return Array.from({ length: DAYS }, (_, at) => cell(first + at * DAY_MS, known.get(first + at * DAY_MS)));
}

function cell(ms: number, day: CompleteDay | undefined): Cell {
  const date = formatDate(ms, 'UTC');
  if (day?.percent == null || !day.expected) {
    const words = day?.stored
      ? t('complete.day_events', { date, count: day.stored })
      : t('complete.day_none', { date });
    return { ms, level: 'none', part: 0, words };
  }
  const missing = causes(day.missing);
  const words = t('complete.day', { date, percent: percentWords(day.percent) });
  const level: Level = day.percent >= 100 ? 'whole' : day.stored === 0 ? 'empty' : 'partial';
  return {
    ms,
    level,
    part: Math.min(1, day.percent / 100),
    words: missing ? `${words}: ${missing}` : words,
  };
}

/** The causes with their counts, in words; empty where nothing is missing. */
export function causes(missing: MissingCounts): string {
  return CAUSES.filter((cause) => missing[cause] > 0)
    .map((cause) => t(`complete.${cause}`, { count: missing[cause] }))
    .join(', ');
}

/** Rounded down, so that a hundred means that nothing is missing. */
export function percentWords(percent: number): string {
  return `${Math.min(100, Math.floor(percent * 10) / 10)} %`;
}
