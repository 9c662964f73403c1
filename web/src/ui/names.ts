// Names of elements where their device is already said.

const collator = new Intl.Collator('en', { numeric: true });

/** "River station Water level" is "Water level" beneath the heading "River station". */
export function nameWithin(element: string, device: string | undefined): string {
  if (!device || !element.startsWith(device)) return element;
  return /^[\s·:,–-]+(.+)$/.exec(element.slice(device.length))?.[1] ?? element;
}

/** In the order people look for them: by name, numbers by size. */
export function byName<T extends { name: string }>(things: T[]): T[] {
  return things.toSorted((a, b) => collator.compare(a.name, b.name));
}
