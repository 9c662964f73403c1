// Looks up the app's words. Keys are checked by the compiler; `_one` and `_other` are chosen by `count`.
import { en } from './en';

type Raw = keyof typeof en;
type Plural<K> = K extends `${infer Base}_${'one' | 'other'}` ? Base : K;

export type Key = Plural<Raw>;
export type Params = Record<string, string | number>;

const plurals = new Intl.PluralRules('en');
const numbers = new Intl.NumberFormat('en-GB');

export function t(key: Key, params: Params = {}): string {
  const words: Record<string, string> = en;
  const count = params.count;
  const text =
    (typeof count === 'number' ? words[`${key}_${plurals.select(count)}`] : undefined) ?? words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = params[name];
    if (value === undefined) return whole;
    return typeof value === 'number' ? numbers.format(value) : value;
  });
}
