// A person in front of Debian's Chromium, from the first start of a gate to a connected upstream.
//
// Usage: browser.mjs STORY, where STORY is JSON: { "setup": the link that the gate printed, "gate": its origin,
//   "name", "email", "password", "again": the password after the reset, "mails": the file that smtp_server.mjs fills,
//   "upstream": the one to connect, "there": { name, password } of the account that its own server knows,
//   "tool": one of its tools, "pictures": a folder }
// Prints what was seen: { "tools": of the client that was consented to, "text": what the upstream's tool said,
//   "complaints": what the browser complained about }. Exit code 1 and { "error" } if the story does not go on.

import { createHmac } from 'node:crypto';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const story = JSON.parse(process.argv[2]);
const WAIT_MAX = 30_000;
const STEP = 30_000;
const complaints = [];

/** RFC 6238, `ahead` steps from now. */
function code(secret, ahead = 0) {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
    const bits = [...secret.replace(/[^A-Z2-7]/g, '')].map((letter) => alphabet.indexOf(letter).toString(2).padStart(5, '0')).join('');
    const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / STEP) + ahead));
    const hash = createHmac('sha1', key).update(counter).digest();
    const number = hash.readUInt32BE(hash.at(-1) & 15) & 0x7fffffff;
    return String(number % 1_000_000).padStart(6, '0');
}

/** Looks until `look` yields something. */
async function until(what, look) {
    for (const end = Date.now() + WAIT_MAX; Date.now() < end;) {
        const found = await look();
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`waited in vain: ${what}`);
}

/** A client of another team that wants to be let in: the page that it opens, and what it sees afterwards. */
function client(call) {
    const script = join(dirname(process.argv[1]), 'oauth_ts_modern.mjs');
    const plan = { url: `${story.gate}/mcp`, person: null, call };
    const flags = ['--preserve-symlinks', '--preserve-symlinks-main'];
    const child = spawn('node', [...flags, script, JSON.stringify(plan)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async () => JSON.parse((await lines.next()).value ?? '{"error":"the client said nothing"}');
    return { authorize: async () => (await next()).authorize, seen: next };
}

async function tell(browser) {
    const context = await browser.newContext({ viewport: { width: 900, height: 1000 } });
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MAX);
    // A page that says no is no trouble of the page's own, and what the app's own page lacks (the app ends once it has
    // its code, and the browser still wants an icon) is none of the gate's.
    const refused = /^Failed to load resource: the server responded with a status of 4\d\d/;
    page.on('console', (message) => {
        const ours = !page.url().startsWith('http') || new URL(page.url()).pathname !== '/callback';
        if (ours && ['error', 'warning'].includes(message.type()) && !refused.test(message.text())) complaints.push(`${page.url()}: ${message.text()}`);
    });
    page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error}`));
    let shot = 0;
    const picture = async (name) => {
        shot += 1;
        if (story.pictures) await page.screenshot({ path: join(story.pictures, `${String(shot).padStart(2, '0')}-${name}.png`), fullPage: true });
    };
    const press = (name) => page.getByRole('button', { name, exact: true }).click();
    const heading = (name) => page.getByRole('heading', { level: 1, name }).waitFor();
    const signIn = async (name, password) => {
        await page.getByLabel('Name', { exact: true }).fill(name);
        await page.getByLabel('Password', { exact: true }).fill(password);
        await press('Sign in');
    };

    // The first start.
    await page.goto(story.setup);
    await picture('first-start');
    await page.getByLabel('Name', { exact: true }).fill(story.name);
    await page.getByLabel('E-mail address').fill(story.email);
    await page.getByLabel('Password', { exact: true }).fill('password1234');
    await press('Make the account');
    await page.getByRole('alert').waitFor();
    await picture('weak-password');
    await page.getByLabel('Password', { exact: true }).fill(story.password);
    await press('Make the account');
    await heading(story.name);
    await picture('account');

    // A code at each sign-in from now on.
    await press('Set it up');
    const secret = await page.locator('code.secret').innerText();
    await picture('enrol');
    await page.getByLabel('Code', { exact: true }).fill(code(secret));
    await press('Turn it on');
    const recovery = await page.locator('ul.codes li').allInnerTexts();
    await picture('recovery-codes');
    if (recovery.length !== 10) throw new Error(`${recovery.length} recovery codes`);
    await page.getByRole('link', { name: 'I have kept them' }).click();
    await press('Sign out');
    await page.goto(`${story.gate}/console/login`);
    await picture('sign-in');
    await signIn(story.name, 'not-the-password-of-anybody');
    await page.getByRole('alert').waitFor();
    await signIn(story.name, story.password);
    await heading('One more step');
    await picture('code');
    await page.getByLabel('Code', { exact: true }).fill('000000');
    await press('Sign in');
    await page.getByRole('alert').waitFor();
    await page.getByLabel('Code', { exact: true }).fill(code(secret, 1));
    await press('Sign in');
    await heading(story.name);

    // An app asks to be let in, and is.
    const app = client();
    await page.goto(await app.authorize());
    await page.getByText('Test client').first().waitFor();
    await picture('consent');
    await press('Allow');
    await page.waitForURL('**/callback?**');
    const { tools, error } = await app.seen();
    if (error) throw new Error(`the app: ${error}`);

    // The password is forgotten.
    await page.goto(`${story.gate}/console/account`);
    await press('Sign out');
    await page.goto(`${story.gate}/console/login`);
    await page.getByRole('link', { name: 'Forgot your password?' }).click();
    await page.getByLabel('Name or e-mail address').fill(story.email);
    await picture('forgotten');
    await press('Send the link');
    await heading('Look into your mail');
    const mail = await until('a mail comes', () => existsSync(story.mails) && readFileSync(story.mails, 'utf8').split('\n')[0]);
    const { to, data } = JSON.parse(mail);
    if (to[0] !== story.email) throw new Error(`the mail went to ${to}`);
    const link = data.replace(/=\r?\n/g, '').replace(/=3D/g, '=').match(/https?:\/\/\S+\/console\/reset\?\S+/);
    if (!link) throw new Error(`no link in the mail: ${data}`);
    await page.goto(link[0]);
    await picture('another-password');
    await page.getByLabel('New password', { exact: true }).fill(story.again);
    await press('Set the password');
    await heading('The password is set');
    await page.goto(link[0]);
    if (await page.getByLabel('New password', { exact: true }).count()) {
        await page.getByLabel('New password', { exact: true }).fill('third-copper-window-7-harbour');
        await press('Set the password');
        await page.getByRole('alert').waitFor();
    }
    await page.goto(`${story.gate}/console/login`);
    await signIn(story.name, story.again);
    await heading('One more step');
    await page.getByLabel('Code', { exact: true }).fill(recovery[0]);
    await press('Sign in');
    await heading(story.name);

    // An upstream that wants to know whom it serves.
    await page.goto(`${story.gate}/console/connect/${story.upstream}`);
    await picture('not-connected');
    await press('Connect');
    await signIn(story.there.name, story.there.password);
    await page.getByRole('button', { name: 'Allow', exact: true }).waitFor();
    await picture('consent-there');
    await press('Allow');
    await page.waitForURL(`${story.gate}/console/connect**`);
    await page.getByText('Connected').first().waitFor();
    await picture('connected');
    const again = client({ name: story.tool, arguments: {} });
    await page.goto(await again.authorize());
    await press('Allow');
    await page.waitForURL('**/callback?**');
    const { result, error: failed } = await again.seen();
    if (failed) throw new Error(`the app, once more: ${failed}`);
    return { tools, text: result.content?.[0]?.text, isError: result.isError ?? false };
}

const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    env: { ...process.env, HOME: mkdtempSync(join(tmpdir(), 'chromium-')) },
});
try {
    console.log(JSON.stringify({ ...await tell(browser), complaints }));
    await browser.close();
    process.exit(0);
} catch (error) {
    const page = browser.contexts()[0]?.pages()[0];
    if (page && story.pictures) await page.screenshot({ path: join(story.pictures, 'the-end.png'), fullPage: true });
    console.log(JSON.stringify({ error: String(error), at: page?.url(), complaints }));
    await browser.close();
    process.exit(1);
}
