// Drives an MCP server with the TypeScript SDK 1.x (legacy revisions). Usage and output: see py_client.py.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import { main, wrap } from './plan.mjs';

/** The SDK's transport opens a WebSocket as a browser does, without headers; node's can send them. */
function socketsSend(headers) {
    const Plain = globalThis.WebSocket;
    globalThis.WebSocket = class extends Plain {
        constructor(url, protocols) {
            super(url, { protocols, headers });
        }
    };
}

/** What the plan says carries messages. */
function transportOf(plan) {
    if (plan.stdio) return new StdioClientTransport({ command: plan.stdio[0], args: plan.stdio.slice(1), env: plan.env });
    const url = new URL(plan.url);
    const requestInit = { headers: plan.headers };
    switch (plan.transport) {
        case 'sse': return new SSEClientTransport(url, { requestInit });
        case 'websocket':
            socketsSend(plan.headers);
            return new WebSocketClientTransport(url);
        default: return new StreamableHTTPClientTransport(url, { requestInit });
    }
}

await main(async (plan, options) => {
    const client = new Client({ name: 'ts_client', version: '1' });
    const transport = transportOf(plan);
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
            await transport.terminateSession?.();
            await client.close();
        },
    });
});
