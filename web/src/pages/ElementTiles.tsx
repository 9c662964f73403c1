// The latest values of one device's elements, as tiles.
import { useQuery } from '@tanstack/react-query';
import { sparksQuery } from '../api/points';
import type { Element } from '../api/types';
import { ElementTile, TILES } from '../ui/ElementTile';
import { byName } from '../ui/names';

interface ElementTilesProps {
  project: string;
  zone: string;
  device: string;
  elements: Element[];
}

export function ElementTiles({ project, zone, device, elements }: ElementTilesProps) {
  const sparks = useQuery(
    sparksQuery(
      project,
      elements.map((element) => element.id),
    ),
  );
  return (
    <div className={TILES}>
      {byName(elements).map((element) => (
        <ElementTile
          key={element.id}
          project={project}
          zone={zone}
          element={element}
          device={device}
          drawn={sparks.data?.get(element.id)}
        />
      ))}
    </div>
  );
}
