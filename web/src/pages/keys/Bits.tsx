// What the lists of keys and of service accounts have in common: scopes, days, a secret that is shown once.
import { useState } from 'react';
import type { Scope } from '../../api/types';
import { t } from '../../i18n/t';
import { formatDate } from '../../time/format';
import { CopyLine } from '../../ui/CopyLine';
import { Button } from '../../ui/controls';

const SCOPES: Scope[] = ['read', 'audit', 'write', 'administer'];

export const CELL = 'border-line border-b px-3 py-2 text-left align-top';

/** A day in UTC, as the server counts the use of keys. */
export function day(time: string | null | undefined, none: string): string {
  return time ? formatDate(Date.parse(time), 'UTC') : none;
}

/** The names of ticked boxes in a form. */
export function ticked(form: FormData): Scope[] {
  return SCOPES.filter((scope) => form.get(scope) === 'on');
}

export function ScopeBoxes({ chosen }: { chosen: Scope[] }) {
  return (
    <fieldset className="flex flex-col gap-1">
      <legend className="mb-1 font-medium">{t('keys.scopes')}</legend>
      {SCOPES.map((scope) => (
        <label key={scope} className="flex items-start gap-2">
          <input type="checkbox" name={scope} defaultChecked={chosen.includes(scope)} className="mt-1" />
          <span>
            <span className="font-medium">{scope}</span>{' '}
            <span className="text-muted">{t(`scope.${scope}`)}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

/** A secret, for this once. */
export function Secret({ secret, more, done }: { secret: string; more?: string; done: () => void }) {
  return (
    <div
      role="status"
      className="flex flex-col gap-3 rounded border border-line border-l-4 border-l-accent p-3"
    >
      <p className="font-medium">{t('keys.once')}</p>
      {more ? <CopyLine line={more} label={t('service.id')} /> : null}
      <CopyLine line={secret} label={t('keys.secret')} />
      <Button more="self-start" onClick={done}>
        {t('keys.kept')}
      </Button>
    </div>
  );
}

/** A button that asks again before it does something that cannot be undone. */
export function Sure({ label, act, pending }: { label: string; act: () => void; pending: boolean }) {
  const [asked, setAsked] = useState(false);
  if (!asked) {
    return (
      <Button look="quiet" onClick={() => setAsked(true)}>
        {label}
      </Button>
    );
  }
  return (
    <span className="flex flex-wrap gap-2">
      <Button
        pending={pending}
        onClick={() => {
          act();
          setAsked(false);
        }}
      >
        {t('keys.sure', { label })}
      </Button>
      <Button look="quiet" onClick={() => setAsked(false)}>
        {t('keys.not')}
      </Button>
    </span>
  );
}
