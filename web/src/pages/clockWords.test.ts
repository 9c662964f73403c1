// What people read of a clock that was wrong.
import { describe, expect, it } from 'vitest';
import type { ClockProposal } from '../api/types';
import { errorWords, openProposals, passedWords, recordsWords, shiftWords } from './clockWords';

const HOUR_US = 3_600_000_000;

describe('words for clocks', () => {
  it('say which way times move', () => {
    expect(shiftWords(-HOUR_US)).toBe('1 h earlier');
    expect(shiftWords(HOUR_US)).toBe('1 h later');
  });

  it('say that a clock went backwards', () => {
    expect(passedWords(-HOUR_US)).toBe('minus 1 h');
    expect(passedWords(60_000_000)).toBe('1 min');
  });

  it('do not pretend to know an error that nothing bounds', () => {
    expect(errorWords(null)).toBe('nothing says how exactly');
    expect(errorWords(2_000_000)).toBe('within 2 s');
  });

  it('name one record as one', () => {
    expect(recordsWords({ first: 7, last: 7 })).toBe('Record 7');
    expect(recordsWords({ first: 7, last: 9 })).toBe('Records 7 to 9');
  });

  it('ask only about what nobody has decided', () => {
    const proposal = (id: number, state: ClockProposal['state']) => ({ id, state }) as ClockProposal;
    const asked = openProposals([proposal(1, 'open'), proposal(2, 'dismissed'), proposal(3, 'confirmed')]);
    expect(asked.map(({ id }) => id)).toEqual([1]);
  });
});
