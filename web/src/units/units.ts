// Units as people read them. The API speaks UCUM codes ("Cel", "uS/cm"); screens show the symbol, and the unit is never
// dropped: a number without dimension says so where there is room.

const SYMBOLS: Record<string, string> = {
  Cel: '°C',
  '[degF]': '°F',
  K: 'K',
  '1': '',
  '%': '%',
  deg: '°',
  By: 'B',
  'By/s': 'B/s',
  bit: 'bit',
  'bit/s': 'bit/s',
  '[NTU]': 'NTU',
  '{NTU}': 'NTU',
  '[FNU]': 'FNU',
  '{FNU}': 'FNU',
  '[pH]': 'pH',
  '[ppm]': 'ppm',
  '[ppth]': '‰',
  Ohm: 'Ω',
};

/** The printed symbol of a UCUM code. */
export function symbolOf(ucum: string): string {
  const known = SYMBOLS[ucum];
  if (known !== undefined) return known;
  return ucum
    .split('/')
    .map((part) => SYMBOLS[part] || part)
    .join('/')
    .replace(/\bu(?=[A-Za-zΩ])/g, 'µ')
    .replace(/\{([^}]*)\}/g, '$1')
    .replace(/([a-zA-Z])2\b/g, '$1²')
    .replace(/([a-zA-Z])3\b/g, '$1³')
    .replace(/\./g, '·');
}

/** A factor and unit in which a size reads well; only bytes and bits span so much that they need one. */
export interface Scale {
  factor: number;
  symbol: string;
  /** Digits after the point. */
  digits: number;
}

const PREFIXES: [number, string][] = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** How values of about this size are shown. */
export function scaleFor(ucum: string, digits: number, size: number): Scale {
  const symbol = symbolOf(ucum);
  if (/^(By|bit)\b/.test(ucum)) {
    const [factor, prefix] = PREFIXES.find(([factor]) => Math.abs(size) >= factor) ?? [1, ''];
    if (factor > 1) return { factor, symbol: prefix + symbol, digits: 2 };
  }
  return { factor: 1, symbol, digits: Math.min(12, Math.max(0, digits)) };
}

const formats = new Map<number, Intl.NumberFormat>();

/** A number with a fixed count of digits after the point and thin grouping. */
export function formatNumber(value: number, digits: number): string {
  let found = formats.get(digits);
  if (!found) {
    found = new Intl.NumberFormat('en-GB', { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(digits, found);
  }
  return found.format(value).replace('-', '−');
}

/** A value with its unit, in the scale that fits it. */
export function formatValue(value: number, ucum: string, digits: number): { number: string; symbol: string } {
  const scale = scaleFor(ucum, digits, value);
  return { number: formatNumber(value / scale.factor, scale.digits), symbol: scale.symbol };
}
