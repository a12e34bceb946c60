// The TypeScript SDK 1.x's own OAuth flow. Plan and output: see oauth.mjs.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { main } from './oauth.mjs';

await main(async (plan, { provider, code }) => {
    const transport = () => new StreamableHTTPClientTransport(new URL(plan.url), { authProvider: provider });
    const first = transport();
    try {
        await new Client({ name: 'oauth_ts', version: '1' }).connect(first);
        throw new Error('it was let in without a token');
    } catch (error) {
        if (!(error instanceof UnauthorizedError)) throw error;
    }
    await first.finishAuth((await code()).get('code'));
    const client = new Client({ name: 'oauth_ts', version: '1' });
    await client.connect(transport());
    return client;
});
