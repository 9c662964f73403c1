// One line under the bar for operators when the server's disk fills up, with what can be done about it.
import { useQuery } from '@tanstack/react-query';
import { meQuery, spaceQuery } from '../api/queries';
import { t } from '../i18n/t';
import { formatBytes, spaceSentence } from './space';

export function SpaceLine() {
  const { data: me } = useQuery(meQuery);
  const { data: space } = useQuery({ ...spaceQuery, enabled: me?.operator === true });
  const sentence = space ? spaceSentence(space, 'UTC') : null;
  if (!space || !sentence) return null;
  return (
    <section
      aria-label={t('space.title')}
      className={`border-line border-b border-l-4 bg-panel px-4 py-2 text-[13px] ${space.state === 'full' ? 'border-l-alarm' : 'border-l-late'}`}
    >
      <p role="status" className="font-medium">
        {sentence}
      </p>
      {space.actions.length > 0 ? (
        <details className="mt-1">
          <summary className="focus-ring cursor-pointer rounded text-muted">
            {t('space.actions', { count: space.actions.length })}
          </summary>
          <ul className="mt-1 flex flex-col gap-1">
            {space.actions.map((action) => (
              <li key={action.text} className="wrap-anywhere">
                <span className="font-medium">{formatBytes(action.frees_bytes)}</span> {action.text}
              </li>
            ))}
          </ul>
        </details>
      ) : null}
    </section>
  );
}
