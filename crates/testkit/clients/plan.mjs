// What the clients in JavaScript share: reading the plan, walking it, printing what was seen.
// The plan and the output are described in py_client.py. A client here differs only in its SDK.

const PAGES_MAX = 1000;

/** Every entry of a list; how its pages are cut stays the server's business. */
async function pages(fetch, field) {
    const entries = [];
    let cursor;
    for (let page = 0; page < PAGES_MAX; page += 1) {
        const answer = await fetch(cursor === undefined ? undefined : { cursor });
        entries.push(...answer[field]);
        cursor = answer.nextCursor;
        if (cursor === undefined) return entries;
    }
    throw new Error(`${field}: more than ${PAGES_MAX} pages`);
}

function fault(error) {
    const { code, message, data } = error;
    return typeof code === 'number' ? { code, message, data } : { message: `${error.name}: ${message}` };
}

/** One step of the plan; its failure is what the test wants to see. */
async function take(client, step, options) {
    const giveUp = new AbortController();
    let progress = 0;
    const onprogress = () => {
        progress += 1;
        if ('cancel' in step) giveUp.abort('as planned');
    };
    try {
        let result;
        if ('cancel' in step) {
            const params = { name: step.cancel, arguments: step.arguments ?? {} };
            result = await client.call(params, { ...options, onprogress, signal: giveUp.signal });
        } else if ('call' in step) {
            const params = { name: step.call, arguments: step.arguments ?? {} };
            result = await client.call(params, { ...options, onprogress });
        } else if ('prompt' in step) {
            result = await client.getPrompt({ name: step.prompt, arguments: step.arguments }, options);
        } else if ('read' in step) {
            result = await client.readResource({ uri: step.read }, options);
        } else if ('complete' in step) {
            const { ref, argument, context } = step.complete;
            const params = { ref, argument, ...(context && { context: { arguments: context } }) };
            result = await client.complete(params, options);
        } else {
            throw new Error(`no such step: ${JSON.stringify(step)}`);
        }
        return { result, progress };
    } catch (error) {
        return giveUp.signal.aborted ? { cancelled: true, progress } : { error: fault(error), progress };
    }
}

/**
 * Runs the plan in argv. `connect(plan)` yields a connected client with the SDK's method names, `call`
 * for `callTool`, `revision()`, and `close()`.
 */
export async function main(connect) {
    let seen;
    let client;
    try {
        const plan = JSON.parse(process.argv[2]);
        const options = { timeout: (plan.seconds ?? 20) * 1000 };
        client = await connect(plan, options);
        const declared = client.getServerCapabilities() ?? {};
        const list = (there, fetch, field) => (there ? pages((params) => fetch(params, options), field) : []);
        seen = {
            revision: client.revision(),
            server: client.getServerVersion(),
            capabilities: declared,
            instructions: client.getInstructions(),
            tools: await list(declared.tools, client.listTools, 'tools'),
            prompts: await list(declared.prompts, client.listPrompts, 'prompts'),
            resources: await list(declared.resources, client.listResources, 'resources'),
            templates: await list(declared.resources, client.listResourceTemplates, 'resourceTemplates'),
            steps: [],
        };
        for (const step of plan.steps ?? []) seen.steps.push(await take(client, step, options));
    } catch (error) {
        seen = { error: fault(error) };
    }
    await client?.close().catch(() => {});
    process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit('error' in seen ? 1 : 0));
}

/** The SDK's client, with its methods bound and the few names that differ between the two SDKs. */
export function wrap(client, { call, revision, close }) {
    const names = ['getServerCapabilities', 'getServerVersion', 'getInstructions', 'listTools', 'listPrompts',
        'listResources', 'listResourceTemplates', 'getPrompt', 'readResource', 'complete'];
    return Object.assign(Object.fromEntries(names.map((name) => [name, client[name].bind(client)])), { call, revision, close });
}
