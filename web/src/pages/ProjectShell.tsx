// The frame of one project: its name, its pages (beside on a desk, below on a phone), and the live stream for all of them.
import { useQuery, useSuspenseQuery } from '@tanstack/react-query';
import { getRouteApi, Link, Outlet } from '@tanstack/react-router';
import { LiveProvider, useLiveState } from '../api/LiveProvider';
import { meQuery, projectQuery } from '../api/queries';
import { t } from '../i18n/t';
import { BackupNote } from '../ui/BackupNote';
import { EmergencyNote, useMayAudit } from '../ui/EmergencyNote';
import { Folder, Key, Lines, Logger, Overview, People, Right } from '../ui/icons';
import { OperatorNote } from '../ui/OperatorNote';
import { Stale } from '../ui/states';
import { TopBar } from '../ui/TopBar';

const route = getRouteApi('/signed-in/p/$project');

const LINK =
  'focus-ring flex items-center gap-2.5 rounded px-3 text-ink no-underline hover:bg-hover hover:text-ink max-md:h-14 max-md:flex-1 max-md:flex-col max-md:justify-center max-md:gap-1 max-md:text-[13px] md:min-h-9 aria-[current=page]:bg-hover aria-[current=page]:font-semibold aria-[current=page]:text-accent forced-colors:aria-[current=page]:underline';

export function ProjectShell() {
  const { project: id } = route.useParams();
  const { data: project } = useSuspenseQuery(projectQuery(id));
  const mayAudit = useMayAudit(id);
  return (
    <LiveProvider project={id}>
      <TopBar>
        <Right className="size-3.5 text-muted" />
        <Link
          to="/p/$project"
          params={{ project: id }}
          className="focus-ring truncate rounded font-medium text-ink no-underline"
        >
          {project.name}
        </Link>
      </TopBar>
      <div className="md:grid md:grid-cols-[200px_minmax(0,1fr)]">
        <nav
          aria-label={t('nav.title')}
          className="z-10 flex border-line bg-panel max-md:fixed max-md:inset-x-0 max-md:bottom-0 max-md:border-t md:sticky md:top-14 md:h-[calc(100dvh-56px)] md:flex-col md:gap-1 md:border-r md:p-3"
        >
          <Link to="/p/$project" params={{ project: id }} activeOptions={{ exact: true }} className={LINK}>
            <Overview />
            {t('nav.overview')}
          </Link>
          <Link to="/p/$project/devices" params={{ project: id }} className={LINK}>
            <Logger />
            {t('nav.devices')}
          </Link>
          {mayAudit ? (
            <>
              <Link to="/p/$project/members" params={{ project: id }} className={LINK}>
                <People />
                {t('nav.members')}
              </Link>
              <Link to="/p/$project/trail" params={{ project: id }} className={LINK}>
                <Lines />
                {t('nav.trail')}
              </Link>
            </>
          ) : null}
          <KeysLink project={id} />
          <Link to="/projects" className={`${LINK} md:hidden`}>
            <Folder />
            {t('nav.projects')}
          </Link>
        </nav>
        <main
          id="content"
          tabIndex={-1}
          className="mx-auto flex w-full min-w-0 max-w-6xl flex-col gap-4 p-4 outline-none max-md:pb-24 md:p-6"
        >
          <LiveNote />
          <BackupNote />
          <OperatorNote />
          <EmergencyNote project={id} zone={project.zone} />
          <Outlet />
        </main>
      </div>
    </LiveProvider>
  );
}

/** For administrators: others are refused there. */
function KeysLink({ project }: { project: string }) {
  const { data: me } = useQuery(meQuery);
  const role = me?.projects.find((mine) => mine.id === project)?.role;
  if (role !== 'administrator') return null;
  return (
    <Link to="/p/$project/keys" params={{ project }} className={LINK}>
      <Key />
      {t('nav.keys')}
    </Link>
  );
}

/** Says when what is shown may be old. */
function LiveNote() {
  const state = useLiveState();
  if (state !== 'waiting' && state !== 'refused') return null;
  return <Stale>{t(state === 'waiting' ? 'live.lost' : 'live.refused')}</Stale>;
}
