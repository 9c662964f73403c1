// The time by the server's clock, as something React renders by; all users of one pace tick together.
import { useSyncExternalStore } from 'react';
import { now } from '../time/now';

interface Pulse {
  at: number;
  listeners: Set<() => void>;
  timer: ReturnType<typeof setInterval> | undefined;
}

const pulses = new Map<number, Pulse>();

function pulseOf(everyMs: number): Pulse {
  let pulse = pulses.get(everyMs);
  if (!pulse) {
    pulse = { at: now(), listeners: new Set(), timer: undefined };
    pulses.set(everyMs, pulse);
  }
  return pulse;
}

function subscribe(everyMs: number, listener: () => void): () => void {
  const pulse = pulseOf(everyMs);
  pulse.listeners.add(listener);
  pulse.timer ??= setInterval(() => {
    pulse.at = now();
    for (const tell of pulse.listeners) tell();
  }, everyMs);
  return () => {
    pulse.listeners.delete(listener);
    if (pulse.listeners.size > 0) return;
    clearInterval(pulse.timer);
    pulse.timer = undefined;
  };
}

const subscribers = new Map<number, (listener: () => void) => () => void>();

export function useNow(everyMs = 1_000): number {
  let subscriber = subscribers.get(everyMs);
  if (!subscriber) {
    subscriber = (listener) => subscribe(everyMs, listener);
    subscribers.set(everyMs, subscriber);
  }
  return useSyncExternalStore(subscriber, () => {
    const pulse = pulseOf(everyMs);
    // Between ticks the answer must not change; before the first one it must not be old.
    if (pulse.timer === undefined && Math.abs(now() - pulse.at) > everyMs) pulse.at = now();
    return pulse.at;
  });
}
