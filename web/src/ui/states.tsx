// What a page shows when it has nothing to show: loading, empty (says the next step), failed (retry, request id).
import type { ReactNode } from 'react';
import { Refused, Unreachable } from '../api/problem';
import { t } from '../i18n/t';
import { Button } from './controls';
import { Octagon } from './icons';

export function Loading() {
  return (
    <p role="status" className="text-muted p-6">
      {t('loading')}
    </p>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="flex flex-col items-start gap-3 rounded border border-line border-dashed p-6">
      <p className="font-medium text-[15px]">{title}</p>
      {children}
    </div>
  );
}

/** What went wrong, in words for the one who reads it. */
export function explain(error: unknown): string {
  if (error instanceof Unreachable) return t('failed.unreachable');
  if (!(error instanceof Refused)) return t('failed.here');
  if (error.status === 403) return t('failed.forbidden');
  if (error.status === 404) return t('failed.not_found');
  if (error.status === 429) return t('failed.too_often');
  if (error.status >= 500) return t('failed.server');
  return error.faults.length > 0
    ? error.faults.map(({ field, reason }) => `${field} ${reason}`).join(' · ')
    : error.message;
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const requestId = error instanceof Refused ? error.requestId : null;
  return (
    <div role="alert" className="flex flex-col items-start gap-3 rounded border border-line bg-panel p-4">
      <p className="flex items-center gap-2 font-medium">
        <Octagon className="size-5 text-alarm" />
        {explain(error)}
      </p>
      {requestId ? (
        <p className="text-[13px] text-muted">
          {t('failed.request')} <code className="select-all">{requestId}</code>
        </p>
      ) : null}
      {retry ? <Button onClick={retry}>{t('failed.retry')}</Button> : null}
    </div>
  );
}

/** One line over content that is shown but may be old. */
export function Stale({ children }: { children: ReactNode }) {
  return (
    <p
      role="status"
      className="rounded border border-line border-l-4 border-l-late bg-panel px-3 py-2 text-[13px]"
    >
      {children}
    </p>
  );
}
