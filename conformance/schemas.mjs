// Writes the protocol's JSON Schemas, one file a revision, into the folder it is given.
//
// The conformance suite carries the schema of each revision that it validates traffic against (2025-03-26 and later),
// but bundled into its program. This finds the table in the bundle and evaluates it, so that tests can use the same
// schemas without a copy of them in our tree. A new release of the suite that bundles differently fails here, loudly.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [, , bundle, into] = process.argv;
const text = readFileSync(bundle, "utf8");

// `Pe={$schema:…},Fe={$schema:…},…,Re={"2025-03-26":Pe,…,[A]:Le}`
const table = /([\w$]+)=\{"2025-03-26":([\w$]+),[^{}]*\}/.exec(text);
if (!table) throw new Error("the suite's bundle has no table of schemas where we look for it");
const [whole, , first] = table;
const start = text.indexOf(`${first}={$schema:`);
// What lies between may hold other declarations after the last schema; only the schemas are evaluated.
const names = [...whole.matchAll(/:([\w$]+)/g)].map((found) => found[1]);
const newest = /([\w$]+)=`2026-07-28`/.exec(text)?.[1];
const schemas = Object.fromEntries(names.map((name) => [name, object(text.indexOf(`${name}={$schema:`, start))]));

mkdirSync(into, { recursive: true });
for (const [, revision, computed, name] of whole.matchAll(/(?:"([\d-]+)"|\[([\w$]+)\]):([\w$]+)/g)) {
  if (computed && computed !== newest) throw new Error(`\`${computed}\` is not the newest revision`);
  const file = join(into, `${revision ?? "2026-07-28"}.json`);
  writeFileSync(file, JSON.stringify(schemas[name], null, 1));
}

/** The object literal that is assigned at `at`. */
function object(at) {
  const open = text.indexOf("{", at);
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    const c = text[i];
    if (c === "{") depth++;
    else if (c === "}" && --depth === 0) return new Function(`return ${text.slice(open, i + 1)}`)();
    else if (c === '"' || c === "'" || c === "`") {
      for (i++; text[i] !== c; i++) if (text[i] === "\\") i++;
    }
  }
  throw new Error("a schema without an end");
}
