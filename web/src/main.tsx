// Where the app starts: theme before the first drawing, then router and cache.
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import './app.css';
import { isStatus, Refused } from './api/problem';
import { makeRouter } from './router';
import { asksForProof } from './ui/Prove';
import { startTheme } from './ui/theme';

startTheme();

/** A 401 while working means that the session ended: sign in, then come back. Being asked who one is does not. */
function onError(error: unknown): void {
  if (asksForProof(error)) return;
  if (isStatus(error, 401)) void router.navigate({ to: '/sign-in', search: { next: currentPage() } });
}

function currentPage(): string | undefined {
  const { pathname, searchStr } = router.state.location;
  return pathname === '/sign-in' ? undefined : pathname + searchStr;
}

const client = new QueryClient({
  queryCache: new QueryCache({
    onError: (error, query) => {
      if (query.meta?.signsIn !== true) onError(error);
    },
  }),
  mutationCache: new MutationCache({
    onError: (error, _variables, _context, mutation) => {
      if (mutation.meta?.signsIn !== true) onError(error);
    },
  }),
  defaultOptions: {
    // The server may be on this machine or this network: whether the browser thinks it is online says nothing about it.
    mutations: { networkMode: 'always' },
    queries: {
      networkMode: 'always',
      staleTime: 5_000,
      // A refusal stays a refusal; only silence and the server's own faults are worth another try.
      retry: (failures, error) => failures < 2 && !(error instanceof Refused && error.status < 500),
    },
  },
});

const router = makeRouter(client);

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
