// Everything one drawing needs to know, and the limits of the value axis.
import type { Scale } from '../units/units';
import type { Drawn, DrawnGap } from './shape';

export interface Scene {
  drawn: Drawn;
  /** With the gap that is open at the live edge. */
  gaps: DrawnGap[];
  from: number;
  to: number;
  zone: string;
  /** Values hold until the next one: booleans and states. */
  steps: boolean;
  scale: Scale;
  /** Says why there is a gap, in words. */
  reason: (gap: DrawnGap) => string;
}

/** The first entry at or after a time. */
export function lowerBound(times: number[], time: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] ?? 0) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The entries that touch the picture, with one neighbour each side so that lines run out of it. */
export function visible({ drawn, from, to }: Scene): [number, number] {
  const first = Math.max(0, lowerBound(drawn.t, from - drawn.widthMs) - 1);
  return [first, Math.min(drawn.t.length, lowerBound(drawn.t, to) + 1)];
}

/** Lowest and highest value on the axis, with head-room, so that no spike is clipped. */
export function valueRange(scene: Scene): [number, number] {
  const { drawn, from, to } = scene;
  const [first, last] = visible(scene);
  let low = Infinity;
  let high = -Infinity;
  for (let i = first; i < last; i++) {
    const t = drawn.t[i] ?? 0;
    if (t + drawn.widthMs < from || t > to) continue;
    low = Math.min(low, drawn.min[i] ?? Infinity);
    high = Math.max(high, drawn.max[i] ?? -Infinity);
  }
  if (low > high) return [0, 1];
  if (scene.steps) return [low - 0.25, Math.max(high, low + 1) + 0.25];
  const least = 2 * 10 ** -scene.scale.digits * scene.scale.factor;
  const span = Math.max(high - low, least);
  const middle = (low + high) / 2;
  return [Math.min(low, middle - span / 2) - span * 0.1, Math.max(high, middle + span / 2) + span * 0.12];
}
