"""Serves the Python SDK's own fixture (`mcp_everything_server`, found by PYTHONPATH), which speaks both eras.

    py_server.py stdio
    py_server.py streamable-http PORT      at /mcp
    py_server.py sse PORT                  at /sse

It gets a tool more, because it has none that takes long enough to be given up, and a resource that no other fixture
behind the same gate has.
"""

import sys

import anyio
from mcp.server.mcpserver import Context
from mcp_everything_server.server import mcp


@mcp.tool()
async def wait(ctx: Context) -> str:
    """Tells of progress once, and then never ends"""
    await ctx.report_progress(progress=1)
    await anyio.sleep_forever()
    return "never"


@mcp.resource(f"note://python/{sys.argv[1]}")
def note() -> str:
    """Says where it is from"""
    return f"over {sys.argv[1]}"


if __name__ == "__main__":
    transport, *port = sys.argv[1:]
    mcp.run(transport, **{"port": int(number) for number in port})
