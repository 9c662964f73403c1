// The first walk a newcomer takes: link, password, project, device, a chart that moves; then zoom by key and by drag, Back,
// dark, phone, table, signing out and in again. Runs against a server whose first project has a logger reporting live.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect, open, PHONE, picture, seriesPixels, setting, until } from './browser.mjs';

const PASSWORD = 'walks along the river at first light';

const link = setting('FIELDKEEP_LINK');
const origin = new URL(setting('FIELDKEEP_URL')).origin;

let browser;
let page;
let faults;
let email;

before(async () => {
  ({ browser, page, faults } = await open(origin));
});

after(async () => {
  if (page) await picture(page, 'last-seen');
  await browser?.close();
});

/** Steps build on each other: after one has failed, the rest would only repeat it. */
let broken = false;
function step(name, run) {
  test(name, { timeout: 180_000 }, async (t) => {
    if (broken) return t.skip('an earlier step failed');
    broken = true;
    await run();
    assert.deepEqual(faults, [], 'nothing may go wrong on the way');
    broken = false;
  });
}

const caption = () => page.getByTestId('caption').textContent();
const pointsIn = (text) => Number(/^([\d,]+) point/.exec(text)?.[1]?.replaceAll(',', '') ?? Number.NaN);

/** As the API answers. */
const PROPOSAL = {
  id: 7,
  epoch: '00000000000000ff',
  first: 10,
  last: 19,
  open_end: true,
  offset_us: -3_540_000_000,
  error_us: 2_006_000,
  evidence: { since: 9, at: 10, wall_us: 3_600_000_000, ticks_us: 60_000_000, declared: false },
  made: '2026-03-01T12:00:00Z',
  state: 'open',
  decided: null,
  actor: null,
  reason: null,
};
const HELD = {
  epoch: '00000000000000ff',
  first: 20,
  last: 29,
  batches: 2,
  records: 10,
  reason: 'before_2000',
  boot: 3,
  ticks_us: 60_000_000,
  from: '1970-01-01T00:01:00Z',
  to: '1970-01-01T00:02:00Z',
  received: '2026-03-01T12:00:00Z',
  proposed: {
    offset_us: 1_772_366_280_000_000,
    error_us: null,
    from: '2026-03-01T11:59:00Z',
    to: '2026-03-01T12:00:00Z',
  },
};

step('the link signs in once and asks for a password', async () => {
  await page.goto(link);
  await page.getByRole('heading', { name: 'Choose a password' }).waitFor();
  assert.ok(!page.url().includes('#'), 'the token is taken out of the address');
  email = await page.getByLabel('E-mail').inputValue();
  await inspect(page, 'password');
  await page.getByLabel('New password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Keep this password' }).click();
  await page.waitForURL((url) => !url.pathname.endsWith('/sign-in'));
});

step('projects are listed with what is in them', async () => {
  await page.goto(`${origin}/app/projects`);
  await page
    .getByRole('link', { name: /devices?/ })
    .first()
    .waitFor();
  await inspect(page, 'projects');
  await page
    .getByRole('link', { name: /devices?/ })
    .first()
    .click();
});

step('the overview shows devices with state and values', async () => {
  await page.getByText('Reporting', { exact: true }).first().waitFor({ timeout: 60_000 });
  await page
    .getByText(/ ago|just now/)
    .first()
    .waitFor();
  await inspect(page, 'overview');
});

step('the device list leads to a real logger', async () => {
  await page.getByRole('link', { name: 'Devices', exact: true }).first().click();
  const row = page
    .getByRole('row')
    .filter({ hasText: 'Reporting' })
    .filter({ hasNotText: 'simulated' })
    .first();
  await row.waitFor();
  await inspect(page, 'devices');
  await row.getByRole('link').first().click();
  await page.getByRole('heading', { name: 'Channels and their elements' }).waitFor();
  await inspect(page, 'device');
});

step('an element is drawn and grows by itself', async () => {
  const table = page.getByRole('table');
  await table.getByRole('row').nth(1).getByRole('link').first().click();
  await page.getByRole('application').waitFor();
  await page.getByText('Live', { exact: true }).waitFor();
  const ink = await until(
    'series colour on the canvas',
    () => seriesPixels(page),
    (found) => found > 20,
  );
  const count = await until(
    'a count in the caption',
    async () => pointsIn(await caption()),
    (n) => n > 0,
  );
  await until(
    'a growing count',
    async () => pointsIn(await caption()),
    (n) => n > count,
  );
  const latest = page.getByTestId('latest').locator('xpath=..').locator('time');
  const first = await latest.getAttribute('datetime');
  await until(
    'a newer latest value',
    () => latest.getAttribute('datetime'),
    (time) => time > first,
  );
  assert.ok((await seriesPixels(page)) >= ink * 0.5, 'the line stays on the canvas');
  await inspect(page, 'element');
});

step('zoom by keyboard is an address, and Back undoes it', async () => {
  const live = page.url();
  await page.getByRole('application').focus();
  await page.keyboard.press('+');
  await page.waitForURL(/from=/);
  await page.getByRole('button', { name: 'Go live' }).waitFor();
  await page.keyboard.press('ArrowLeft');
  const zoomed = page.url();
  await page.waitForURL((url) => url.href !== zoomed);
  await page.goBack();
  await page.waitForURL(zoomed);
  await page.goBack();
  await page.waitForURL(live);
  await page.getByText('Live', { exact: true }).waitFor();
});

step('zoom by drag pauses, Go live goes on', async () => {
  const live = page.url();
  const plot = await page.locator('.chart .u-over').boundingBox();
  const y = plot.y + plot.height / 2;
  await page.mouse.move(plot.x + plot.width * 0.9, y);
  await page.mouse.down();
  await page.mouse.move(plot.x + plot.width * 0.95, y, { steps: 5 });
  await page.mouse.move(plot.x + plot.width * 0.99, y, { steps: 5 });
  await page.mouse.up();
  await page.waitForURL(/from=/);
  const { searchParams } = new URL(page.url());
  const span = Date.parse(searchParams.get('to')) - Date.parse(searchParams.get('from'));
  assert.ok(span > 200_000 && span < 500_000, `a tenth of an hour, not ${span / 1_000} s`);
  await picture(page, 'zoomed');
  await page.goBack();
  await page.waitForURL(live);
  await page.mouse.move(plot.x + plot.width / 2, y);
  await page.keyboard.down('Control');
  await page.mouse.wheel(0, -300);
  await page.keyboard.up('Control');
  await page.waitForURL(/from=/);
  await page.getByRole('button', { name: 'Go live' }).click();
  await page.waitForURL(/last=/);
});

step('the table says what the chart draws', async () => {
  await page.getByRole('radio', { name: 'Table' }).click();
  await page.getByRole('columnheader', { name: /Time|Bucket from/ }).waitFor();
  assert.ok((await page.getByRole('row').count()) > 1, 'rows are there');
  await inspect(page, 'table');
  await page.getByRole('radio', { name: 'Chart' }).click();
});

step('dates can be typed', async () => {
  await page.getByRole('button', { name: 'Dates' }).click();
  await page.getByLabel('From').waitFor();
  await inspectOpen('dates');
  await page.getByRole('button', { name: 'Show', exact: true }).click();
  await page.waitForURL(/from=/);
});

/** Popovers close when the window changes its size: one look is enough. */
async function inspectOpen(name) {
  await picture(page, name);
}

step('all data, dark, and on a phone', async () => {
  await page.getByRole('radio', { name: 'All data, live' }).click();
  await page.waitForURL(/last=all/);
  await until(
    'a drawn picture',
    () => seriesPixels(page),
    (found) => found > 20,
  );
  await page.getByRole('button', { name: /^Account of/ }).click();
  await page.getByRole('menuitemradio', { name: 'Dark' }).click();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await page.keyboard.press('Escape');
  await until(
    'the line in the dark colour',
    () => seriesPixels(page),
    (found) => found > 20,
  );
  await page.setViewportSize(PHONE);
  await picture(page, 'all-phone-dark');
});

step('adding a logger gives one line to copy', async () => {
  await page.setViewportSize({ width: 1366, height: 850 });
  await page.getByRole('link', { name: 'Devices', exact: true }).first().click();
  await page.getByRole('link', { name: 'Add a logger' }).click();
  await page.getByLabel('Name of the logger').fill('Walk');
  await page.getByRole('button', { name: 'Make the line' }).click();
  await page.getByText(/fieldkeep-logger enroll 'fk1:/).waitFor();
  await page.getByText('Listening.').waitFor();
  await picture(page, 'add-logger');
});

step('a device whose clock was wrong shows what waits, and a decision asks for its reason', async () => {
  // What the cloud would say of such a device; deciding is tried against the real one elsewhere.
  const asked = [];
  const wait = { proposals: [PROPOSAL], held: [HELD], stamps: [], more_held: false };
  const clock = /\/devices\/[^/]+\/clock(\/.*)?$/;
  await page.route(clock, async (route) => {
    if (route.request().method() === 'POST') {
      asked.push([
        new URL(route.request().url()).pathname.split('/clock/')[1],
        route.request().postDataJSON(),
      ]);
      wait.proposals = [];
      return route.fulfill({ json: { batches: 1, from: null, to: null } });
    }
    return route.fulfill({ json: wait });
  });
  await page.getByRole('link', { name: 'Devices', exact: true }).first().click();
  await page.getByRole('row').nth(1).getByRole('link').first().click();
  await page
    .getByText('Between records 9 and 10, its clock went on by 1 h and its ticks by 1 min.')
    .waitFor();
  await page.getByText('Records 20 to 29').waitFor();
  await inspect(page, 'device-clock');
  const confirm = page.getByRole('button', { name: 'Confirm' });
  assert.ok(await confirm.isDisabled(), 'nothing is decided without a reason');
  await page.getByLabel('Reason').first().fill('summer time');
  await confirm.click();
  await confirm.waitFor({ state: 'detached' });
  assert.deepEqual(asked, [['proposals/7/confirm', { reason: 'summer time' }]]);
  await page.unroute(clock);
});

step('a simulated device says so on its page and at its charts, also when it is disabled', async () => {
  await page.getByRole('button', { name: /^Account of/ }).click();
  await page.getByRole('menuitemradio', { name: 'As the system' }).click();
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'Devices', exact: true }).first().click();
  const row = page.getByRole('row').filter({ hasText: 'simulated' }).first();
  await row.getByText('simulated', { exact: true }).waitFor();
  await row.getByRole('link').first().click();
  await page.getByRole('heading', { name: 'Channels and their elements' }).waitFor();
  await page.getByText('simulated', { exact: true }).first().waitFor();
  const status = await page.evaluate(async () => {
    const api = location.pathname.replace(/^\/app\/p\//, '/api/v1/projects/');
    const answer = await fetch(api, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json', 'X-Fieldkeep': '1' },
      body: JSON.stringify({ enabled: false }),
    });
    return answer.status;
  });
  assert.ok(status < 300, `disabling answered ${status}`);
  await page.getByText('Disabled', { exact: true }).waitFor();
  await inspect(page, 'device-disabled');
  await page.getByRole('table').getByRole('row').nth(1).getByRole('link').first().click();
  await page.getByRole('application').waitFor();
  await page.getByText('simulated', { exact: true }).waitFor();
  await picture(page, 'element-simulated');
});

step('members are shown, and the trail tells what was done', async () => {
  await page.goto(`${origin}/app/projects`);
  await page.getByRole('link', { name: /Demo/ }).first().click();
  await page.getByRole('link', { name: 'Members' }).click();
  await page.getByRole('button', { name: 'Remove' }).first().click();
  await page.getByRole('button', { name: /^Remove ./ }).waitFor();
  await inspect(page, 'members');
  await page.getByRole('link', { name: 'Trail' }).click();
  await page.getByLabel('What', { exact: true }).selectOption('device');
  await page.getByRole('button', { name: 'Show' }).click();
  await page.getByText('device.enrol').first().waitFor();
  await inspect(page, 'trail');
});

step('signing out ends it; a wrong password is refused in plain words; the right one returns', async () => {
  await page.getByRole('button', { name: /^Account of/ }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password').fill('not the password at all');
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByText('E-mail or password is not right.').waitFor();
  // The browser itself reports each refused request as an error; this one was asked for.
  faults.splice(0, faults.length, ...faults.filter((fault) => !/status of 401/.test(fault)));
  await inspect(page, 'sign-in');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL((url) => !url.pathname.endsWith('/sign-in'));
});
