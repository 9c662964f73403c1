// A measured value with its unit, and the age of a time. The unit is smaller, never dropped.
import type { Latest } from '../api/types';
import { FLAG } from '../api/types';
import { t } from '../i18n/t';
import { formatAgo, formatMoment } from '../time/format';
import { formatValue } from '../units/units';
import { useNow } from './useNow';

interface ValueProps {
  value: number;
  unit: string;
  digits: number;
  big?: boolean;
}

export function Value({ value, unit, digits, big = false }: ValueProps) {
  const { number, symbol } = formatValue(value, unit, digits);
  return (
    <span className="whitespace-nowrap tabular-nums">
      <span className={big ? 'text-[28px] leading-9 font-medium' : 'font-medium'}>{number}</span>
      {symbol ? (
        <span className={`text-muted leading-none ${big ? 'text-base' : 'text-[13px]'}`}> {symbol}</span>
      ) : null}
    </span>
  );
}

/** Words for a flag that a reader must know of; nothing for good values. */
export function flagWord(flag: number): string | null {
  if (flag === FLAG.suspect) return t('flag.suspect');
  if (flag === FLAG.fail) return t('flag.fail');
  return null;
}

export function FlagNote({ latest }: { latest: Latest }) {
  const word = flagWord(latest.flag);
  if (!word) return null;
  return (
    <span className="text-[13px] font-medium whitespace-nowrap">
      <span aria-hidden="true">{latest.flag === FLAG.fail ? '✕' : '△'}</span> {word}
    </span>
  );
}

/** "12 s ago", with the full time in the project's zone for those who hover or listen. */
export function Ago({ time, zone }: { time: string; zone: string }) {
  const nowMs = useNow();
  const ms = Date.parse(time);
  return (
    <time
      dateTime={time}
      title={`${formatMoment(ms, zone)} (${zone})`}
      className="whitespace-nowrap tabular-nums"
    >
      {formatAgo(ms, nowMs)}
    </time>
  );
}
