// What is in a picture, how high, in what ink; and what fingers do to it.
import { describe, expect, it } from 'vitest';
import { pinched } from './gestures';
import { contrast, envelopeOf, parseHex } from './ink';
import { lowerBound, type Scene, valueRange, visible } from './scene';
import { shape } from './shape';

const drawn = shape(
  {
    element: 'elm_1',
    raw: true,
    width_us: null,
    count: 4,
    points: { time_us: [1e6, 2e6, 3e6, 4e6], value: [1, 100, 2, 3], flag: [2, 2, 2, 2] },
    buckets: null,
    gaps: [],
  },
  0,
  5_000,
);
const scene: Scene = {
  drawn,
  gaps: [],
  from: 2_500,
  to: 4_500,
  zone: 'UTC',
  steps: false,
  scale: { factor: 1, symbol: 'm', digits: 2 },
  reason: () => '',
};

describe('what is in the picture', () => {
  it('is found with one neighbour on each side', () => {
    expect(lowerBound([1, 2, 2, 5], 2)).toBe(1);
    expect(visible(scene)).toEqual([1, 4]);
  });

  it('the value axis fits what is shown, with head-room, and nothing else', () => {
    const [low, high] = valueRange(scene);
    expect(low).toBeLessThan(2);
    expect(high).toBeGreaterThan(3);
    expect(high).toBeLessThan(4);
  });

  it('a flat line still has an axis', () => {
    const [low, high] = valueRange({ ...scene, from: 2_900, to: 3_100 });
    expect(high - low).toBeGreaterThan(0.01);
    expect(valueRange({ ...scene, from: 9e6, to: 9.1e6 })).toEqual([0, 1]);
  });

  it('states get room for whole numbers', () => {
    expect(valueRange({ ...scene, steps: true })).toEqual([1.75, 3.25]);
  });
});

describe('ink', () => {
  it('reads long and short colours', () => {
    expect(parseHex('#00634f')).toEqual([0, 99, 79]);
    expect(parseHex(' #fff ')).toEqual([255, 255, 255]);
  });

  it('the envelope of each series stands out from its ground', () => {
    const light = ['#00634f', '#d1571b', '#2b4acb', '#a3328f', '#8a7300', '#0094c6'];
    const dark = ['#4fc3a6', '#ff9d5c', '#9db2ff', '#f29be0', '#e0cf4a', '#6fd0ff'];
    for (const [colours, ground] of [
      [light, '#ffffff'],
      [dark, '#171f1c'],
    ] as const) {
      for (const colour of colours) {
        const tint = envelopeOf(colour, ground);
        expect(contrast(parseHex(tint), parseHex(ground)), colour).toBeGreaterThanOrEqual(3);
      }
    }
  });
});

describe('fingers', () => {
  const range = { from: 0, to: 1_000 };

  it('one pans', () => {
    expect(pinched(range, [50], [60], 100)).toEqual({ from: -100, to: 900 });
  });

  it('two keep the times under them', () => {
    expect(pinched(range, [25, 75], [0, 100], 100)).toEqual({ from: 250, to: 750 });
    expect(pinched(range, [25, 75], [25, 75], 100)).toEqual(range);
  });
});
