// What an operator is told of the room on the server's disk: nothing while it is fine.
import type { Space } from '../api/types';
import { t } from '../i18n/t';
import { formatDate } from '../time/format';
import { scaleFor } from '../units/units';

/** "3.20 GB" */
export function formatBytes(bytes: number): string {
  const { factor, symbol, digits } = scaleFor('By', 0, bytes);
  return `${(bytes / factor).toFixed(digits)} ${symbol}`;
}

/** The sentence to show, or null. */
export function spaceSentence(space: Space, zone: string): string | null {
  const free = formatBytes(space.free_bytes);
  const day = space.full_on ? formatDate(Date.parse(space.full_on), zone) : null;
  switch (space.state) {
    case 'fine':
      return null;
    case 'full':
      return t('space.full', { free });
    case 'low':
      return day
        ? t('space.low_until', { percent: space.used_percent, free, day })
        : t('space.low', { percent: space.used_percent, free });
    case 'filling':
      return t('space.filling', { day: day ?? t('unknown'), free });
  }
}
