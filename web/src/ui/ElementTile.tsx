// One element as a tile that leads to its chart: name, latest value with its age, the last hour.
import { Link } from '@tanstack/react-router';
import type { Element } from '../api/types';
import type { Drawn } from '../chart/shape';
import { t } from '../i18n/t';
import { nameWithin } from './names';
import { Spark } from './Spark';
import { Ago, FlagNote, Value } from './Value';

interface ElementTileProps {
  project: string;
  zone: string;
  element: Element;
  /** What is said above the tiles already. */
  device: string;
  drawn: Drawn | undefined;
}

export function ElementTile({ project, zone, element, device, drawn }: ElementTileProps) {
  const { latest } = element;
  return (
    <Link
      to="/p/$project/elements/$element"
      params={{ project, element: element.id }}
      className="focus-ring flex min-w-0 flex-col gap-1 rounded border border-line bg-panel px-3 py-2.5 text-ink no-underline hover:bg-hover hover:text-ink"
    >
      <span className="text-[13px] text-muted leading-5 wrap-anywhere">
        {nameWithin(element.name, device)}
      </span>
      {latest ? (
        <>
          <span className="h-7 overflow-hidden text-[20px] leading-7">
            <Value value={latest.value} unit={element.unit} digits={element.digits} />
          </span>
          <Spark drawn={drawn} />
          <span className="flex flex-wrap justify-between gap-x-2 text-[13px] text-muted">
            <Ago time={latest.time} zone={zone} />
            <FlagNote latest={latest} />
          </span>
        </>
      ) : (
        <span className="text-muted">{t('element.no_value')}</span>
      )}
    </Link>
  );
}

/** Tiles in as many columns as fit. */
export const TILES = 'grid grid-cols-[repeat(auto-fill,minmax(min(100%,140px),1fr))] gap-2';
