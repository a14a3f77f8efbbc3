"""Agents that do not wait: calls that a client cancels, and clients that are gone, over stdio and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp.client.client import Client
from mcp_types import CallToolResult
from served import serving
from talking import PATIENCE, TRANSPORTS, command, over, said, until
from worded import DEFINITION, WAITS, drawn_in, plugged, worded

from imgvec import ImageCollection, Settings

NAMES = ("hat", "coat", "scarf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return drawn_in(tmp_path / "pictures", NAMES)


@pytest.fixture
def uri(lite_uri: str, folder: Path) -> str:
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=worded()) as photos:
        photos.ingest(folder)
    return lite_uri


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """Where the encoder says that it has begun, and that nobody waits for it."""
    made = tmp_path / "signs"
    made.mkdir()
    return made


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_call_that_the_client_cancels_is_abandoned(transport: str, uri: str, folder: Path, signs: Path) -> None:
    async def conversation(client: Client) -> None:
        call = asyncio.ensure_future(client.call_tool("search_by_text", {"words": f"{WAITS}{signs}"}))
        beside, _ = await said(client, "count")  # others are answered meanwhile
        await until(signs / "begun")
        assert beside["rows"] == len(NAMES)
        assert not (signs / "abandoned").exists()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(signs / "abandoned")
        assert len((await said(client, "search_by_text", words="hat"))[0]["hits"]) == len(NAMES)

    over(transport, uri, folder, conversation)


@pytest.mark.nightly
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_thousands_of_calls_at_once(transport: str, uri: str, folder: Path) -> None:
    """Over stdio each is answered; over HTTP those that are too many are told to ask later."""

    async def conversation(client: Client) -> None:
        calls = (client.call_tool("search_by_text", {"words": f"hat {i}", "thumbnails": 1}) for i in range(3000))
        found = await asyncio.gather(*calls, return_exceptions=True)
        answered = [each for each in found if isinstance(each, CallToolResult) and not each.is_error]
        print(f"{transport}: {len(answered)} of {len(found)} answered")
        if transport == "stdio":
            assert [each for each in found if each not in answered] == []
        assert len(answered) >= 100
        assert (await said(client, "count"))[0]["rows"] == len(NAMES)

    over(transport, uri, folder, conversation)


def request(signs: Path) -> dict[str, Any]:
    params = {"name": "search_by_text", "arguments": {"words": f"{WAITS}{signs}"}}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


def test_a_process_ends_when_its_client_has_gone(uri: str, folder: Path, signs: Path, tmp_path: Path) -> None:
    environment = {**os.environ, **plugged(tmp_path / "plug-in")}
    process = subprocess.Popen(command(uri), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=folder)
    assert process.stdin is not None
    assert process.stdout is not None
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "gone", "version": "1"}}
    for message in (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        request(signs),
    ):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == 1
    asyncio.run(until(signs / "begun"))
    process.stdin.close()
    process.stdout.close()
    assert process.wait(PATIENCE) == 0
    assert (signs / "abandoned").exists()


@pytest.fixture
def port(uri: str, folder: Path) -> Iterator[int]:
    photos = ImageCollection.open("trip", settings=Settings(uri=uri, roots=(folder,)), encoder=worded())
    with closing(photos), serving({"trip": photos}, mcp=True) as server:
        yield server.port
        assert server.get("/v1/collections/trip/count").json == {"count": len(NAMES)}


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
def test_a_request_whose_client_has_gone_is_abandoned(version: str, port: int, signs: Path) -> None:
    asked = request(signs)
    if version > "2026":
        asked["params"]["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    body = json.dumps(asked).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {version}\r\n"
        f"Mcp-Method: tools/call\r\nMcp-Name: search_by_text\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + body)
        asyncio.run(until(signs / "begun"))
        assert not (signs / "abandoned").exists()
    asyncio.run(until(signs / "abandoned"))


def test_what_is_abandoned_makes_room(uri: str, folder: Path, signs: Path) -> None:
    photos = ImageCollection.open("trip", settings=Settings(uri=uri, roots=(folder,)), encoder=worded())
    with closing(photos), serving({"trip": photos}, mcp=True, at_once=1, deadline=0.5) as server:
        for _ in range(3):
            answer = server.post("/mcp", request(signs), Accept="application/json", MCP_Protocol_Version="2025-06-18")
            assert "longer than 0.5 s" in answer.json["result"]["content"][0]["text"]
            asyncio.run(until(signs / "abandoned"))
            (signs / "abandoned").unlink()
