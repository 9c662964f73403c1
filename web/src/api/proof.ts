// Where the server wants to know once more who it is: the change waits while the person proves it, and is sent again.
type Settle = (proved: boolean) => void;

let waiting: Settle[] = [];
const listeners = new Set<() => void>();

function tell(): void {
  for (const listener of listeners) listener();
}

/** Whether a change waits for a proof. */
export function isProofAsked(): boolean {
  return waiting.length > 0;
}

export function onProofAsked(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Lets everything that waits go on, or fail as the server refused it. */
export function settleProof(proved: boolean): void {
  const settled = waiting;
  waiting = [];
  for (const settle of settled) settle(proved);
  tell();
}

async function isAsked(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  try {
    const body: unknown = await response.clone().json();
    return (
      typeof body === 'object' && body !== null && 'code' in body && body.code === 'reauthentication_required'
    );
  } catch {
    return false;
  }
}

/** As `fetch`, but for a change that needs a fresh proof: nothing was done, so it is sent again once there is one. */
export async function fetchProved(request: Request): Promise<Response> {
  // Reading never asks for a proof, and nobody answers where no page listens.
  if (request.method === 'GET' || listeners.size === 0) return fetch(request);
  const again = request.clone();
  const response = await fetch(request);
  if (!(await isAsked(response))) return response;
  const proved = await new Promise<boolean>((settle) => {
    waiting.push(settle);
    tell();
  });
  return proved ? fetch(again) : response;
}
