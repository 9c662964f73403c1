// Draws the data: hatched gaps, the opaque min-max envelope, the mean line or the raw points, and marks for flags.
// Sets every canvas state it uses and trusts none that another drawing left behind.
import type uPlot from 'uplot';
import { FLAG } from '../api/types';
import type { Ink } from './ink';
import { type Scene, visible } from './scene';
import { joins } from './shape';

interface Brush {
  ctx: CanvasRenderingContext2D;
  /** Canvas pixels to one CSS pixel. */
  px: number;
  box: { left: number; top: number; width: number; height: number };
  x: (t: number) => number;
  y: (value: number) => number;
  ink: Ink;
  scene: Scene;
}

function withBrush(u: uPlot, scene: Scene, ink: Ink, draw: (brush: Brush) => void): void {
  const ctx = u.ctx;
  ctx.save();
  ctx.beginPath();
  ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  ctx.clip();
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
  ctx.lineJoin = 'round';
  ctx.lineCap = 'butt';
  draw({
    ctx,
    px: devicePixelRatio,
    box: u.bbox,
    x: (t) => u.valToPos(t, 'x', true),
    y: (value) => u.valToPos(value, 'y', true),
    ink,
    scene,
  });
  ctx.restore();
}

/** Gaps lie under everything. */
export function paintGaps(u: uPlot, scene: Scene, ink: Ink): void {
  withBrush(u, scene, ink, (brush) => {
    for (const gap of scene.gaps) paintGap(brush, gap.from, gap.to, scene.reason(gap));
  });
}

/** CSS pixels that a gap is drawn wide at least. */
const LEAST_GAP = 4;

function paintGap({ ctx, px, box, x, ink }: Brush, from: number, to: number, words: string): void {
  const [start, end] = [x(from), x(to)];
  if (end - start < 0.5 * px) return;
  // An outage of hours in a picture of a year is a pixel wide; some more makes it seen, under data that stays whole.
  const more = Math.max(0, (LEAST_GAP * px - (end - start)) / 2);
  const left = Math.max(box.left, start - more);
  const right = Math.min(box.left + box.width, end + more);
  if (right <= left) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, box.top, right - left, box.height);
  ctx.clip();
  ctx.strokeStyle = ink.hatch;
  ctx.lineWidth = px;
  ctx.beginPath();
  const step = 8 * px;
  // The hatch is tied to the plot, not to the gap, so that neighbours line up.
  const first = box.left + Math.floor((left - box.left - box.height) / step) * step;
  for (let at = first; at < right; at += step) {
    ctx.moveTo(at, box.top + box.height);
    ctx.lineTo(at + box.height, box.top);
  }
  ctx.stroke();
  ctx.font = `${12 * px}px ${ink.font}`;
  const wide = ctx.measureText(words).width;
  if (wide + 16 * px < right - left) {
    const [cx, cy] = [(left + right) / 2, box.top + box.height / 2];
    ctx.fillStyle = ink.ground;
    ctx.fillRect(cx - wide / 2 - 6 * px, cy - 10 * px, wide + 12 * px, 20 * px);
    ctx.fillStyle = ink.muted;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.fillText(words, cx, cy);
  }
  ctx.restore();
}

/** The data itself. */
export function paintData(u: uPlot, scene: Scene, ink: Ink): void {
  withBrush(u, scene, ink, (brush) => {
    if (!scene.drawn.raw) paintEnvelope(brush);
    paintLine(brush);
    if (scene.drawn.raw) paintDots(brush);
    paintFlags(brush);
  });
}

/** One opaque column a bucket, never thinner than a pixel: a spike of one bucket stays as visible as it is tall. */
function paintEnvelope({ ctx, px, x, y, ink, scene }: Brush): void {
  const { drawn } = scene;
  const [first, last] = visible(scene);
  ctx.fillStyle = ink.envelope;
  ctx.beginPath();
  for (let i = first; i < last; i++) {
    const t = drawn.t[i] ?? 0;
    const left = Math.round(x(t));
    const right = Math.max(left + px, Math.round(x(t + drawn.widthMs)));
    const top = y(drawn.max[i] ?? 0);
    const bottom = Math.max(top + 1.5 * px, y(drawn.min[i] ?? 0));
    ctx.rect(left, top, right - left, bottom - top);
  }
  ctx.fill();
}

/** Through the middle of each bucket, or from point to point; broken at gaps. */
function paintLine({ ctx, px, x, y, ink, scene }: Brush): void {
  const { drawn, gaps, steps } = scene;
  const [first, last] = visible(scene);
  ctx.strokeStyle = ink.series;
  ctx.lineWidth = 1.5 * px;
  ctx.beginPath();
  let before = 0;
  for (let i = first; i < last; i++) {
    const cx = x((drawn.t[i] ?? 0) + drawn.widthMs / 2);
    const cy = y(drawn.mean[i] ?? 0);
    if (i > first && joins(drawn, i, gaps)) {
      if (steps) ctx.lineTo(cx, before);
      ctx.lineTo(cx, cy);
    } else {
      // A lone bucket still leaves a dash.
      ctx.moveTo(cx - 0.75 * px, cy);
      ctx.lineTo(cx + 0.75 * px, cy);
      ctx.moveTo(cx, cy);
    }
    before = cy;
  }
  ctx.stroke();
}

/** Dots say: every point is here. They shrink as they get close, and never vanish. */
function paintDots({ ctx, px, x, y, ink, scene }: Brush): void {
  const { drawn } = scene;
  const [first, last] = visible(scene);
  // Where the points are, not how wide the chart is: a minute of data in an hour's picture is dense.
  const spread = x(drawn.t[last - 1] ?? 0) - x(drawn.t[first] ?? 0);
  const spacing = spread / Math.max(1, last - first);
  const radius = Math.min(3 * px, Math.max(1.2 * px, spacing / 4));
  ctx.fillStyle = ink.series;
  ctx.beginPath();
  for (let i = first; i < last; i++) {
    const [cx, cy] = [x(drawn.t[i] ?? 0), y(drawn.mean[i] ?? 0)];
    ctx.moveTo(cx + radius, cy);
    ctx.arc(cx, cy, radius, 0, 2 * Math.PI);
  }
  ctx.fill();
}

/** Shapes, not colours: a hollow triangle is suspect, a cross is failed. Close neighbours share one mark. */
function paintFlags(brush: Brush): void {
  const { ctx, px, x, y, ink, scene } = brush;
  const { drawn } = scene;
  const [first, last] = visible(scene);
  const latest: Record<number, number> = {};
  for (let i = first; i < last; i++) {
    const flag = drawn.flag[i] ?? 0;
    if (flag !== FLAG.suspect && flag !== FLAG.fail) continue;
    const cx = x((drawn.t[i] ?? 0) + drawn.widthMs / 2);
    if (cx - (latest[flag] ?? -Infinity) < 11 * px) continue;
    latest[flag] = cx;
    const cy = y(drawn.max[i] ?? 0) - (drawn.raw ? 0 : 7 * px);
    for (const [color, width] of [
      [ink.ground, 5],
      [ink.text, 1.75],
    ] as const) {
      ctx.strokeStyle = color;
      ctx.lineWidth = width * px;
      ctx.beginPath();
      if (flag === FLAG.suspect) triangle(ctx, cx, cy, 5 * px);
      else cross(ctx, cx, cy, 4.5 * px);
      ctx.stroke();
    }
  }
}

function triangle(ctx: CanvasRenderingContext2D, x: number, y: number, r: number): void {
  ctx.moveTo(x, y - r);
  ctx.lineTo(x + r, y + r * 0.8);
  ctx.lineTo(x - r, y + r * 0.8);
  ctx.closePath();
}

function cross(ctx: CanvasRenderingContext2D, x: number, y: number, r: number): void {
  ctx.moveTo(x - r, y - r);
  ctx.lineTo(x + r, y + r);
  ctx.moveTo(x + r, y - r);
  ctx.lineTo(x - r, y + r);
}
