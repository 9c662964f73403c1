// The one way to the server: typed calls, the header that proves a write comes from this page, failures as exceptions.
import createClient, { type Middleware } from 'openapi-fetch';
import { learnServerTime } from '../time/now';
import { problemBody, Refused, Unreachable } from './problem';
import { fetchProved } from './proof';
import type { paths } from './schema';

const serverTime: Middleware = {
  onResponse({ response }) {
    const date = response.headers.get('date');
    if (date) learnServerTime(Date.parse(date));
    return undefined;
  },
};

export const api = createClient<paths, 'application/json'>({
  baseUrl: '/',
  credentials: 'same-origin',
  fetch: fetchProved,
  headers: { 'X-Fieldkeep': '1' },
  // Lists as the API reads them: `element=a,b`.
  querySerializer: { array: { style: 'form', explode: false } },
});
api.use(serverTime);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The answer's body; throws `Refused` or `Unreachable`. */
export async function call<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer.catch((cause: unknown) => {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new Unreachable(cause);
  });
  if (!response.ok) {
    throw new Refused(response.status, problemBody(error), response.headers.get('x-request-id'));
  }
  return data as T;
}
