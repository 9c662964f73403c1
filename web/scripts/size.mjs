// The size gate: what a browser must load for each page, against the budget. Kilobytes are 1000 bytes of gzip.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const root = new URL('..', import.meta.url).pathname;
const dist = join(root, 'dist');
const manifest = JSON.parse(readFileSync(join(root, 'test-results/manifest.json'), 'utf8'));

const sizes = new Map();
const gz = (file) => {
  if (!sizes.has(file)) sizes.set(file, gzipSync(readFileSync(join(dist, file)), { level: 9 }).length);
  return sizes.get(file);
};

/** All scripts and styles that these entries need before they can run. */
function closure(keys) {
  const seen = new Set();
  const files = new Set();
  const visit = (key) => {
    if (seen.has(key)) return;
    seen.add(key);
    const entry = manifest[key];
    if (!entry) throw new Error(`size: no chunk ${key}`);
    files.add(entry.file);
    for (const style of entry.css ?? []) files.add(style);
    for (const next of entry.imports ?? []) visit(next);
  };
  keys.forEach(visit);
  return files;
}

const page = (name) => `src/pages/${name}.tsx`;
const START = 'index.html';
const SHELL = [START, page('ProjectShell'), page('Overview')];
const sum = (files, suffix) =>
  [...files].filter((file) => file.endsWith(suffix)).reduce((n, file) => n + gz(file), 0);

const checks = [];
const check = (what, bytes, limitKb) => checks.push({ what, kb: bytes / 1000, limitKb });

check('sign-in, scripts', sum(closure([START, page('SignIn')]), '.js'), 130);
check('shell with overview, scripts', sum(closure(SHELL), '.js'), 210);
const shell = closure(SHELL);
for (const name of ['Projects', 'Devices', 'DevicePage', 'AddLogger', 'ElementPage', 'NotFound']) {
  const own = [...closure([START, page(name)])].filter((file) => !shell.has(file));
  check(`${name} beyond the shell, scripts`, sum(own, '.js'), 60);
}
const all = readdirSync(dist, { recursive: true }).filter((file) => statSync(join(dist, file)).isFile());
check('all styles', sum(all, '.css'), 12);
check(
  'fonts, as they are',
  all.filter((f) => f.endsWith('.woff2')).reduce((n, f) => n + statSync(join(dist, f)).size, 0),
  50,
);
check(
  'everything embedded',
  all.reduce((n, f) => n + statSync(join(dist, f)).size, 0),
  4_000,
);

let failed = false;
for (const { what, kb, limitKb } of checks) {
  const over = kb > limitKb;
  failed ||= over;
  console.log(
    `${over ? 'OVER' : 'ok  '} ${kb.toFixed(1).padStart(7)} of ${String(limitKb).padStart(4)} kB  ${what}`,
  );
}
if (failed) {
  console.error('size: over budget. First look for locales and imports that a page does not need.');
  process.exit(1);
}
