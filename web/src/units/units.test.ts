// Units and numbers as people read them.
import { describe, expect, it } from 'vitest';
import { formatNumber, formatValue, symbolOf } from './units';

describe('units', () => {
  it('are shown as people write them', () => {
    const codes = ['Cel', 'uS/cm', 'm3/s', '[NTU]', '1', '', 'By/s', 'kg.m2', 'mm/h', '{count}'];
    expect(codes.map(symbolOf)).toEqual([
      '°C',
      'µS/cm',
      'm³/s',
      'NTU',
      '',
      '',
      'B/s',
      'kg·m²',
      'mm/h',
      'count',
    ]);
  });

  it('bytes take a prefix, measurements never do', () => {
    expect(formatValue(5_123_456_789, 'By', 0)).toEqual({ number: '5.12', symbol: 'GB' });
    expect(formatValue(999, 'By', 0)).toEqual({ number: '999', symbol: 'B' });
    expect(formatValue(12_345.678, 'm', 1)).toEqual({ number: '12,345.7', symbol: 'm' });
  });

  it('the minus is a minus', () => {
    expect(formatNumber(-3.14, 2)).toBe('−3.14');
  });
});
