// Drives an MCP server with the TypeScript SDK 1.x (legacy revisions). Usage and output: see py_client.py.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { main, wrap } from './plan.mjs';

await main(async (plan, options) => {
    const client = new Client({ name: 'ts_client', version: '1' });
    const transport = plan.stdio
        ? new StdioClientTransport({ command: plan.stdio[0], args: plan.stdio.slice(1), env: plan.env })
        : new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers: plan.headers } });
    // This SDK tells the transport which revision was agreed on, and nobody else.
    const told = transport.setProtocolVersion?.bind(transport);
    let revision;
    transport.setProtocolVersion = (version) => {
        revision = version;
        told?.(version);
    };
    await client.connect(transport, options);
    return wrap(client, {
        call: (params, more) => client.callTool(params, undefined, more),
        revision: () => revision,
        close: async () => {
            if (!plan.stdio) await transport.terminateSession();
            await client.close();
        },
    });
});
