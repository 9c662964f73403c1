// The thin React frame around a Plot: mounts it once, hands it scenes, follows the theme, and is the element that holds
// keyboard focus.
import { useEffect, useLayoutEffect, useRef } from 'react';
import 'uplot/dist/uPlot.min.css';
import { onThemeChange } from '../ui/theme';
import { Plot, type PlotHandlers } from './plot';
import type { Scene } from './scene';

interface ChartProps {
  scene: Scene;
  /** `#rrggbb`, or the default. */
  colour: string | null;
  label: string;
  describedBy: string;
  busy: boolean;
  handlers: PlotHandlers;
}

export function Chart({ scene, colour, label, describedBy, busy, handlers }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const latest = useRef({ scene, handlers });
  latest.current = { scene, handlers };

  useLayoutEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = new Plot(element, latest.current.scene, colour, {
      preview: (range) => latest.current.handlers.preview(range),
      commit: (range) => latest.current.handlers.commit(range),
      all: () => latest.current.handlers.all(),
      reading: (reading) => latest.current.handlers.reading(reading),
    });
    plot.current = made;
    const forget = onThemeChange(() => made.recolour());
    // The first drawing may have used the fallback font.
    void document.fonts.ready.then(() => {
      if (plot.current === made) made.recolour();
    });
    return () => {
      forget();
      plot.current = null;
      made.destroy();
    };
  }, [colour]);

  useEffect(() => plot.current?.show(scene), [scene]);

  return (
    // Keys pan and zoom here, so assistive technology must pass them on: that is what `application` says.
    <div
      ref={host}
      role="application"
      aria-roledescription="chart"
      aria-label={label}
      aria-describedby={describedBy}
      aria-busy={busy}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the chart is operated by keys
      tabIndex={0}
      className="chart focus-ring h-[46vh] min-h-72 max-h-130 w-full overflow-hidden rounded"
    />
  );
}
