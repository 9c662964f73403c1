// How complete the last days are: a strip of cells, filled as far as the day is, with every day in words beneath the pointer
// and for screen readers, and the sum of it in a sentence. Fill and mark tell the same as colour.
import { useQuery } from '@tanstack/react-query';
import { type CompletenessOf, completenessQuery } from '../api/queries';
import { t } from '../i18n/t';
import { now } from '../time/now';
import { type Cell, causes, cells, DAYS, percentWords } from './completeness';
import { Panel } from './Page';
import { Failed, Loading } from './states';

export function CompletenessStrip({ project, of }: { project: string; of: CompletenessOf }) {
  const found = useQuery(completenessQuery(project, of));
  if (!found.data) {
    return (
      <Panel title={t('complete.title')}>
        {found.error ? <Failed error={found.error} retry={() => void found.refetch()} /> : <Loading />}
      </Panel>
    );
  }
  const { percent, stored, missing } = found.data;
  return (
    <Panel title={t('complete.title')}>
      <div className="flex flex-col gap-2">
        <ol className="flex h-8 items-stretch gap-px" aria-label={t('complete.days', { count: DAYS })}>
          {cells(found.data, now()).map((cell) => (
            <Day key={cell.ms} cell={cell} />
          ))}
        </ol>
        <p>
          {percent == null ? (
            t('complete.events', { count: stored })
          ) : (
            <>
              <strong className="font-semibold tabular-nums">{percentWords(percent)}</strong>{' '}
              {causes(missing) || t('complete.all')}
            </>
          )}
        </p>
      </div>
    </Panel>
  );
}

const EDGE: Record<Cell['level'], string> = {
  none: 'border-line border-dashed',
  whole: 'border-reporting',
  partial: 'border-late',
  empty: 'border-alarm',
};

const FILL: Record<Cell['level'], string> = {
  none: '',
  whole: 'bg-reporting',
  partial: 'bg-late',
  empty: 'bg-alarm',
};

function Day({ cell }: { cell: Cell }) {
  return (
    <li
      title={cell.words}
      className={`relative flex min-w-0 flex-1 flex-col justify-end rounded-xs border ${EDGE[cell.level]}`}
    >
      <span aria-hidden className={FILL[cell.level]} style={{ height: `${cell.part * 100}%` }} />
      {cell.level === 'empty' ? (
        <span aria-hidden className="absolute inset-0 grid place-items-center font-semibold text-alarm">
          ×
        </span>
      ) : null}
      <span className="sr-only">{cell.words}</span>
    </li>
  );
}
