// The second factor as its owner meets it: a passkey made with Chromium's virtual authenticator on https://localhost, recovery
// codes, signing in with the passkey alone, an authenticator app beside it, sessions, and proving once more who one is.
// Runs after first-light, whose password it uses.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { inspect, open, picture, setting } from './browser.mjs';

const EMAIL = 'operator@localhost';
const PASSWORD = 'walks along the river at first light';
const origin = new URL(setting('FIELDKEEP_URL')).origin;

let browser;
let page;
let faults;

before(async () => {
  ({ browser, page, faults } = await open(origin));
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
});

after(async () => {
  if (page) await picture(page, 'second-factor-last-seen');
  await browser?.close();
});

/** Steps build on each other: after one has failed, the rest would only repeat it. */
let broken = false;
function step(name, run) {
  test(name, { timeout: 120_000 }, async (t) => {
    if (broken) return t.skip('an earlier step failed');
    broken = true;
    await run();
    // A browser writes every refusal to the console, also those that belong to the way.
    const wrong = faults.filter((fault) => !/status of (401|403|422)/.test(fault));
    assert.deepEqual(wrong, [], 'nothing may go wrong on the way');
    broken = false;
  });
}

async function byPassword() {
  await page.goto(`${origin}/app/sign-in`);
  await page.getByLabel('E-mail').fill(EMAIL);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

const signOut = async () => {
  await page.getByRole('button', { name: /^Account of/ }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
};

/** RFC 6238, as an authenticator app does it. */
function code(secret, now = Date.now()) {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const bits = [...secret].map((letter) => letters.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(now / 30_000)));
  const tag = createHmac('sha1', key).update(counter).digest();
  const number = tag.readUInt32BE(tag[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

let recovery;

step('the account page offers passkeys, and says that this is a demo', async () => {
  await byPassword();
  await page.waitForURL((url) => !url.pathname.endsWith('/sign-in'));
  await page.goto(`${origin}/app/account`);
  await page.getByText('This is a demo').first().waitFor();
  await page.getByRole('button', { name: 'Add a passkey' }).waitFor();
  await inspect(page, 'account');
});

step('a passkey is made and brings recovery codes', async () => {
  await page.getByLabel('Name of the passkey').fill('Walking stick');
  await page.getByRole('button', { name: 'Add a passkey' }).click();
  await page.getByTestId('codes').waitFor();
  recovery = await page.getByTestId('codes').locator('code').allTextContents();
  assert.equal(recovery.length, 10);
  await page.getByText('Walking stick').waitFor();
  await inspect(page, 'account-codes');
  await page.getByRole('button', { name: 'I have printed them' }).click();
  await page.getByText(/^Printed on/).waitFor();
});

step('the passkey alone signs in', async () => {
  await page.goto(`${origin}/app/projects`);
  await signOut();
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
  await page.waitForURL((url) => !url.pathname.endsWith('/sign-in'));
});

step('the password alone no longer does: a recovery code or the passkey is asked for', async () => {
  await signOut();
  await byPassword();
  await page.getByRole('heading', { name: 'Second factor' }).waitFor();
  await inspect(page, 'second-factor');
  await page.goto(`${origin}/app/projects`);
  await page.getByRole('heading', { name: 'Second factor' }).waitFor();
  await page.getByLabel('Code').fill('000000');
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('alert').waitFor();
  await page.getByLabel('Code').fill(recovery[0]);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL((url) => !url.pathname.endsWith('/sign-in'));
  await signOut();
  await byPassword();
  await page.getByRole('heading', { name: 'Second factor' }).waitFor();
  await page.getByRole('button', { name: 'Use a passkey' }).click();
  await page.waitForURL((url) => !url.pathname.endsWith('/sign-in'));
});

step('an authenticator app is set up by what it shows', async () => {
  await page.goto(`${origin}/app/account`);
  await page.getByText('9 codes are left.').waitFor();
  await page.getByRole('button', { name: 'Set up an app' }).click();
  await page.getByRole('img', { name: 'QR code' }).waitFor();
  const secret = await page.locator('code.select-all').first().textContent();
  await inspect(page, 'account-app');
  await page.getByLabel('Six digits that the app shows').fill(code(secret));
  await page.getByRole('button', { name: 'Confirm' }).click();
  await page.getByText(/^Set up on/).waitFor();
});

step('sessions are shown and ended', async () => {
  await page.getByText('Here', { exact: true }).waitFor();
  const others = page.getByRole('button', { name: 'Sign out everywhere else' });
  if (await others.isVisible()) {
    await others.click();
    await others.waitFor({ state: 'detached' });
  }
});

step('the app and the passkey can be removed', async () => {
  await page.getByRole('button', { name: 'Remove: Authenticator app' }).click();
  await page.getByRole('button', { name: 'Set up an app' }).waitFor();
  await page.getByRole('button', { name: 'Remove: Walking stick' }).click();
  await page.getByText('Walking stick').waitFor({ state: 'detached' });
});
