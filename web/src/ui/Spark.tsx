// A small picture of the last hour beside a value: the envelope and the mean, no axes. Decoration for those who see it;
// the number beside it says the same.
import { memo } from 'react';
import type { Drawn } from '../chart/shape';

const W = 100;
const H = 28;

interface Shape {
  band: string;
  line: string;
  dots: string;
}

/** The outlines of a picture, in a box of 100 by 28. */
export function sparkPaths(drawn: Drawn): Shape {
  // A series that began within the hour fills the picture; its few minutes are what there is to see.
  const from = Math.max(drawn.from, drawn.t[0] ?? 0);
  const span = drawn.to - from || 1;
  const low = Math.min(...drawn.min);
  const high = Math.max(...drawn.max);
  const x = (t: number) => ((t - from) / span) * W;
  const y = (value: number) => (high === low ? H / 2 : H - 2 - ((value - low) / (high - low)) * (H - 4));
  const joined = drawn.widthMs > 0 ? 2.5 * drawn.widthMs : span / 10;
  const runs: number[][] = [];
  drawn.t.forEach((t, i) => {
    const before = drawn.t[i - 1];
    if (before === undefined || t - before > joined) runs.push([]);
    runs.at(-1)?.push(i);
  });
  const place = (i: number, values: number[]) =>
    `${x((drawn.t[i] ?? 0) + drawn.widthMs / 2).toFixed(1)} ${y(values[i] ?? 0).toFixed(1)}`;
  const path = (run: number[], values: number[]) => run.map((i) => place(i, values)).join('L');
  const line = runs.map((run) => `M${path(run, drawn.mean)}`).join('');
  // A lone bucket is a line of no length, which round ends make a dot.
  const lone = runs.filter((run) => run.length === 1);
  const dots = lone.map((run) => `M${path(run, drawn.mean)}h0`).join('');
  const band = runs.map((run) => `M${path(run, drawn.max)}L${path(run.toReversed(), drawn.min)}Z`).join('');
  return { band, line, dots };
}

export const Spark = memo(function Spark({ drawn }: { drawn: Drawn | undefined }) {
  if (!drawn || drawn.t.length < 2) return <span className="block h-7" />;
  const { band, line, dots } = sparkPaths(drawn);
  return (
    <svg
      viewBox={`0 0 ${W} ${H}`}
      preserveAspectRatio="none"
      className="h-7 w-full text-accent"
      aria-hidden="true"
    >
      <path d={band} fill="currentColor" className="opacity-40" />
      <path d={line} stroke="currentColor" strokeWidth="1.5" vectorEffect="non-scaling-stroke" fill="none" />
      <path
        d={dots}
        stroke="currentColor"
        strokeWidth="3"
        strokeLinecap="round"
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
});
