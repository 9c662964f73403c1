// The projects one may see, each with what is in it.
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { projectsQuery } from '../api/queries';
import { t } from '../i18n/t';
import { BackupNote } from '../ui/BackupNote';
import { Folder, Right } from '../ui/icons';
import { OperatorNote } from '../ui/OperatorNote';
import { PageHead } from '../ui/Page';
import { Empty, Failed, Loading } from '../ui/states';
import { TopBar } from '../ui/TopBar';

export function Projects() {
  const projects = useQuery(projectsQuery);
  return (
    <>
      <TopBar />
      <main
        id="content"
        tabIndex={-1}
        className="mx-auto flex max-w-3xl flex-col gap-4 p-4 outline-none md:p-6"
      >
        <BackupNote />
        <OperatorNote />
        <PageHead title={t('projects.title')} />
        {projects.error ? (
          <Failed error={projects.error} retry={() => void projects.refetch()} />
        ) : projects.data === undefined ? (
          <Loading />
        ) : projects.data.items.length === 0 ? (
          <Empty title={t('projects.empty')}>
            <p>{t('projects.empty_next')}</p>
            <code className="rounded bg-hover px-2 py-1">fieldkeep admin project create NAME --data DIR</code>
          </Empty>
        ) : (
          <ul className="flex flex-col gap-2">
            {projects.data.items.map((project) => (
              <li key={project.id}>
                <Link
                  to="/p/$project"
                  params={{ project: project.id }}
                  className="focus-ring flex min-h-16 items-center gap-4 rounded border border-line bg-panel px-4 py-3 text-ink no-underline hover:bg-hover hover:text-ink"
                >
                  <Folder className="size-5 text-muted" />
                  <span className="min-w-0 flex-1">
                    <span className="block font-semibold text-[15px] wrap-anywhere">{project.name}</span>
                    <span className="block text-[13px] text-muted">
                      {t('projects.devices', { count: project.counts.devices })} ·{' '}
                      {t('projects.elements', { count: project.counts.elements })} · {project.zone}
                    </span>
                  </span>
                  <Right className="size-4 text-muted" />
                </Link>
              </li>
            ))}
          </ul>
        )}
      </main>
    </>
  );
}
