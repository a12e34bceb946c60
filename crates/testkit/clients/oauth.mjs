// What the OAuth clients in JavaScript share: a store for tokens, a loopback listener for the redirect, and a person.
//
// Plan (JSON in argv): { "url": the MCP endpoint, "person": who fills in the forms (see person.mjs) or null: then
//   { "authorize": URL } is printed for somebody else's browser, "call": { name, arguments } or nothing,
//   "client": { client_id, client_secret? } that is registered already, or nothing, "scope": what to ask for, or nothing }
// Prints { "tools": [names], "result": of the call, "tokens": which kinds it got, "way": pages, "registered": bool }.

import { createServer } from 'node:http';
import { randomBytes } from 'node:crypto';
import { walk } from './person.mjs';

const WAIT_MAX = 60_000;

/** Where the browser is sent back to. */
async function listen() {
    let arrived;
    const query = new Promise((resolve) => { arrived = resolve; });
    const server = createServer((request, response) => {
        const url = new URL(request.url, 'http://127.0.0.1');
        response.setHeader('content-type', 'text/html');
        response.end('<title>Done</title><p>You may close this window.</p>');
        if (url.pathname === '/callback') arrived(url.searchParams);
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { url: `http://127.0.0.1:${server.address().port}/callback`, query, server };
}

/**
 * An `OAuthClientProvider` of the TypeScript SDK, and `code()`: what the browser brought back.
 */
export async function provider(plan) {
    const back = await listen();
    const kept = { way: [], registered: false };
    const state = randomBytes(16).toString('hex');
    const self = {
        redirectUrl: back.url,
        clientMetadata: {
            client_name: 'Test client', redirect_uris: [back.url], grant_types: ['authorization_code', 'refresh_token'],
            response_types: ['code'], token_endpoint_auth_method: 'none', application_type: 'native', ...(plan.scope && { scope: plan.scope }),
        },
        state: () => state,
        clientInformation: () => kept.client ?? plan.client,
        saveClientInformation(client) {
            kept.client = client;
            kept.registered = true;
        },
        tokens: () => kept.tokens,
        saveTokens(tokens) { kept.tokens = tokens; },
        saveCodeVerifier(verifier) { kept.verifier = verifier; },
        codeVerifier: () => kept.verifier,
        async redirectToAuthorization(url) {
            if (!plan.person) {
                console.log(JSON.stringify({ authorize: url.href }));
                return;
            }
            const end = await walk(url, plan.person);
            kept.way = end.way;
            if (!end.url.startsWith(back.url)) throw new Error(`the person ended at ${end.url} (${end.status}): ${end.text.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ').slice(0, 500)}; ${end.way.join(', ')}`);
        },
    };
    const code = async () => {
        const late = new Promise((_, reject) => setTimeout(() => reject(new Error('nobody came back')), WAIT_MAX).unref());
        const query = await Promise.race([back.query, late]);
        if (query.get('error')) throw new Error(`${query.get('error')}: ${query.get('error_description')}`);
        if (query.get('state') !== state) throw new Error('another state came back');
        return query;
    };
    return { provider: self, kept, code, close: () => back.server.close() };
}

/** The whole of it; `connect(provider, code)` yields a connected client of one SDK. */
export async function main(connect) {
    const plan = JSON.parse(process.argv[2]);
    try {
        const oauth = await provider(plan);
        const client = await connect(plan, oauth);
        const tools = (await client.listTools()).tools.map(({ name }) => name);
        const result = plan.call && await client.callTool(plan.call);
        await client.close();
        oauth.close();
        const { tokens, way, registered } = oauth.kept;
        console.log(JSON.stringify({ tools, result, tokens: { type: tokens.token_type, refresh: Boolean(tokens.refresh_token), scope: tokens.scope }, way, registered }));
        process.exit(0);
    } catch (error) {
        console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
        process.exit(1);
    }
}
