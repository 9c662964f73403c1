// The colours a chart is drawn with, read from the page's style so that light, dark and forced colours hold here too,
// and the arithmetic that keeps the envelope visible against the ground.

export interface Ink {
  series: string;
  envelope: string;
  ground: string;
  text: string;
  muted: string;
  grid: string;
  hatch: string;
  font: string;
}

type Rgb = [number, number, number];

/** Reads `#rrggbb` and `#rgb`, which is what style sheets become when they are made small. */
export function parseHex(text: string): Rgb {
  const digits = text.trim().replace('#', '');
  const long = digits.length === 3 ? [...digits].map((digit) => digit + digit).join('') : digits;
  const value = Number.parseInt(long, 16);
  return Number.isFinite(value) ? [(value >> 16) & 255, (value >> 8) & 255, value & 255] : [0, 0, 0];
}

function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map((channel) => {
    const c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** WCAG contrast, 1 to 21. */
export function contrast(a: Rgb, b: Rgb): number {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

function mix(a: Rgb, b: Rgb, part: number): Rgb {
  return a.map((channel, i) => Math.round(channel + ((b[i] ?? 0) - channel) * part)) as Rgb;
}

function hex(rgb: Rgb): string {
  return `#${rgb.map((channel) => channel.toString(16).padStart(2, '0')).join('')}`;
}

/** The palest opaque tint of a colour that still stands out from the ground as a graphic must (WCAG 1.4.11). */
export function envelopeOf(series: string, ground: string, least = 3.1): string {
  const [ink, paper] = [parseHex(series), parseHex(ground)];
  for (let part = 0.7; part > 0; part -= 0.02) {
    const tint = mix(ink, paper, part);
    if (contrast(tint, paper) >= least) return hex(tint);
  }
  return hex(ink);
}

/** Below this a line is lost on its ground (WCAG 1.4.11). */
const LINE_CONTRAST = 3;

/** What the style of an element says at this moment. A colour of one's own holds where the ground leaves it visible. */
export function readInk(host: HTMLElement, colour: string | null): Ink {
  const style = getComputedStyle(host);
  const read = (name: string) => style.getPropertyValue(name).trim();
  const ground = read('--color-panel');
  const own = colour && contrast(parseHex(colour), parseHex(ground)) >= LINE_CONTRAST ? colour : null;
  const series = own ?? read('--series-1');
  return {
    series,
    envelope: envelopeOf(series, ground),
    ground,
    text: read('--color-ink'),
    muted: read('--color-muted'),
    grid: read('--color-grid'),
    hatch: read('--color-hatch'),
    font: style.fontFamily,
  };
}
