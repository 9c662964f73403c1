// Views and their addresses, and the moves between them.
import { describe, expect, it } from 'vitest';
import {
  fixedView,
  isLive,
  liveView,
  PRESETS,
  pan,
  presetOf,
  rangeOf,
  searchOf,
  viewOf,
  zoom,
} from './range';

describe('a view and its address', () => {
  it('each preset is its own address', () => {
    for (const preset of PRESETS) {
      const view = viewOf({ last: preset });
      expect(presetOf(view)).toBe(preset);
      expect(searchOf(view)).toEqual({ last: preset });
      expect(isLive(view)).toBe(true);
    }
  });

  it('a fixed range survives the address', () => {
    const view = fixedView({ from: 1_700_000_000_123.4, to: 1_700_000_060_000.6 });
    expect(viewOf(searchOf(view))).toEqual(view);
    expect(isLive(view)).toBe(false);
  });

  it('nonsense is the last hour', () => {
    const hour = { kind: 'last', spanMs: 3_600_000 };
    for (const search of [
      {},
      { last: '' },
      { last: '0s' },
      { last: '-5m' },
      { last: '1e9y' },
      { last: 'toString' },
      { from: 'x', to: 'y' },
      { from: '2026-01-02T00:00:00Z', to: '2026-01-01T00:00:00Z' },
    ]) {
      expect(viewOf(search)).toEqual(hour);
    }
  });

  it('going live keeps the width', () => {
    const view = liveView({ from: 0, to: 4_217_300 });
    expect(searchOf(view)).toEqual({ last: '4217s' });
    expect(rangeOf(view, 10_000_000, null)).toEqual({ from: 10_000_000 - 4_217_300, to: 10_000_000 });
  });
});

describe('moves', () => {
  const range = { from: 1_000, to: 2_000 };

  it('pan by parts of the width', () => {
    expect(pan(range, -0.5)).toEqual({ from: 500, to: 1_500 });
  });

  it('zoom keeps the time under the pointer', () => {
    expect(zoom(range, 0.5, 1_250)).toEqual({ from: 1_125, to: 1_625 });
    expect(zoom(zoom(range, 0.5, 1_250), 2, 1_250)).toEqual(range);
  });

  it('zoom ends at a tenth of a second and at a century', () => {
    const narrow = zoom(range, 1e-9);
    expect(narrow.to - narrow.from).toBeCloseTo(100);
    const wide = zoom(range, 1e30);
    expect(wide.to - wide.from).toBeLessThan(3.2e12);
  });

  it('a drag from right to left is a range too', () => {
    expect(fixedView({ from: 2_000, to: 1_000 })).toEqual({ kind: 'fixed', ...range });
    expect(fixedView({ from: 5, to: 5 })).toEqual({ kind: 'fixed', from: 5, to: 105 });
  });
});
