// Drives an MCP server with the Inspector's command line, one run of it for each list and each step. Usage and
// output: see py_client.py. It tells nothing of progress, and cannot cancel.

import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from './plan.mjs';

const CLI = join(dirname(fileURLToPath(import.meta.url)),
    '../node_modules/@modelcontextprotocol/inspector/clients/cli/build/index.js');
/** More than any list of ours. */
const OUTPUT_MAX = 16 * 1024 * 1024;

/** One run: the result, or what the command line says went wrong. */
function inspect(target, method, words, { timeout }) {
    const argv = [CLI, '--format', 'json', '--quiet', '--method', method, ...words, ...target];
    return new Promise((resolve, reject) => {
        execFile(process.execPath, argv, { timeout, maxBuffer: OUTPUT_MAX }, (failed, stdout, stderr) => {
            if (failed) return reject(new Error(`${method}: ${stderr || failed.message}`));
            resolve(JSON.parse(stdout).result);
        });
    });
}

/** The end of the command line: the server, after what belongs to it. */
function targetOf({ url, transport, headers, stdio, env, mode }) {
    const era = ['--protocol-era', mode === 'legacy' || mode === 'auto' ? mode : 'modern'];
    const pairs = (flag, entries, between) => Object.entries(entries ?? {}).flatMap(([name, value]) => [flag, `${name}${between}${value}`]);
    if (stdio) return [...era, ...pairs('-e', env, '='), '--', ...stdio];
    return [...era, '--transport', transport, ...pairs('--header', headers, ': '), '--', url];
}

await main(async (plan, options) => {
    const target = targetOf(plan);
    const run = (method, ...words) => inspect(target, method, words, options);
    const { protocolVersion, capabilities, serverInfo, instructions } = await run('initialize');
    // A list comes with all of its pages.
    const all = (method) => () => run(method);
    return {
        revision: () => protocolVersion,
        getServerCapabilities: () => capabilities,
        getServerVersion: () => serverInfo,
        getInstructions: () => instructions,
        listTools: all('tools/list'),
        listPrompts: all('prompts/list'),
        listResources: all('resources/list'),
        listResourceTemplates: all('resources/templates/list'),
        call: (params) => run('tools/call', '--tool-name', params.name, '--tool-args-json', JSON.stringify(params.arguments)),
        getPrompt: (params) => run('prompts/get', '--prompt-name', params.name),
        readResource: (params) => run('resources/read', '--uri', params.uri),
        close: async () => {},
    };
});
