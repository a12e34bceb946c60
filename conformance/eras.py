"""The fixture's tools as servers of one era write them.

The SDK's fixture has some tools that work in one era only: those that ask the client something by a request of the
server's own are legacy, those that answer "input required" are modern. In a cross-era leg the gate translates, so
there a tool of the same name asks the same thing in the only way that its era has.
"""

from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, MCPServer, Resolve
from mcp.server.mcpserver.prompts.base import Prompt, UserMessage
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from mcp_everything_server.server import EnumSchemasTestSchema, SEP1034DefaultsSchema
from pydantic import BaseModel


def legacy(mcp: MCPServer) -> None:
    """Puts requests of the server's own in place of the modern tools' "input required"."""
    for name, tool in LEGACY.items():
        mcp.remove_tool(name)
        mcp.add_tool(tool, name=name)
    mcp.remove_prompt("test_input_required_result_prompt")
    mcp.add_prompt(Prompt.from_function(asking_prompt, name="test_input_required_result_prompt"))


def modern(mcp: MCPServer) -> None:
    """Puts "input required" in place of the legacy tools' requests of their own."""
    for name, tool in MODERN.items():
        mcp.remove_tool(name)
        mcp.add_tool(tool, name=name)


def form(**properties: str) -> dict[str, Any]:
    fields = {name: {"type": kind} for name, kind in properties.items()}
    return {"type": "object", "properties": fields, "required": list(properties)}


async def elicit(ctx: Context, message: str, **properties: str) -> dict[str, Any]:
    answer = await ctx.session.elicit_form(message, form(**properties), related_request_id=ctx.request_id)
    return answer.content or {}


async def sample(ctx: Context, prompt: str) -> str:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    answer = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return answer.content.text if answer.content.type == "text" else "?"


async def roots(ctx: Context) -> int:
    metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
    answer = await ctx.session.send_request(ListRootsRequest(), ListRootsResult, metadata=metadata)
    return len(answer.roots)


async def asks_name(ctx: Context) -> str:
    """Elicits a name."""
    answer = await elicit(ctx, "What is your name?", name="string")
    return f"Hello, {answer.get('name')}!"


async def asks_model(ctx: Context) -> str:
    """Samples."""
    return f"Model said: {await sample(ctx, 'What is the capital of France?')}"


async def asks_roots(ctx: Context) -> str:
    """Lists the client's roots."""
    return f"Client exposed {await roots(ctx)} root(s)."


async def asks_confirmation(ctx: Context) -> str:
    """Elicits a yes."""
    answer = await elicit(ctx, "Please confirm", ok="boolean")
    return f"state-ok: {answer.get('ok')}"


async def asks_all_at_once(ctx: Context) -> str:
    """Elicits, samples and lists roots, each without waiting for the others."""
    async with anyio.create_task_group() as group:
        group.start_soon(asks_name, ctx)
        group.start_soon(sample, ctx, "Generate a greeting")
        group.start_soon(roots, ctx)
    return "All inputs received."


async def asks_twice(ctx: Context) -> str:
    """Elicits, and then elicits once more."""
    first = await elicit(ctx, "Step 1: What is your name?", name="string")
    second = await elicit(ctx, "Step 2: What is your favorite color?", color="string")
    return f"{first.get('name')} likes {second.get('color')}."


async def asks_what_it_may(ctx: Context) -> str:
    """Samples and elicits, whatever this client can: a legacy server knows only what its session declared."""
    answered = []

    async def attempt(what, asking) -> None:
        try:
            await asking
            answered.append(what)
        except Exception as error:  # what the client cannot do is for the gate to refuse
            answered.append(f"no {what} ({error})")

    async with anyio.create_task_group() as group:
        group.start_soon(attempt, "sampling", sample(ctx, "Say hello"))
        group.start_soon(attempt, "elicitation", elicit(ctx, "What is your name?", name="string"))
    return ", ".join(answered)


async def asking_prompt(ctx: Context) -> list[UserMessage]:
    """Elicits before the prompt is given."""
    answer = await elicit(ctx, "What context should the prompt use?", context="string")
    text = f"Use the following context: {answer.get('context')}"
    return [UserMessage(role="user", content=TextContent(type="text", text=text))]


async def changes_tools(ctx: Context) -> str:
    """Says that the list of tools changed, on the stream that a legacy session has for it."""
    await ctx.session.send_tool_list_changed()
    return "tool list changed"


async def changes_prompts(ctx: Context) -> str:
    """Says that the list of prompts changed, on the stream that a legacy session has for it."""
    await ctx.session.send_prompt_list_changed()
    return "prompt list changed"


LEGACY = {
    "test_trigger_tool_change": changes_tools,
    "test_trigger_prompt_change": changes_prompts,
    "test_input_required_result_elicitation": asks_name,
    "test_input_required_result_sampling": asks_model,
    "test_input_required_result_list_roots": asks_roots,
    "test_input_required_result_request_state": asks_confirmation,
    "test_input_required_result_multiple_inputs": asks_all_at_once,
    "test_input_required_result_multi_round": asks_twice,
    "test_input_required_result_tampered_state": asks_confirmation,
    "test_input_required_result_capabilities": asks_what_it_may,
}


class Contact(BaseModel):
    username: str
    email: str


async def needs_model(prompt: str, ctx: Context) -> str | InputRequiredResult:
    """Needs an answer of the client's model."""
    answer = (ctx.input_responses or {}).get("model")
    if answer is not None:
        return f"LLM response: {answer.content.text}"
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    params = CreateMessageRequestParams(messages=[message], max_tokens=100)
    return InputRequiredResult(input_requests={"model": CreateMessageRequest(params=params)})


def ask_contact() -> Elicit[Contact]:
    return Elicit("Please provide your information", Contact)


async def needs_contact(
    message: str, answer: Annotated[ElicitationResult[Contact], Resolve(ask_contact)]
) -> str:
    """Needs two texts."""
    return f"{message}: {answer.action}"


def ask_defaults() -> Elicit[SEP1034DefaultsSchema]:
    return Elicit("Please provide user information", SEP1034DefaultsSchema)


async def needs_defaults(
    answer: Annotated[ElicitationResult[SEP1034DefaultsSchema], Resolve(ask_defaults)],
) -> str:
    """Needs a form whose fields have defaults."""
    return f"Elicitation result: action={answer.action}"


def ask_enums() -> Elicit[EnumSchemasTestSchema]:
    return Elicit("Please select values using different enum schema types", EnumSchemasTestSchema)


async def needs_enums(answer: Annotated[ElicitationResult[EnumSchemasTestSchema], Resolve(ask_enums)]) -> str:
    """Needs a form with each way to write a choice."""
    return f"Elicitation completed: action={answer.action}"


MODERN = {
    "test_sampling": needs_model,
    "test_elicitation": needs_contact,
    "test_elicitation_sep1034_defaults": needs_defaults,
    "test_elicitation_sep1330_enums": needs_enums,
}
