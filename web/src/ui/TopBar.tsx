// The bar over every page: the product's mark, where one is, and the account.
import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { t } from '../i18n/t';
import { Account } from './Account';
import { SpaceLine } from './SpaceLine';

export function TopBar({ children }: { children?: ReactNode }) {
  return (
    <>
      <header className="sticky top-0 z-10 flex h-14 items-center gap-3 border-line border-b bg-panel px-4">
        <a
          href="#content"
          className="focus-ring sr-only rounded bg-panel px-3 py-2 focus:not-sr-only focus:absolute focus:top-2 focus:left-2"
        >
          {t('skip')}
        </a>
        <Link
          to="/projects"
          className="focus-ring flex items-center gap-2.5 rounded text-ink no-underline"
          aria-label={t('nav.projects')}
        >
          <img src="/app/icon.svg" alt="" className="size-7" />
          <span className="font-semibold text-[15px] max-sm:hidden">Fieldkeep</span>
        </Link>
        <div className="flex min-w-0 flex-1 items-center gap-2">{children}</div>
        <Account />
      </header>
      <SpaceLine />
    </>
  );
}
