// Passkeys: the browser's ceremony between two requests. Binary values travel as base64url.
import { api, call } from './client';

interface Challenge {
  challenge: string;
  host: string;
  known: string[];
  handle?: string | null;
}

/** The person did not want to, or the authenticator could not; nothing was sent. */
export class NoPasskey extends Error {
  constructor(cause: unknown) {
    super('no passkey', { cause });
    this.name = 'NoPasskey';
  }
}

/** Whether this page's address can use passkeys of the instance. */
export function canUsePasskeys(host: string | null | undefined): boolean {
  return host != null && location.hostname === host && 'credentials' in navigator;
}

export function toBytes(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

export function fromBytes(bytes: ArrayBuffer): string {
  const plain = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(plain).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

const known = (ids: string[]) => ids.map((id) => ({ type: 'public-key' as const, id: toBytes(id) }));

/** Asks the browser to show a passkey for a challenge. */
export async function show(challenge: Challenge) {
  const credential = await navigator.credentials
    .get({
      publicKey: {
        challenge: toBytes(challenge.challenge),
        rpId: challenge.host,
        allowCredentials: known(challenge.known),
        userVerification: 'required',
      },
    })
    .catch((cause: unknown) => {
      throw new NoPasskey(cause);
    });
  if (!(credential instanceof PublicKeyCredential)) throw new NoPasskey(credential);
  const response = credential.response as AuthenticatorAssertionResponse;
  return {
    id: fromBytes(credential.rawId),
    client_data: fromBytes(response.clientDataJSON),
    authenticator_data: fromBytes(response.authenticatorData),
    signature: fromBytes(response.signature),
  };
}

/** Makes a passkey for the one who is signed in; answers the recovery codes that the first factor brings. */
export async function addPasskey(name: string, email: string) {
  const challenge = await call(api.POST('/api/v1/auth/passkeys/challenge'));
  const credential = await navigator.credentials
    .create({
      publicKey: {
        challenge: toBytes(challenge.challenge),
        rp: { id: challenge.host, name: 'Fieldkeep' },
        user: { id: toBytes(challenge.handle ?? ''), name: email, displayName: email },
        pubKeyCredParams: [-7, -8, -257].map((alg) => ({ type: 'public-key' as const, alg })),
        excludeCredentials: known(challenge.known),
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        attestation: 'none',
      },
    })
    .catch((cause: unknown) => {
      throw new NoPasskey(cause);
    });
  if (!(credential instanceof PublicKeyCredential)) throw new NoPasskey(credential);
  const response = credential.response as AuthenticatorAttestationResponse;
  const body = {
    name,
    client_data: fromBytes(response.clientDataJSON),
    attestation: fromBytes(response.attestationObject),
  };
  return call(api.POST('/api/v1/auth/passkeys', { body }));
}

export async function signInByPasskey() {
  const challenge = await call(api.POST('/api/v1/auth/passkey/challenge'));
  return call(api.POST('/api/v1/auth/passkey', { body: await show(challenge) }));
}

export async function showSecondPasskey() {
  const challenge = await call(api.POST('/api/v1/auth/second-factor/challenge'));
  return call(api.POST('/api/v1/auth/second-factor', { body: { passkey: await show(challenge) } }));
}

export async function proveByPasskey() {
  const challenge = await call(api.POST('/api/v1/auth/second-factor/challenge'));
  return call(api.POST('/api/v1/auth/prove', { body: { passkey: await show(challenge) } }));
}
