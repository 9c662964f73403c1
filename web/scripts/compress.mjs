// Writes a .br and a .gz beside each file of dist, as the server embeds them, and takes the bundler's manifest out.
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const root = new URL('..', import.meta.url).pathname;
const dist = join(root, 'dist');

mkdirSync(join(root, 'test-results'), { recursive: true });
renameSync(join(dist, 'manifest.json'), join(root, 'test-results/manifest.json'));

/** Fonts and pictures are compressed already. */
const packs = (name) => /\.(html|js|css|svg|json|txt)$/.test(name);

for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !packs(entry.name)) continue;
  const path = join(entry.parentPath, entry.name);
  const plain = readFileSync(path);
  const quality = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
  for (const [suffix, packed] of [
    ['.br', brotliCompressSync(plain, { params: quality })],
    ['.gz', gzipSync(plain, { level: 9 })],
  ]) {
    // A variant that is no smaller would only cost room in the binary.
    if (packed.length < plain.length) writeFileSync(path + suffix, packed);
  }
}
