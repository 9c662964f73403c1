// The head of a page: where one is, what it is called (also in the browser's title), and what one can do.
import { type ReactNode, useEffect } from 'react';

interface PageHeadProps {
  title: string;
  above?: ReactNode;
  children?: ReactNode;
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} – Fieldkeep` : 'Fieldkeep';
  }, [title]);
}

export function PageHead({ title, above, children }: PageHeadProps) {
  useTitle(title);
  return (
    <header className="flex flex-wrap items-end justify-between gap-x-4 gap-y-2">
      <div className="min-w-0">
        {above ? <div className="text-[13px] text-muted">{above}</div> : null}
        <h1 className="font-semibold text-xl leading-7 wrap-anywhere">{title}</h1>
      </div>
      {children ? <div className="flex flex-wrap items-center gap-2">{children}</div> : null}
    </header>
  );
}

/** A panel: one line around, no shadow. */
export function Panel({
  title,
  children,
  flush = false,
}: {
  title?: string;
  children: ReactNode;
  flush?: boolean;
}) {
  return (
    <section className="min-w-0 rounded border border-line bg-panel">
      {title ? (
        <h2 className="border-line border-b px-4 py-2.5 font-semibold text-[15px] leading-5">{title}</h2>
      ) : null}
      <div className={flush ? '' : 'p-4'}>{children}</div>
    </section>
  );
}
