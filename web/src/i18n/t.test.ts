// Words with numbers in them.
import { describe, expect, it } from 'vitest';
import { t } from './t';

describe('words', () => {
  it('are filled in, numbers grouped', () => {
    expect(t('caption.raw', { count: 1_000_000 })).toBe('1,000,000 points, each one drawn');
    expect(t('caption.raw', { count: 1 })).toBe('1 point, drawn as it is');
  });

  it('nest', () => {
    const buckets = t('caption.bucket', { count: 1_115 });
    expect(t('caption.buckets', { count: 1_000_000, buckets, width: '2.5 h' })).toBe(
      '1,000,000 points, shown as 1,115 buckets of 2.5 h',
    );
  });

  it('leave alone what nobody filled in', () => {
    expect(t('time.ago')).toBe('{span} ago');
  });
});
