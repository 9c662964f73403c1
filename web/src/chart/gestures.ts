// What hands do on a chart: wheel with Ctrl, keys, touch. Each becomes a move of the range; nothing here draws.
import { pan, type Range, zoom } from './range';

export interface GestureTarget {
  range(): Range;
  /** A time for a place, in CSS pixels from the plot's left edge. */
  timeAt(left: number): number;
  width(): number;
  /** Shows a range at once; it becomes an address when the hand rests. */
  preview(range: Range): void;
  /** A move that is complete. */
  commit(): void;
  /** Shows everything there is. */
  all(): void;
  /** Moves the reading cursor by entries. */
  step(by: number): void;
}

/** Keys and wheel steps that follow each other this fast are one move, and one step Back. */
const REST_MS = 300;
const WHEEL_STEP = 1.2;

/** Listens on the plot (`over`) and on the focusable frame around it; returns how to stop. */
export function listen(frame: HTMLElement, over: HTMLElement, target: GestureTarget): () => void {
  const ended = new AbortController();
  const { signal } = ended;
  let resting: ReturnType<typeof setTimeout> | undefined;
  const move = (range: Range) => {
    target.preview(range);
    clearTimeout(resting);
    resting = setTimeout(() => target.commit(), REST_MS);
  };

  over.addEventListener(
    'wheel',
    (event) => {
      // Without Ctrl the page scrolls: a chart must not trap the wheel.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const factor = WHEEL_STEP ** Math.max(-3, Math.min(3, event.deltaY / 100));
      const left = event.clientX - over.getBoundingClientRect().left;
      move(zoom(target.range(), factor, target.timeAt(left)));
    },
    { passive: false, signal },
  );

  frame.addEventListener(
    'keydown',
    (event) => {
      if (event.target !== frame || event.ctrlKey || event.metaKey || event.altKey) return;
      if (onKey(event, target, move)) event.preventDefault();
    },
    { signal },
  );

  listenTouch(over, target, signal);
  signal.addEventListener('abort', () => clearTimeout(resting));
  return () => ended.abort();
}

function onKey(event: KeyboardEvent, target: GestureTarget, move: (range: Range) => void): boolean {
  switch (event.key) {
    case 'ArrowLeft':
    case 'ArrowRight': {
      const sign = event.key === 'ArrowLeft' ? -1 : 1;
      if (event.shiftKey) target.step(sign);
      else move(pan(target.range(), sign * 0.2));
      return true;
    }
    case '+':
    case '=':
      move(zoom(target.range(), 1 / 1.5));
      return true;
    case '-':
      move(zoom(target.range(), 1.5));
      return true;
    case '0':
      target.all();
      return true;
    default:
      return false;
  }
}

/** One finger pans sideways (up and down scrolls the page), two zoom. */
function listenTouch(over: HTMLElement, target: GestureTarget, signal: AbortSignal): void {
  const fingers = new Map<number, number>();
  let start: { range: Range; places: number[] } | null = null;
  const begin = () => {
    start = fingers.size === 0 ? null : { range: target.range(), places: [...fingers.values()] };
  };
  const place = (event: PointerEvent) => event.clientX - over.getBoundingClientRect().left;

  over.addEventListener(
    'pointerdown',
    (event) => {
      if (event.pointerType !== 'touch' || fingers.size === 2) return;
      fingers.set(event.pointerId, place(event));
      over.setPointerCapture(event.pointerId);
      begin();
    },
    { signal },
  );
  over.addEventListener(
    'pointermove',
    (event) => {
      if (!start || !fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, place(event));
      target.preview(pinched(start.range, start.places, [...fingers.values()], target.width()));
    },
    { signal },
  );
  const end = (event: PointerEvent) => {
    if (!fingers.delete(event.pointerId)) return;
    if (fingers.size === 0) target.commit();
    begin();
  };
  over.addEventListener('pointerup', end, { signal });
  over.addEventListener('pointercancel', end, { signal });
}

/** The range that keeps the times under the fingers where they were put down. */
export function pinched(range: Range, before: number[], after: number[], width: number): Range {
  const span = range.to - range.from;
  const [a0, b0] = before;
  const [a1, b1] = after;
  if (a0 === undefined || a1 === undefined) return range;
  if (b0 === undefined || b1 === undefined) return pan(range, (a0 - a1) / width);
  const factor = Math.abs(b0 - a0) / Math.max(10, Math.abs(b1 - a1));
  const middle = range.from + (span * (a0 + b0)) / 2 / width;
  const from = middle - (span * factor * (a1 + b1)) / 2 / width;
  return { from, to: from + span * factor };
}
