"""The Python SDK's own OAuth flow. Plan and output: see oauth.mjs; the person is node's, person.mjs beside this file."""

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

WAIT_MAX = 60


class Kept:
    """The SDK's token storage."""

    def __init__(self, client: OAuthClientInformationFull | None) -> None:
        self.tokens: OAuthToken | None = None
        self.client = client
        self.registered = False

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info
        self.registered = True


async def main() -> None:
    plan = json.loads(sys.argv[1])
    arrived: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The loopback listener that the browser is sent back to."""
        target = (await reader.readline()).split()[1].decode()
        while await reader.readline() not in (b"\r\n", b""):
            pass
        page = b"<title>Done</title><p>You may close this window."
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))
        await writer.drain()
        writer.close()
        if urlsplit(target).path == "/callback" and not arrived.done():
            arrived.set_result(urlsplit(target).query)

    listener = await asyncio.start_server(hear, "127.0.0.1", 0)
    back = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/callback"
    way: list[str] = []

    async def redirect(url: str) -> None:
        if plan.get("person") is None:
            print(json.dumps({"authorize": url}), flush=True)
            return
        script = Path(sys.argv[0]).with_name("person.mjs")
        person = await asyncio.create_subprocess_exec(
            "node", str(script), url, json.dumps(plan["person"]), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await person.communicate()
        end = json.loads(out)
        way.extend(end["way"])
        if not end["url"].startswith(back):
            raise RuntimeError(f"the person ended at {end['url']}: {end['text']}")

    async def callback() -> AuthorizationCodeResult:
        query = {name: values[0] for name, values in parse_qs(await asyncio.wait_for(arrived, WAIT_MAX)).items()}
        if "error" in query:
            raise RuntimeError(f"{query['error']}: {query.get('error_description')}")
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    metadata = OAuthClientMetadata(
        client_name="Test client",
        redirect_uris=[back],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
        scope=plan.get("scope"),
    )
    known = plan.get("client")
    kept = Kept(OAuthClientInformationFull(redirect_uris=[back], **known) if known else None)
    auth = OAuthClientProvider(plan["url"], metadata, kept, redirect, callback)
    async with httpx2.AsyncClient(auth=auth, timeout=60, follow_redirects=True) as http:
        async with Client(streamable_http_client(plan["url"], http_client=http)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            call = plan.get("call")
            result = await client.call_tool(call["name"], call.get("arguments")) if call else None
    tokens = kept.tokens
    assert tokens is not None
    print(
        json.dumps(
            {
                "tools": tools,
                "result": result and result.model_dump(mode="json", by_alias=True, exclude_none=True),
                "tokens": {"type": tokens.token_type, "refresh": bool(tokens.refresh_token), "scope": tokens.scope},
                "way": way,
                "registered": kept.registered,
            }
        )
    )


def fault(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


try:
    asyncio.run(main())
except BaseException as error:  # noqa: BLE001: whatever it is, the test wants to read it
    print(json.dumps({"error": fault(error)}))
    sys.exit(1)
