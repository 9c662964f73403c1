// Light, dark or as the system says: kept in this browser only.

export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const KEY = 'fieldkeep.theme';
const listeners = new Set<() => void>();

function isTheme(value: unknown): value is Theme {
  return THEMES.some((theme) => theme === value);
}

export function theme(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return isTheme(kept) ? kept : 'system';
  } catch {
    // Storage may be forbidden; the system's choice is a fine answer.
    return 'system';
  }
}

const system = matchMedia('(prefers-color-scheme: dark)');

/** Puts the colours in force, and keeps them in step with the system. Called once, before anything is drawn. */
export function startTheme(): void {
  apply();
  system.addEventListener('change', apply);
}

function apply(): void {
  const chosen = theme();
  const dark = chosen === 'dark' || (chosen === 'system' && system.matches);
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  for (const listener of listeners) listener();
}

export function setTheme(chosen: Theme): void {
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // It then holds for this page only.
  }
  apply();
}

/** Tells when the colours have changed: by choice here, or by the system. */
export function onThemeChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
