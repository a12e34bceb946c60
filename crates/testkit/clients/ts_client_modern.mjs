// Drives an MCP server with the TypeScript SDK 2.x (modern revision, legacy as its fallback). Usage and
// output: see py_client.py.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { main, wrap } from './plan.mjs';

/** `legacy` and `auto` are the SDK's own words; a revision is pinned. */
const negotiation = (mode) => (mode === 'legacy' || mode === 'auto' ? mode : { pin: mode });

await main(async (plan, options) => {
    const client = new Client(
        { name: 'ts_client_modern', version: '1' },
        { versionNegotiation: { mode: negotiation(plan.mode ?? 'auto') } },
    );
    const transport = plan.stdio
        ? new StdioClientTransport({ command: plan.stdio[0], args: plan.stdio.slice(1), env: plan.env })
        : new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers: plan.headers } });
    await client.connect(transport, options);
    return wrap(client, {
        call: (params, more) => client.callTool(params, more),
        revision: () => client.getNegotiatedProtocolVersion(),
        close: () => client.close(),
    });
});
