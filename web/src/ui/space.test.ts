// The line about the disk: silent while there is room, plain about what happens when there is none.
import { describe, expect, it } from 'vitest';
import type { Space } from '../api/types';
import { formatBytes, spaceSentence } from './space';

const space = (over: Partial<Space>): Space => ({
  at: '2026-11-24T12:00:00Z',
  state: 'fine',
  total_bytes: 1e11,
  free_bytes: 3.2e9,
  used_percent: 97,
  data_bytes: 9e10,
  unused_bytes: 0,
  reserve_bytes: 67_108_864,
  growth_bytes_a_day: null,
  full_on: null,
  actions: [],
  ...over,
});

describe('the line about the disk', () => {
  it('is silent while there is room', () => {
    expect(spaceSentence(space({}), 'UTC')).toBeNull();
  });

  it('says when the disk will be full', () => {
    const filling = space({ state: 'filling', full_on: '2026-12-04T03:00:00Z' });
    expect(spaceSentence(filling, 'UTC')).toBe(
      'The disk will be full on 4 Dec 2026 at the present pace: 3.20 GB are free.',
    );
  });

  it('says how full it is, with the day where it is known', () => {
    expect(spaceSentence(space({ state: 'low' }), 'UTC')).toBe('97 % of the disk is used: 3.20 GB are free.');
    const low = space({ state: 'low', full_on: '2026-12-04T03:00:00Z' });
    expect(spaceSentence(low, 'UTC')).toContain('full on 4 Dec 2026');
  });

  it('says that new data are refused', () => {
    const full = spaceSentence(space({ state: 'full', free_bytes: 12_000_000 }), 'UTC');
    expect(full).toContain('refused');
    expect(full).toContain('12.00 MB');
  });

  it('shows small sizes as they are', () => {
    expect(formatBytes(0)).toBe('0 B');
    expect(formatBytes(512)).toBe('512 B');
  });
});
