"""The Python SDK's conformance fixture, served the way a leg wants it.

    fixture.py --port 3001 [--era legacy|modern]     over Streamable HTTP, at /mcp
    fixture.py --stdio                               over stdin and stdout

Tools, resources and prompts are the SDK's own (`mcp_everything_server`, unpacked from its sources). Left alone it
speaks both eras. Pinned to one, it refuses the other's opening as servers of that era do, and its tools are those of
`eras`.
"""

import argparse
import json
import logging

import anyio
import eras
import uvicorn
from mcp_everything_server.server import event_store, mcp
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--stdio", action="store_true")
    arguments.add_argument("--port", type=int)
    arguments.add_argument("--era", choices=["both", "legacy", "modern"], default="both")
    arguments.add_argument("--log-level", default="INFO")
    options = arguments.parse_args()
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if options.era == "legacy":
        eras.legacy(mcp)
    elif options.era == "modern":
        eras.modern(mcp)
    if options.stdio:
        anyio.run(mcp.run_stdio_async)
        return
    app = mcp.streamable_http_app(event_store=event_store, retry_interval=100)
    if options.era != "both":
        app = Pinned(app, options.era)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level=options.log_level.lower())


class Pinned:
    """Refuses requests of the other era before the SDK sees them."""

    def __init__(self, app, era):
        self.app = app
        self.era = era

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        version = next((value.decode() for name, value in scope["headers"] if name == b"mcp-protocol-version"), None)
        # Without the header it is a legacy request: the header came with 2025-06-18.
        modern = version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS
        if modern == (self.era == "modern"):
            return await self.app(scope, receive, send)
        if self.era == "legacy":
            served = ", ".join(HANDSHAKE_PROTOCOL_VERSIONS)
            message = f"Bad Request: Unsupported protocol version: {version}. Supported versions: {served}"
            return await answer(send, 400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": message}})
        if scope["method"] != "POST":
            return await answer(send, 405, None)
        await answer(send, 400, too_old(await body_of(receive)))


def too_old(body):
    """What a modern-only server says to `initialize`, and to anything else that is not of its era."""
    try:
        request = json.loads(body)
    except ValueError:
        request = {}
    requested = (request.get("params") or {}).get("protocolVersion", "unknown")
    error = {
        "code": -32022,
        "message": "Unsupported protocol version",
        "data": {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": requested},
    }
    return {"jsonrpc": "2.0", "id": request.get("id"), "error": error}


async def body_of(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def answer(send, status, body):
    content = b"" if body is None else json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    main()
