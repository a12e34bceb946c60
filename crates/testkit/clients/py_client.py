"""Drives an MCP server with the official Python SDK and prints what it saw as one JSON object.

Usage: py_client.py PLAN, where PLAN is JSON:
  {"url": "http://…/mcp", "headers": {…}, "transport": "http" | "sse" | "websocket"}
    or  {"stdio": ["command", "argument", …], "env": {…}}
  "mode": "legacy" | "auto" | "2026-07-28"
  "steps": [{"call": NAME, "arguments": {…}}, {"prompt": NAME, "arguments": {…}}, {"read": URI},
            {"complete": {"ref": {…}, "argument": {…}, "context": {…}}},
            {"cancel": NAME, "arguments": {…}}: a tool that is given up at its first progress]
  "seconds": how long one request may take

All lists that the server declares are read to their last page. A step that fails is an `error` in its place;
a connection that fails is an `error` at the top and exit code 1. The other clients read and print the same.
"""

import asyncio
import json
import sys
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import PromptReference, ResourceTemplateReference

PAGES_MAX = 1000


def plain(model: Any) -> Any:
    """The model as it looked on the wire."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def fault(error: BaseException) -> dict[str, Any]:
    """The protocol's error, or the first real error inside a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return {"code": error.error.code, "message": error.error.message, "data": error.error.data}
    return {"message": f"{type(error).__name__}: {error}"}


async def pages(fetch: Any, field: str) -> list[Any]:
    """Every entry of a list, and how its pages were cut stays the server's business."""
    entries: list[Any] = []
    cursor = None
    for _ in range(PAGES_MAX):
        page = await fetch(cursor=cursor)
        entries += [plain(entry) for entry in getattr(page, field)]
        cursor = page.next_cursor
        if cursor is None:
            return entries
    raise RuntimeError(f"{field}: more than {PAGES_MAX} pages")


def reference(ref: dict[str, str]) -> Any:
    return PromptReference(**ref) if ref["type"] == "ref/prompt" else ResourceTemplateReference(**ref)


async def take(client: Client, step: dict[str, Any]) -> dict[str, Any]:
    """One step of the plan."""
    seen: list[float] = []
    scope = anyio.CancelScope()

    async def progress(value: float, _total: float | None, _message: str | None) -> None:
        seen.append(value)
        if "cancel" in step:
            scope.cancel()

    try:
        if "cancel" in step:
            result = None
            with scope:
                result = await client.call_tool(step["cancel"], step.get("arguments", {}), progress_callback=progress)
            if result is None:
                return {"cancelled": True, "progress": len(seen)}
        elif "call" in step:
            result = await client.call_tool(step["call"], step.get("arguments", {}), progress_callback=progress)
        elif "prompt" in step:
            result = await client.get_prompt(step["prompt"], step.get("arguments"))
        elif "read" in step:
            result = await client.read_resource(step["read"])
        elif "complete" in step:
            ask = step["complete"]
            result = await client.complete(reference(ask["ref"]), ask["argument"], ask.get("context"))
        else:
            raise ValueError(f"no such step: {step}")
        return {"result": plain(result), "progress": len(seen)}
    except Exception as error:  # a step's failure is what the test wants to see
        return {"error": fault(error), "progress": len(seen)}


async def look(client: Client, plan: dict[str, Any]) -> dict[str, Any]:
    mode = plan.get("mode", "auto")
    if mode not in ("legacy", "auto", client.protocol_version):
        raise RuntimeError(f"the server speaks {client.protocol_version}, not {mode}")
    declared = client.server_capabilities
    seen: dict[str, Any] = {
        "revision": client.protocol_version,
        "server": plain(client.server_info) if client.server_info else None,
        "capabilities": plain(declared),
        "instructions": client.instructions,
        "tools": await pages(client.list_tools, "tools") if declared.tools else [],
        "prompts": await pages(client.list_prompts, "prompts") if declared.prompts else [],
        "resources": await pages(client.list_resources, "resources") if declared.resources else [],
        "templates": (
            await pages(client.list_resource_templates, "resource_templates") if declared.resources else []
        ),
    }
    seen["steps"] = [await take(client, step) for step in plan.get("steps", [])]
    return seen


async def run(plan: dict[str, Any]) -> dict[str, Any]:
    # A revision is not handed to the SDK: it would take the server's word for granted and not ask what it offers.
    mode = "legacy" if plan.get("mode") == "legacy" else "auto"
    options = {"mode": mode, "read_timeout_seconds": plan.get("seconds", 20)}
    if "stdio" in plan:
        command, *arguments = plan["stdio"]
        server = StdioServerParameters(command=command, args=arguments, env=plan.get("env"))
        async with Client(server, **options) as client:
            return await look(client, plan)
    if plan.get("transport") == "sse":
        async with Client(sse_client(plan["url"], headers=plan.get("headers")), **options) as client:
            return await look(client, plan)
    async with httpx2.AsyncClient(headers=plan.get("headers"), timeout=options["read_timeout_seconds"]) as http:
        async with Client(streamable_http_client(plan["url"], http_client=http), **options) as client:
            return await look(client, plan)


def main() -> int:
    try:
        seen = asyncio.run(run(json.loads(sys.argv[1])))
    except BaseException as error:
        seen = {"error": fault(error)}
    print(json.dumps(seen))
    return 1 if "error" in seen else 0


if __name__ == "__main__":
    sys.exit(main())
