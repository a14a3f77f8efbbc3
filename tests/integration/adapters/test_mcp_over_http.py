"""Agents at `imgvec serve --mcp`: the official SDK's client over stateless HTTP, through door, tokens and limits."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ImageContent, ResourceLink
from served import serving
from talking import over_http, said, text_of
from worded import DEFINITION, drawn_in, worded

from imgvec import AsyncImageCollection, ImageCollection, Settings
from imgvec.adapters.mcp.server import make_server
from imgvec.serving.tokens import new_token

NAMES = ("hat", "coat", "scarf", "glove", "belt", "shoe")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return drawn_in(tmp_path / "pictures", NAMES)


def filled(uri: str, folder: Path, name: str = "trip") -> ImageCollection:
    with ImageCollection.create(name, definition=DEFINITION, uri=uri, encoder=worded()) as photos:
        photos.ingest(folder, metadata={str(folder / f"{each}.png"): {"caption": each} for each in NAMES})
        assert photos.count() == len(NAMES)
    return ImageCollection.open(name, settings=Settings(uri=uri, roots=(folder,)), encoder=worded())


def test_every_tool(backend_uri: str, folder: Path) -> None:
    async def conversation(client: Client) -> None:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert len(tools) == 10
        assert "delete_pictures" not in tools
        assert (await said(client, "describe_collection"))[0]["pictures"] == len(NAMES)
        found, content = await said(client, "search_by_text", words="hat")
        assert found["hits"][0]["fields"]["caption"] == "hat"
        assert [type(each) for each in content] == [ImageContent] * 4 + [ResourceLink] * 2
        assert (await client.read_resource(content[4].uri)).contents
        id_ = found["hits"][0]["id"]
        sent = b64encode((folder / "coat.png").read_bytes()).decode()
        found, _ = await said(client, "search_by_picture", picture=sent, limit=1)
        assert found["hits"][0]["fields"]["caption"] == "coat"
        for tool, arguments in (
            ("find_similar", {"id": id_}),
            ("recommend", {"liked": [id_]}),
            ("get_pictures", {"ids": [id_]}),
            ("count", {"where": 'caption == "hat"'}),
            ("facets", {"fields": ["caption"]}),
            ("find_duplicates", {"exact": True}),
            ("explain", {"id": id_, "query_id": id_}),
        ):
            await said(client, tool, **arguments)

    with serving({"trip": filled(backend_uri, folder)}, mcp=True) as server:
        over_http(f"http://127.0.0.1:{server.port}/mcp", conversation)
        over_http(f"http://127.0.0.1:{server.port}/mcp/trip", conversation)
        assert server.get("/v1/collections/trip").status == 200
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        rebound = server.post("/mcp", body, Accept="application/json", Host="rebound.example")  # a page's own name
        assert rebound.kind == "host"


def test_who_may_ask_and_what_strangers_are_told(lite_uri: str, folder: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    token = new_token(tokens, "agent")
    two = {"trip": filled(lite_uri, folder), "other": filled(lite_uri, folder, "other")}

    async def conversation(client: Client) -> None:
        assert (await said(client, "count"))[0]["pictures"] == len(NAMES)
        (folder / "hat.png").unlink()
        _, content = await said(client, "search_by_text", words="hat", limit=1)
        assert [type(each) for each in content] == [ResourceLink]
        with pytest.raises(MCPError, match=r"^a stored picture: missing$"):
            await client.read_resource(content[0].uri)
        broken = await client.call_tool("search_by_picture", {"picture": b64encode(b"nothing").decode()})
        assert text_of(broken) == "the picture: not an image"
        large = await client.call_tool("search_by_picture", {"picture": b64encode(bytes(11 * 2**20)).decode()})
        assert "send a smaller one" in text_of(large)

    with serving(two, mcp=True, token_file=str(tokens)) as server:
        url = f"http://127.0.0.1:{server.port}/mcp/other"
        over_http(url, conversation, Authorization=f"Bearer {token}")
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        accepted = {"Accept": "application/json, text/event-stream"}
        assert server.post("/mcp/other", body, **accepted).kind == "token"
        known = {**accepted, "Authorization": f"Bearer {token}"}
        assert server.post("/mcp/other", body, **known).status == 200
        assert server.post("/mcp/other", body, **known, Origin="https://example.org").kind == "origin"
        assert server.post("/mcp", body, **known).status == 404  # there are two
        assert server.post("/mcp/none", body, **known).status == 404
        assert server.post("/mcp/other", b"x" * (33 * 2**20), **known).status == 413

    # nothing is there unless it was asked for
    with serving({"trip": ImageCollection.open("trip", settings=Settings(uri=lite_uri, roots=()))}) as server:
        assert server.post("/mcp/trip", body).status == 404


def test_what_takes_too_long_ends(lite_uri: str, folder: Path) -> None:
    async def conversation(client: Client) -> None:
        result = await client.call_tool("find_duplicates", {"exact": False})
        assert result.is_error
        assert "longer than 1e-06 s" in text_of(result)

    filled(lite_uri, folder).close()

    async def alone() -> None:
        async with (
            await AsyncImageCollection.open("trip", uri=lite_uri, encoder=worded()) as photos,
            Client(make_server(photos, deadline=1e-6)) as client,
        ):
            await conversation(client)

    asyncio.run(alone())
