// Fresh proof: asked for once, and the change sent again.
import { afterEach, expect, test, vi } from 'vitest';
import { fetchProved, isProofAsked, onProofAsked, settleProof } from './proof';

const refused = () =>
  new Response(JSON.stringify({ code: 'reauthentication_required' }), {
    status: 401,
    headers: { 'content-type': 'application/problem+json' },
  });
const change = () => new Request('https://localhost/api/v1/keys', { method: 'POST', body: '{"name":"k"}' });

afterEach(() => vi.unstubAllGlobals());

async function asked(answers: Response[]): Promise<{ bodies: string[]; answer: Promise<Response> }> {
  const bodies: string[] = [];
  vi.stubGlobal('fetch', async (request: Request) => {
    bodies.push(await request.text());
    return answers.shift() ?? new Response(null, { status: 500 });
  });
  const answer = fetchProved(change());
  await vi.waitFor(() => expect(isProofAsked()).toBe(true));
  return { bodies, answer };
}

test('a change waits for the proof and is sent again as it was', async () => {
  const stop = onProofAsked(() => undefined);
  const { bodies, answer } = await asked([refused(), new Response(null, { status: 204 })]);
  settleProof(true);
  expect((await answer).status).toBe(204);
  expect(bodies).toEqual(['{"name":"k"}', '{"name":"k"}']);
  expect(isProofAsked()).toBe(false);
  stop();
});

test('without a proof it stays refused, and is not sent again', async () => {
  const stop = onProofAsked(() => undefined);
  const { bodies, answer } = await asked([refused()]);
  settleProof(false);
  expect((await answer).status).toBe(401);
  expect(bodies).toHaveLength(1);
  stop();
});

test('an ended session is no question of proof', async () => {
  const stop = onProofAsked(() => undefined);
  vi.stubGlobal('fetch', () => Promise.resolve(new Response('{"code":"unauthenticated"}', { status: 401 })));
  expect((await fetchProved(change())).status).toBe(401);
  expect(isProofAsked()).toBe(false);
  stop();
});
