"""A client for the suite's client scenarios, with the gate in between.

    driver.py URL

The suite starts this with the URL of its scripted server. It puts a gate in front of that server, lets the Python
SDK's own conformance client do what the scenario wants through the gate, and stops the gate again. The client finds
the scenario in the suite's variables, which it inherits. Ours are:

    CONFORMANCE_GATE     the gate's program
    CONFORMANCE_CLIENT   the client's program
    CONFORMANCE_FOLDER   where each scenario gets a folder for its gate's config, data and log

In the scenarios `auth/*` the scripted server wants an access token, and the OAuth client under test is the gate: a
person (`person.py`) connects the upstream on the gate's pages, whenever the gate asks for it, and the SDK's client
calls through the gate with a key of that person's.
"""

import asyncio
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from person import NAME, Person, Refused

READY_MAX = 20.0
# How long an upstream may take to be there once it is connected.
CONNECTED_MAX = 4.0
# How often a person puts up with being asked.
ASKED_MAX = 3
# The metadata that the suite publishes for clients which are known by its address.
DOCUMENT = "https://conformance-test.local/client-metadata.json"
# JSON-RPC: pages are to be opened first (2025-11-25).
URL_ELICITATION = -32042

CONFIG = """\
listen = "127.0.0.1:{port}"
data_dir = "data"
builtins = []
[limits.tool_call]
max = 10000
per = "1s"
[upstreams.suite]
url = "{url}"
prefix = "never"
"""


class Gate:
    """A gate in front of the suite's server."""

    def __init__(self, folder: pathlib.Path, url: str, credential: dict | None) -> None:
        self.folder = folder
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        config = CONFIG.format(port=self.port, url=url)
        if credential is not None:
            config += "[upstreams.suite.credential]\n"
            config += "".join(f"{key} = {json.dumps(value)}\n" for key, value in credential.items())
        (folder / "gate.toml").write_text(config)

    def __enter__(self) -> "Gate":
        command = [os.environ["CONFORMANCE_GATE"], "--json", "serve", "--config", "gate.toml"]
        with (self.folder / "gate.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        self.said = json.loads(self.process.stdout.readline() or "{}")
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def wait(self) -> None:
        deadline = time.monotonic() + READY_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"the gate ended with {self.process.returncode}; see its log")
            try:
                with urllib.request.urlopen(f"{self.origin}/readyz", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.02)
        sys.exit("the gate did not get ready; see its log")

    def key(self) -> str:
        """A key of the person's."""
        command = [os.environ["CONFORMANCE_GATE"], "key", "create", NAME, "--role", "owner", "--config", "gate.toml"]
        made = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, text=True, check=True)
        return made.stdout.strip()

    def state(self, key: str) -> str:
        """How the upstream is."""
        request = urllib.request.Request(f"{self.origin}/health", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            upstreams = json.load(answer)["upstreams"]
        return next(one["state"] for one in upstreams if one["name"] == "suite")


def main() -> int:
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    folder = pathlib.Path(os.environ["CONFORMANCE_FOLDER"]) / scenario.replace("/", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # The suite ends a scenario that takes too long with SIGTERM; the gate must not stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    credential = credential_for(scenario)
    with Gate(folder, sys.argv[1], credential) as gate:
        gate.wait()
        if credential is not None:
            return asyncio.run(authorized(gate, credential))
        client = [sys.executable, os.environ["CONFORMANCE_CLIENT"], f"{gate.origin}/mcp"]
        return subprocess.run(client).returncode


def credential_for(scenario: str) -> dict | None:
    """What the gate's config says about the credential for the suite's server."""
    if not scenario.startswith("auth/"):
        return None
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    is_own = scenario.startswith("auth/client-credentials")
    said = {
        "oauth": "client-credentials" if is_own else "per-user",
        "client_id": context.get("client_id"),
        "client_secret": context.get("client_secret"),
        "client_key": context.get("private_key_pem"),
    }
    if "client_secret" in context:
        # A secret is for one server; who sets a gate up knows which.
        said["issuer"] = issuer_of(sys.argv[1])
    if scenario == "auth/basic-cimd":
        # The gate's own document needs an https address, and the suite wants its own.
        said["client_id"] = DOCUMENT
    return {key: value for key, value in said.items() if value is not None}


def issuer_of(url: str) -> str:
    """The authorization server that the suite's server names."""
    parts = urllib.parse.urlsplit(url)
    known = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource"
    for place in (f"{known}{parts.path}", known):
        try:
            with urllib.request.urlopen(place, timeout=5) as answer:
                return json.load(answer)["authorization_servers"][0]
        except urllib.error.HTTPError:
            continue
    raise SystemExit(f"{url} names no authorization server")


async def authorized(gate: Gate, credential: dict) -> int:
    """Lists tools and calls the first, and connects the upstream whenever that is wanted."""
    person = Person(gate.origin)
    person.sign_up(gate.said["console"])
    key = gate.key()
    page = f"{gate.origin}/console/connect/suite"
    asked = 0

    def connect(to: str) -> None:
        nonlocal asked
        asked += 1
        if asked > ASKED_MAX:
            raise Refused("it asks and asks")
        person.connect(to)

    try:
        while not settled(gate, key):
            if credential["oauth"] != "per-user":
                raise Refused("the upstream does not get ready")
            connect(page)
        await call(gate, key, connect)
    except Refused as refused:
        # Whether that was right is for the suite to say: it sees how far it went.
        print(refused, file=sys.stderr)
    return 0


def settled(gate: Gate, key: str) -> bool:
    """Waits for the upstream; whether nobody needs to connect it."""
    deadline = time.monotonic() + CONNECTED_MAX
    waits = 0
    while time.monotonic() < deadline:
        state = gate.state(key)
        if state == "ready":
            return True
        # It may not have noticed yet.
        waits = waits + 1 if state.startswith("waiting") else 0
        if waits > 20:
            return False
        time.sleep(0.05)
    raise Refused(f"the upstream is {gate.state(key)}")


async def call(gate: Gate, key: str, connect) -> None:
    import httpx2
    import mcp_types as types
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS

    async def open_page(_context, params):
        # 2026-07-28: the gate asks, the client opens the page and calls again.
        connect(params.url)
        return types.ElicitResult(action="accept")

    revision = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION")
    mode = "auto" if revision in MODERN_PROTOCOL_VERSIONS else "legacy"
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30.0)
    transport = streamable_http_client(url=f"{gate.origin}/mcp", http_client=http)
    async with Client(transport, mode=mode, elicitation_callback=open_page) as client:
        tools = (await client.list_tools()).tools
        while tools:
            try:
                await client.call_tool(tools[0].name, {})
                return
            except Exception as error:
                pages = pages_of(error)
                if not pages:
                    print(f"the call failed: {error}", file=sys.stderr)
                    return
                connect(pages[0])


def pages_of(error: Exception) -> list[str]:
    """The pages that an error says are to be opened first."""
    said = getattr(error, "error", None)
    if getattr(said, "code", None) != URL_ELICITATION:
        return []
    return [page["url"] for page in (said.data or {}).get("elicitations", [])]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
