"""Conversations with the MCP server by the official SDK's client, over stdio and over HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from opened_names import opened_names, written_at
from served import serving
from worded import OPENED, plugged, worded

from imgvec import ImageCollection, Settings

PATIENCE = 60.0
TRANSPORTS = ("stdio", "http")

Conversation = Callable[[Client], Awaitable[None]]


def command(uri: str, *options: str) -> list[str]:
    """What an agent's program starts."""
    return [sys.executable, "-m", "imgvec", "--uri", uri, "mcp", "-c", "trip", *options]


def over_stdio(
    uri: str, folder: Path, conversation: Conversation, *, roots: str = "", notes: Path | None = None
) -> str:
    """What `imgvec mcp`, a process whose working directory is `folder`, wrote to stderr while its client talked."""
    own = folder.parent / f"{folder.name} of stdio"
    environment = {**plugged(own / "plug-in"), "IMGVEC_ROOTS": roots, **({OPENED: str(notes)} if notes else {})}
    started, *args = command(uri)
    parameters = StdioServerParameters(command=started, args=args, env=environment, cwd=folder)

    async def talk() -> None:
        async with Client(stdio_client(parameters, errlog=log), read_timeout_seconds=120) as client:
            await conversation(client)

    with (own / "stderr").open("w+", encoding="utf-8") as log:
        asyncio.run(talk())
        log.seek(0)
        return log.read()


def over_http(url: str, conversation: Conversation, **headers: str) -> None:
    """A conversation with a server that runs."""

    async def talk() -> None:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=120) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            await conversation(client)

    asyncio.run(talk())


def over(transport: str, uri: str, folder: Path, conversation: Conversation, *, roots: Path | None = None) -> list[str]:
    """Over either; pictures are opened below `roots`, by default `folder`. The names that the server asked for."""
    below = folder if roots is None else roots
    if transport == "stdio":
        notes = folder.parent / f"{folder.name} opened"
        assert "Traceback" not in over_stdio(uri, folder, conversation, roots=str(below), notes=notes)
        return written_at(notes)
    opened = ImageCollection.open("trip", settings=Settings(uri=uri, roots=(below,)), encoder=worded())
    with closing(opened), serving({"trip": opened}, mcp=True) as server, opened_names() as names:
        over_http(f"http://127.0.0.1:{server.port}/mcp", conversation)
    return names


def text_of(result: CallToolResult) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def said(client: Client, tool: str, **arguments: Any) -> tuple[dict[str, Any], list[Any]]:
    """The structured answer of a tool, which is its text, too; and what else its content has."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    found = result.structured_content
    assert found == json.loads(text_of(result))
    return found, result.content[1:]


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, text_of(result)
    assert len(result.content) == 1
    return text_of(result)


def base64_of(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()


async def until(path: Path) -> None:
    """Until there is such a file."""
    async with asyncio.timeout(PATIENCE):
        while not path.exists():
            await asyncio.sleep(0.01)
