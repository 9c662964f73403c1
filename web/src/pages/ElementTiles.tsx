// The latest values of one device's elements, as tiles.
import { useQuery } from '@tanstack/react-query';
import { sparksQuery } from '../api/points';
import type { Element } from '../api/types';
import { ElementTile, TILES } from '../ui/ElementTile';

interface ElementTilesProps {
  project: string;
  zone: string;
  elements: Element[];
}

export function ElementTiles({ project, zone, elements }: ElementTilesProps) {
  const sparks = useQuery(
    sparksQuery(
      project,
      elements.map((element) => element.id),
    ),
  );
  return (
    <div className={TILES}>
      {elements.map((element) => (
        <ElementTile
          key={element.id}
          project={project}
          zone={zone}
          element={element}
          drawn={sparks.data?.get(element.id)}
        />
      ))}
    </div>
  );
}
