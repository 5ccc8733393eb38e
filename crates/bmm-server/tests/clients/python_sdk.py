"""The Python SDK: walks from the bare MCP URL to a call after a refresh, prints what it saw as one line of JSON.

Usage: python python_sdk.py MCP_URL SIGN_IN_URL TOOL JSON NODE BROWSER_JS
"""

import asyncio
import json
import sys
import time
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

REDIRECT_URI = "http://127.0.0.1:33333/callback"
MCP_URL, SIGN_IN_URL, TOOL, INPUT, NODE, BROWSER_JS = sys.argv[1:]


class Memory(TokenStorage):
    """Keeps every set of tokens, oldest first."""

    def __init__(self) -> None:
        self.saved: list[OAuthToken] = []
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.saved[-1] if self.saved else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.saved.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Opens the authorize URL in the browser that the other drivers use."""

    def __init__(self) -> None:
        self.callbacks: list[str] = []

    async def open(self, authorize_url: str) -> None:
        browser = await asyncio.create_subprocess_exec(
            NODE, BROWSER_JS, SIGN_IN_URL, authorize_url, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await browser.communicate()
        if browser.returncode != 0:
            raise RuntimeError("the browser could not sign in")
        self.callbacks.append(printed.decode().strip())

    async def callback(self) -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(self.callbacks[-1]).query)
        return AuthorizationCodeResult(
            code=query["code"][0], state=query.get("state", [None])[0], iss=query.get("iss", [None])[0]
        )


def text_of(result) -> str:
    if result.is_error:
        raise RuntimeError(f"the tool failed: {result}")
    return "\n".join(part.text for part in result.content if part.type == "text")


class Traced(httpx2.AsyncHTTPTransport):
    """Notes every request on the wire, those of the sign-in too."""

    def __init__(self) -> None:
        super().__init__()
        self.exchanges: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        self.exchanges.append(f"{request.method} {request.url.path} {response.status_code}")
        return response


async def main() -> None:
    memory, person, wire = Memory(), Person(), Traced()
    provider = OAuthClientProvider(
        server_url=MCP_URL,
        client_metadata=OAuthClientMetadata(client_name="bmm test client", redirect_uris=[REDIRECT_URI]),
        storage=memory,
        redirect_handler=person.open,
        callback_handler=person.callback,
    )
    async with httpx2.AsyncClient(auth=provider, transport=wire, timeout=30) as http:
        async with Client(streamable_http_client(MCP_URL, http_client=http)) as client:
            tools = await client.list_tools()
            arguments = json.loads(INPUT)
            first = await client.call_tool(TOOL, arguments)
            before = memory.saved[-1]
            # This client refreshes by the clock (a 401 makes it sign in anew): its clock now says that the token is old.
            provider.context.token_expiry_time = time.time() - 1
            second = await client.call_tool(TOOL, arguments)
            after = memory.saved[-1]
            protocol = client.protocol_version
    print(
        json.dumps(
            {
                "client": "python",
                "protocol": protocol,
                "tools": [tool.name for tool in tools.tools],
                "result": text_of(first),
                "resultAfterRefresh": text_of(second),
                "accessTokenChanged": after.access_token != before.access_token,
                "refreshTokenRotated": bool(after.refresh_token) and after.refresh_token != before.refresh_token,
                "consents": len(person.callbacks),
                "exchanges": wire.exchanges,
            }
        )
    )


asyncio.run(main())
