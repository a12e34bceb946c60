// The TypeScript SDK 2.x's own OAuth flow. Plan and output: see oauth.mjs.

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { main } from './oauth.mjs';

await main(async (plan, { provider, code }) => {
    const transport = () => new StreamableHTTPClientTransport(new URL(plan.url), { authProvider: provider });
    const first = transport();
    try {
        await new Client({ name: 'oauth_ts_modern', version: '1' }).connect(first);
        throw new Error('it was let in without a token');
    } catch (error) {
        if (!(error instanceof UnauthorizedError)) throw error;
    }
    const query = await code();
    await first.finishAuth(query);
    const client = new Client({ name: 'oauth_ts_modern', version: '1' });
    await client.connect(transport());
    return client;
});
