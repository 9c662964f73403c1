// One line to take away: shown whole, selected with a click, copied with a button that says so.
import { useEffect, useState } from 'react';
import { t } from '../i18n/t';
import { Button } from './controls';
import { Copy, Tick } from './icons';

export function CopyLine({ line, label }: { line: string; label: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2_000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = () =>
    navigator.clipboard.writeText(line).then(
      () => setCopied(true),
      () => setCopied(false),
    );
  return (
    <div className="flex flex-col gap-2 sm:flex-row sm:items-start">
      <code className="min-w-0 flex-1 rounded border border-line bg-ground px-3 py-2 break-all select-all">
        {line}
      </code>
      <Button onClick={copy} aria-label={`${t('copy')}: ${label}`}>
        {copied ? <Tick /> : <Copy />}
        {copied ? t('copied') : t('copy')}
      </Button>
      <span role="status" className="sr-only">
        {copied ? t('copied') : ''}
      </span>
    </div>
  );
}
