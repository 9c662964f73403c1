// Every address of the app, what it needs before it shows, and the typed form of its parameters. Pages are loaded when
// they are first visited.
import type { QueryClient } from '@tanstack/react-query';
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from '@tanstack/react-router';
import { isStatus } from './api/problem';
import { meQuery } from './api/queries';
import type { RangeSearch } from './chart/range';
import { PageFailed } from './ui/PageFailed';
import { ProofGate } from './ui/ProofGate';
import { Loading } from './ui/states';

export interface RouterContext {
  client: QueryClient;
}

function Root() {
  return (
    <>
      <Outlet />
      <ProofGate />
    </>
  );
}

const root = createRootRouteWithContext<RouterContext>()({
  component: Root,
  notFoundComponent: lazyRouteComponent(() => import('./pages/NotFound'), 'NotFound'),
});

export interface SignInSearch {
  next?: string | undefined;
}

/** Only an address inside this app: a link must not send anybody elsewhere after signing in. */
function inside(next: unknown): string | undefined {
  return typeof next === 'string' && /^\/(?![/\\])/.test(next) ? next : undefined;
}

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: (search): SignInSearch => ({ next: inside(search.next) }),
  component: lazyRouteComponent(() => import('./pages/SignIn'), 'SignIn'),
});

/** Everything but signing in needs a person. */
const signedIn = createRoute({
  getParentRoute: () => root,
  id: 'signed-in',
  beforeLoad: async ({ context, location }) => {
    try {
      const me = await context.client.ensureQueryData(meQuery);
      if (me.must_set_password || me.step === 'show_factor') {
        throw redirect({ to: '/sign-in', search: { next: location.pathname + location.searchStr } });
      }
      // Whoever must set up a second factor is answered nothing else.
      if (me.step === 'set_up_factor' && location.pathname !== '/account') throw redirect({ to: '/account' });
    } catch (error) {
      if (isStatus(error, 401)) {
        throw redirect({ to: '/sign-in', search: { next: location.pathname + location.searchStr } });
      }
      throw error;
    }
  },
  component: Outlet,
});

const home = createRoute({
  getParentRoute: () => signedIn,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/projects' });
  },
});

const account = createRoute({
  getParentRoute: () => signedIn,
  path: '/account',
  component: lazyRouteComponent(() => import('./pages/Account'), 'Account'),
});

const invitation = createRoute({
  getParentRoute: () => root,
  path: '/invitation',
  component: lazyRouteComponent(() => import('./pages/Invitation'), 'Invitation'),
});

const projects = createRoute({
  getParentRoute: () => signedIn,
  path: '/projects',
  component: lazyRouteComponent(() => import('./pages/Projects'), 'Projects'),
});

const project = createRoute({
  getParentRoute: () => signedIn,
  path: '/p/$project',
  component: lazyRouteComponent(() => import('./pages/ProjectShell'), 'ProjectShell'),
});

const overview = createRoute({
  getParentRoute: () => project,
  path: '/',
  component: lazyRouteComponent(() => import('./pages/Overview'), 'Overview'),
});

const devices = createRoute({
  getParentRoute: () => project,
  path: '/devices',
  component: lazyRouteComponent(() => import('./pages/Devices'), 'Devices'),
});

const addLogger = createRoute({
  getParentRoute: () => project,
  path: '/devices/add',
  component: lazyRouteComponent(() => import('./pages/AddLogger'), 'AddLogger'),
});

const device = createRoute({
  getParentRoute: () => project,
  path: '/devices/$device',
  component: lazyRouteComponent(() => import('./pages/DevicePage'), 'DevicePage'),
});

const keys = createRoute({
  getParentRoute: () => project,
  path: '/keys',
  component: lazyRouteComponent(() => import('./pages/Keys'), 'Keys'),
});

const deviceCode = createRoute({
  getParentRoute: () => signedIn,
  path: '/device',
  component: lazyRouteComponent(() => import('./pages/DeviceCode'), 'DeviceCode'),
});

export interface ElementSearch extends RangeSearch {
  show?: 'table';
}

const text = (value: unknown) => (typeof value === 'string' ? value : undefined);

const element = createRoute({
  getParentRoute: () => project,
  path: '/elements/$element',
  validateSearch: (search): ElementSearch => {
    const [last, from, to] = [text(search.last), text(search.from), text(search.to)];
    return {
      ...(last === undefined ? {} : { last }),
      ...(from === undefined || to === undefined ? {} : { from, to }),
      ...(search.show === 'table' ? { show: 'table' } : {}),
    };
  },
  component: lazyRouteComponent(() => import('./pages/ElementPage'), 'ElementPage'),
});

const members = createRoute({
  getParentRoute: () => project,
  path: '/members',
  component: lazyRouteComponent(() => import('./pages/Members'), 'Members'),
});

const trail = createRoute({
  getParentRoute: () => project,
  path: '/trail',
  component: lazyRouteComponent(() => import('./pages/Trail'), 'Trail'),
});

const tree = root.addChildren([
  signIn,
  invitation,
  signedIn.addChildren([
    home,
    account,
    projects,
    deviceCode,
    project.addChildren([overview, devices, addLogger, device, element, members, trail, keys]),
  ]),
]);

export function makeRouter(client: QueryClient) {
  return createRouter({
    routeTree: tree,
    basepath: '/app',
    context: { client },
    defaultPreload: 'intent',
    defaultPreloadStaleTime: 0,
    scrollRestoration: true,
    defaultPendingComponent: Loading,
    defaultErrorComponent: PageFailed,
  });
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
