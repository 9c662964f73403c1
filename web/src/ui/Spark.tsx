// A small picture of the last hour beside a value: the envelope and the mean, no axes. Decoration for those who see it;
// the number beside it says the same.
import { memo } from 'react';
import type { Drawn } from '../chart/shape';

const W = 100;
const H = 28;

interface Shape {
  band: string;
  line: string;
}

/** The outlines of a picture, in a box of 100 by 28. */
export function sparkPaths(drawn: Drawn): Shape {
  const span = drawn.to - drawn.from || 1;
  const low = Math.min(...drawn.min);
  const high = Math.max(...drawn.max);
  const x = (t: number) => ((t - drawn.from) / span) * W;
  const y = (value: number) => (high === low ? H / 2 : H - 2 - ((value - low) / (high - low)) * (H - 4));
  let line = '';
  let band = '';
  const joined = drawn.widthMs > 0 ? 2.5 * drawn.widthMs : span / 10;
  drawn.t.forEach((t, i) => {
    const at = x(t + drawn.widthMs / 2).toFixed(1);
    const before = drawn.t[i - 1];
    const move = before === undefined || t - before > joined ? 'M' : 'L';
    line += `${move}${at} ${y(drawn.mean[i] ?? 0).toFixed(1)}`;
    if (!drawn.raw) band += `M${at} ${y(drawn.min[i] ?? 0).toFixed(1)}V${y(drawn.max[i] ?? 0).toFixed(1)}`;
  });
  return { band, line };
}

export const Spark = memo(function Spark({ drawn }: { drawn: Drawn | undefined }) {
  if (!drawn || drawn.t.length < 2) return <span className="block h-7" />;
  const { band, line } = sparkPaths(drawn);
  return (
    <svg
      viewBox={`0 0 ${W} ${H}`}
      preserveAspectRatio="none"
      className="h-7 w-full text-accent"
      aria-hidden="true"
    >
      <path
        d={band}
        className="opacity-50"
        stroke="currentColor"
        strokeWidth="2"
        vectorEffect="non-scaling-stroke"
        fill="none"
      />
      <path d={line} stroke="currentColor" strokeWidth="1.5" vectorEffect="non-scaling-stroke" fill="none" />
    </svg>
  );
});
