// The live connection of one project: one stream a tab, resumed by the last event's id, restarted when it falls silent.
// Uses fetch and not EventSource, because that hides heartbeats and status codes.
import type { Arrival } from '../chart/shape';
import { SseReader } from './sse';

export type LiveState = 'connecting' | 'live' | 'waiting' | 'refused';

export interface LiveHandlers {
  points(arrival: Arrival): void;
  state(state: LiveState): void;
  /** The stream could not be resumed where it ended: what is cached may lack points. */
  missed(): void;
}

/** The server sends a heartbeat every 15 s; two of them missing is silence. */
const SILENCE_MS = 40_000;
const BACKOFF_MS = [1_000, 2_000, 5_000, 10_000, 20_000];

/** Keeps the stream open until `stop` is called. */
export function openLive(project: string, handlers: LiveHandlers): { stop(): void } {
  const stopped = new AbortController();
  void keepOpen(project, handlers, stopped.signal);
  return { stop: () => stopped.abort() };
}

async function keepOpen(project: string, handlers: LiveHandlers, stopped: AbortSignal): Promise<void> {
  let lastId: string | null = null;
  let failures = 0;
  handlers.state('connecting');
  while (!stopped.aborted) {
    const began = Date.now();
    const end = await readOnce(project, lastId, handlers, stopped, (id) => {
      lastId = id;
    });
    if (stopped.aborted) return;
    if (end === 'refused') {
      handlers.state('refused');
      return;
    }
    handlers.state('waiting');
    failures = Date.now() - began > SILENCE_MS ? 0 : failures + 1;
    await wait(BACKOFF_MS[Math.min(failures, BACKOFF_MS.length) - 1] ?? 1_000, stopped);
    if (lastId === null && !stopped.aborted) handlers.missed();
  }
}

async function readOnce(
  project: string,
  lastId: string | null,
  handlers: LiveHandlers,
  stopped: AbortSignal,
  learn: (id: string) => void,
): Promise<'ended' | 'refused'> {
  const attempt = new AbortController();
  const abort = () => attempt.abort();
  stopped.addEventListener('abort', abort);
  let silence = setTimeout(abort, SILENCE_MS);
  try {
    const headers: Record<string, string> = { accept: 'text/event-stream', 'X-Fieldkeep': '1' };
    if (lastId !== null) headers['Last-Event-ID'] = lastId;
    const response = await fetch(`/api/v1/projects/${encodeURIComponent(project)}/live`, {
      headers,
      credentials: 'same-origin',
      cache: 'no-store',
      signal: attempt.signal,
    });
    if (response.status === 401 || response.status === 403 || response.status === 404) return 'refused';
    if (!response.ok || !response.body) return 'ended';
    handlers.state('live');
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new SseReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return 'ended';
      clearTimeout(silence);
      silence = setTimeout(abort, SILENCE_MS);
      for (const event of events.push(value)) {
        if (event.id !== null) learn(event.id);
        if (event.event === 'points') {
          const arrival = readArrival(event.data);
          if (arrival) handlers.points(arrival);
        }
      }
    }
  } catch {
    return 'ended';
  } finally {
    clearTimeout(silence);
    stopped.removeEventListener('abort', abort);
    attempt.abort();
  }
}

/** What came over the wire, if it is what it should be. */
export function readArrival(data: string): Arrival | null {
  try {
    const found = JSON.parse(data) as Partial<Arrival>;
    const { element, time_us, value, flag } = found;
    if (typeof element !== 'string' || !Array.isArray(time_us) || !Array.isArray(value)) return null;
    return { element, time_us, value, flag: Array.isArray(flag) ? flag : [] };
  } catch {
    return null;
  }
}

function wait(ms: number, stopped: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    stopped.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
