// What time it is, by the server's clock: a wrong clock in the browser must not move the live edge of a chart.

/** Below this the difference is the network's and the Date header's rounding, not the clock's. */
const TRUSTED_MS = 3_000;

let offsetMs = 0;

/** Learns from the Date header of an answer. */
export function learnServerTime(serverMs: number, browserMs: number = Date.now()): void {
  if (!Number.isFinite(serverMs)) return;
  const difference = serverMs - browserMs;
  offsetMs = Math.abs(difference) > TRUSTED_MS ? difference : 0;
}

/** Now, in milliseconds since 1970. */
export function now(): number {
  return Date.now() + offsetMs;
}
