// One chart on the screen: uPlot for axes, cursor and selection, our own drawing for the data. Plain TypeScript; the
// page hands it scenes and gets back moves and readings.
import uPlot from 'uplot';
import { tickLabels, ticks } from '../time/ticks';
import { formatNumber } from '../units/units';
import { listen } from './gestures';
import { type Ink, readInk } from './ink';
import { paintData, paintGaps } from './paint';
import type { Range } from './range';
import { type Scene, valueRange } from './scene';
import type { DrawnGap } from './shape';

/** What the cursor points at. */
export type Reading = { kind: 'entry'; index: number } | { kind: 'gap'; gap: DrawnGap };

export interface PlotHandlers {
  /** A move in progress; `null` ends it without effect. */
  preview(range: Range): void;
  commit(range: Range): void;
  all(): void;
  reading(reading: Reading | null): void;
}

const AXIS_FONT_PX = 12;

/** Distances between marks on the value axis; states and booleans have nothing between whole numbers. */
const WHOLE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];
const VALUE_STEPS = Array.from({ length: 30 }, (_, i) => 10 ** (i - 12)).flatMap((size) =>
  [1, 2, 2.5, 5].map((step) => Number((step * size).toPrecision(2))),
);

export class Plot {
  private readonly u: uPlot;
  private readonly stopListening: () => void;
  private readonly resizer: ResizeObserver;
  private ink: Ink;
  private moving: Range | null = null;

  constructor(
    private readonly host: HTMLElement,
    private scene: Scene,
    private readonly colour: string | null,
    private readonly handlers: PlotHandlers,
  ) {
    this.ink = readInk(host, colour);
    this.u = new uPlot(this.options(), this.data(), host);
    this.stopListening = listen(host, this.u.over, {
      range: () => this.moving ?? { from: this.scene.from, to: this.scene.to },
      timeAt: (left) => this.u.posToVal(left, 'x'),
      width: () => this.u.over.clientWidth,
      preview: (range) => {
        this.moving = range;
        handlers.preview(range);
      },
      commit: () => {
        if (this.moving) handlers.commit(this.moving);
        this.moving = null;
      },
      all: handlers.all,
      step: (by) => this.step(by),
    });
    this.resizer = new ResizeObserver(() => this.resize());
    this.resizer.observe(host);
  }

  /** Shows another scene. */
  show(scene: Scene): void {
    const dataChanged = scene.drawn !== this.scene.drawn;
    this.scene = scene;
    if (dataChanged) this.u.setData(this.data(), false);
    this.u.batch(() => {
      this.u.setScale('x', { min: scene.from, max: scene.to });
      this.rescale();
    });
  }

  /** Draws again in the colours that hold by now. */
  recolour(): void {
    this.ink = readInk(this.host, this.colour);
    this.u.redraw(false, true);
  }

  destroy(): void {
    this.resizer.disconnect();
    this.stopListening();
    this.u.destroy();
  }

  private rescale(): void {
    const [min, max] = valueRange(this.scene);
    this.u.setScale('y', { min, max });
  }

  private data(): uPlot.AlignedData {
    const { drawn } = this.scene;
    const half = drawn.widthMs / 2;
    return [half ? drawn.t.map((t) => t + half) : drawn.t, drawn.mean];
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(200, this.host.clientWidth), height: Math.max(180, this.host.clientHeight) };
  }

  private resize(): void {
    const { width, height } = this.size();
    if (width !== this.u.width || height !== this.u.height) this.u.setSize({ width, height });
  }

  private options(): uPlot.Options {
    const muted = () => this.ink.muted;
    const font = `${AXIS_FONT_PX}px ${this.ink.font}`;
    return {
      ...this.size(),
      ms: 1,
      padding: [14, 14, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false, dist: 6 },
        points: { size: 9, width: 2, stroke: () => this.ink.text, fill: () => this.ink.ground },
      },
      scales: {
        x: { time: false, auto: false, min: this.scene.from, max: this.scene.to },
        y: { auto: false, range: () => valueRange(this.scene) },
      },
      series: [{}, { scale: 'y', paths: () => null, points: { show: false }, stroke: () => this.ink.series }],
      axes: [
        {
          font,
          stroke: muted,
          grid: { stroke: () => this.ink.grid, width: 1 },
          ticks: { stroke: () => this.ink.grid, width: 1, size: 5 },
          size: 44,
          gap: 4,
          splits: (u, _axis, min, max) => this.marks(u, min, max).at,
          values: (u, splits) => {
            const { unit } = this.marks(u, this.scene.from, this.scene.to);
            return tickLabels({ unit, at: splits }, this.scene.zone);
          },
        },
        {
          font,
          stroke: muted,
          grid: { stroke: () => this.ink.grid, width: 1 },
          ticks: { show: false },
          gap: 8,
          space: 40,
          incrs: () => (this.scene.steps ? WHOLE_STEPS : VALUE_STEPS),
          size: (_u, values) => 16 + 7.2 * Math.max(2, ...(values ?? []).map((value) => value.length)),
          values: (_u, splits) => this.valueLabels(splits),
        },
      ],
      hooks: {
        drawAxes: [(u) => paintGaps(u, this.scene, this.ink)],
        draw: [(u) => paintData(u, this.scene, this.ink)],
        setSelect: [(u) => this.select(u)],
        setCursor: [(u) => this.read(u)],
      },
    };
  }

  private marks(u: uPlot, min: number, max: number) {
    // The plot's own width is not settled while axes are being laid out; the chart's is.
    return ticks(min, max, Math.max(2, (u.width - 70) / 100), this.scene.zone);
  }

  private valueLabels(splits: number[]): string[] {
    const { factor } = this.scene.scale;
    const step = Math.abs((splits[1] ?? 1) - (splits[0] ?? 0)) / factor;
    const digits = Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
    // Steps of 2.5 need one digit more than their size says.
    const enough =
      Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) < 1e-6 ? digits : digits + 1;
    return splits.map((split) => formatNumber(split / factor, enough));
  }

  private select(u: uPlot): void {
    const { left, width } = u.select;
    if (width < 6) return;
    const range = { from: u.posToVal(left, 'x'), to: u.posToVal(left + width, 'x') };
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.handlers.commit(range);
  }

  private read(u: uPlot): void {
    const { idx, left } = u.cursor;
    if (left === undefined || left < 0) {
      this.handlers.reading(null);
      return;
    }
    const time = u.posToVal(left, 'x');
    const gap = this.scene.gaps.find((gap) => gap.from <= time && time <= gap.to);
    const at = typeof idx === 'number' ? this.scene.drawn.t[idx] : undefined;
    const inGap = gap && (at === undefined || at <= gap.from || at >= gap.to);
    if (inGap) this.handlers.reading({ kind: 'gap', gap });
    else if (typeof idx === 'number') this.handlers.reading({ kind: 'entry', index: idx });
    else this.handlers.reading(null);
  }

  private step(by: number): void {
    const { drawn, from, to } = this.scene;
    const now = this.u.cursor.idx;
    const inside = (i: number) => (drawn.t[i] ?? -1) >= from && (drawn.t[i] ?? -1) <= to;
    const edge = by > 0 ? drawn.t.findIndex((t) => t >= from) : drawn.t.findLastIndex((t) => t <= to);
    const next =
      typeof now === 'number' && inside(now + by) ? now + by : typeof now === 'number' ? now : edge;
    const t = drawn.t[next];
    if (t === undefined) return;
    this.u.setCursor({
      left: this.u.valToPos(t + drawn.widthMs / 2, 'x'),
      top: this.u.over.clientHeight / 2,
    });
  }
}
