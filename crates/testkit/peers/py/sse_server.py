"""A server of the official Python SDK over HTTP+SSE. Usage: sse_server.py PORT"""

import sys

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("py-sse")


@server.tool()
def shout(text: str) -> str:
    """Gives the text back, louder."""
    return text.upper()


@server.tool()
async def steps(ctx: Context) -> str:
    """Tells of three steps."""
    for step in range(1, 4):
        await ctx.report_progress(step, 3)
    return "done"


server.run("sse", port=int(sys.argv[1]))
