// A person with a browser, as far as an authorization server can tell: follows redirects, keeps cookies, fills in forms.
// No page that it meets needs a script. As a program: person.mjs URL WHO, where WHO is JSON as in `walk`; prints the
// last URL that it was sent to.

import { pathToFileURL } from 'node:url';

const STEPS_MAX = 20;

/** The text of an attribute, with the entities that servers write. */
function attribute(tag, name) {
    const found = tag.match(new RegExp(`\\s${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s>]+))`, 'i'));
    const text = found && (found[1] ?? found[2] ?? found[3]);
    return text?.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&#x27;', "'").replaceAll('&#38;', '&').replaceAll('&#34;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
}

/** The forms of a page: where each goes, what it holds, and its buttons. */
function forms(html) {
    return [...html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, head, body]) => ({
        action: attribute(` ${head}`, 'action') ?? '',
        method: (attribute(` ${head}`, 'method') ?? 'get').toLowerCase(),
        inputs: [...body.matchAll(/<input\b[^>]*>/gi)].map(([tag]) => ({
            name: attribute(tag, 'name'),
            type: (attribute(tag, 'type') ?? 'text').toLowerCase(),
            value: attribute(tag, 'value') ?? '',
            checked: /\schecked\b/i.test(tag),
        })),
        buttons: [...body.matchAll(/<button\b([^>]*)>([\s\S]*?)<\/button>/gi)].map(([, tag, text]) => ({
            name: attribute(` ${tag}`, 'name'),
            value: attribute(` ${tag}`, 'value') ?? '',
            text: text.replace(/<[^>]*>/g, '').trim(),
        })),
    }));
}

const REFUSES = /\b(deny|cancel|refuse|reject|decline|abort|sign out|log ?out)\b/i;

/** What the person sends: the form that asks what they know, or else the one that goes on. */
function fill(form, who) {
    const fields = new URLSearchParams();
    for (const input of form.inputs) {
        if (!input.name) continue;
        if (input.type === 'hidden') fields.append(input.name, input.value);
        else if (input.type === 'checkbox' || input.type === 'radio') {
            if (input.checked) fields.append(input.name, input.value || 'on');
        } else if (input.type !== 'submit') fields.append(input.name, who[input.name] ?? input.value);
    }
    const button = form.buttons.find(({ name, value, text }) => !REFUSES.test(`${name} ${value} ${text}`));
    if (button?.name) fields.append(button.name, button.value);
    return fields;
}

function fits(form, who) {
    const asked = form.inputs.filter(({ type, name }) => name && !['hidden', 'submit', 'checkbox', 'radio'].includes(type));
    const goesOn = form.buttons.length === 0 || form.buttons.some(({ name, value, text }) => !REFUSES.test(`${name} ${value} ${text}`));
    return goesOn && asked.every(({ name }) => name in who);
}

/**
 * From `url` to the page that says nothing to do any more. `who` has the fields that the person can fill in, by name:
 * { name, login, password, code }, `until`: a path where they
 * stop, `provider`: whose sign-in they choose where there is a choice. Yields the last URL, its status, its text, and the pages on the way.
 */
export async function walk(url, who, cookies = new Map()) {
    const way = [];
    let request = { url: new URL(url), method: 'GET' };
    for (let step = 0; step < STEPS_MAX; step += 1) {
        const jar = cookies.get(request.url.host) ?? new Map();
        cookies.set(request.url.host, jar);
        const headers = { accept: 'text/html', cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') };
        if (request.method === 'POST') {
            headers['content-type'] = 'application/x-www-form-urlencoded';
            headers.origin = request.url.origin;
        }
        const response = await fetch(request.url, { method: request.method, headers, body: request.body, redirect: 'manual' });
        for (const line of response.headers.getSetCookie()) {
            const [pair] = line.split(';');
            const at = pair.indexOf('=');
            if (/max-age=0\b/i.test(line) || /expires=Thu, 01 Jan 1970/i.test(line)) jar.delete(pair.slice(0, at).trim());
            else jar.set(pair.slice(0, at).trim(), pair.slice(at + 1));
        }
        const text = await response.text();
        way.push(`${request.method} ${request.url.origin}${request.url.pathname} ${response.status}`);
        const location = response.headers.get('location');
        if (location && response.status >= 300 && response.status < 400) {
            request = { url: new URL(location, request.url), method: 'GET' };
            continue;
        }
        const goesOn = text.match(/<meta http-equiv="refresh" content="0;url=([^"]+)"/i);
        if (goesOn) {
            request = { url: new URL(goesOn[1].replaceAll('&#38;', '&').replaceAll('&amp;', '&'), request.url), method: 'GET' };
            continue;
        }
        // Where they wanted to be, or told that something is wrong.
        const isThere = (who.until && request.url.pathname.startsWith(who.until)) || text.includes('role="alert"');
        const door = who.provider && text.match(new RegExp(`href="([^"]*/sign-in/${who.provider}(?:\\?[^"]*)?)"`));
        if (door) {
            request = { url: new URL(door[1].replaceAll('&#38;', '&').replaceAll('&amp;', '&'), request.url), method: 'GET' };
            continue;
        }
        const form = response.ok && !isThere && forms(text).find((form) => fits(form, who));
        if (!form) return { url: request.url.href, status: response.status, text, way };
        const fields = fill(form, who);
        const target = new URL(form.action || request.url.href, request.url);
        if (form.method === 'post') request = { url: target, method: 'POST', body: fields.toString() };
        else {
            target.search = fields.toString();
            request = { url: target, method: 'GET' };
        }
    }
    throw new Error(`no end after ${STEPS_MAX} pages: ${way.join(', ')}`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    const { url, status, text, way } = await walk(process.argv[2], JSON.parse(process.argv[3]));
    console.log(JSON.stringify({ url, status, way, text: text.slice(0, 2000) }));
}
