// Bytes of passkeys, there and back.
import { expect, test } from 'vitest';
import { fromBytes, toBytes } from './passkey';

test('base64url there and back', () => {
  const bytes = Uint8Array.from([0, 251, 255, 254, 7]);
  const text = fromBytes(bytes.buffer);
  expect(text).toBe('APv__gc');
  expect(toBytes(text)).toEqual(bytes);
});
