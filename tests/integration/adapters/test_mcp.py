"""The MCP server, asked by the official SDK's client: `imgvec mcp` in a process of its own over stdio."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

import numpy as np
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, ImageContent, ResourceLink
from PIL import Image
from talking import base64_of, over_stdio, refused, said
from worded import DEFINITION, drawn, worded

from imgvec import AsyncImageCollection, ImageCollection
from imgvec.adapters.mcp.pictures import INLINE_BYTES, LINKED_BYTES
from imgvec.adapters.mcp.server import make_server

NAMES = ("red shoe", "blue shoe", "hat", "coat", "scarf", "glove", "belt")
FIELDS = {
    **DEFINITION["fields"],
    "caption": {"type": "VARCHAR", "max_length": 5000, "default": ""},
    "taken_at": {"type": "INT64", "default": 0, "format": "unix_ms"},
    "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_length": 20, "max_capacity": 4, "default": []},
}
TOOLS = {
    "search_by_text", "search_by_picture", "find_similar", "recommend", "get_pictures", "describe_collection", "count",
    "facets", "find_duplicates", "explain",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture a name, of noise, whose thumbnails are large; a copy of the hat; and a file of something else."""
    made = tmp_path / "pictures"
    made.mkdir()
    for number, name in enumerate(NAMES):
        noise = np.random.default_rng(number).integers(0, 60, (640, 640, 3), dtype=np.uint8)
        shown = np.asarray(drawn(name).resize((640, 640), Image.Resampling.NEAREST)) // 2 + noise
        Image.fromarray(shown.astype(np.uint8)).save(made / f"{name}.png")
    (made / "hat copy.png").write_bytes((made / "hat.png").read_bytes())
    return made


def filled(uri: str, folder: Path) -> dict[str, str]:
    """The ids by name of a collection of those pictures."""
    definition = {**DEFINITION, "fields": FIELDS}
    with ImageCollection.create("trip", definition=definition, uri=uri, encoder=worded()) as photos:
        metadata = {
            str(folder / f"{name}.png"): {
                "caption": name, "number": number, "taken_at": f"2024-0{number + 1}-01", "tags": name.split(),
            }
            for number, name in enumerate(NAMES)
        }  # fmt: skip
        metadata[str(folder / "hat copy.png")] = {"caption": "long " * 500, "number": -1}
        assert photos.ingest(folder, metadata=metadata).written == len(NAMES) + 1
        rows = [row for rows in photos.store.scan(["uri"]) for row in rows]
        return {Path(row["uri"]).stem: row["id"] for row in rows}


def test_every_tool(backend_uri: str, folder: Path) -> None:
    ids = filled(backend_uri, folder)
    names = {id_: name for name, id_ in ids.items()}

    async def conversation(client: Client) -> None:
        assert client.server_info is not None
        assert client.server_info.name == "imgvec: trip"
        assert "describe_collection" in (client.instructions or "")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {*tools} == TOOLS
        for tool in tools.values():
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint
            assert not tool.annotations.open_world_hint
            assert tool.output_schema is not None
            assert tool.output_schema["type"] == "object"
            assert tool.input_schema["additionalProperties"] is False
            assert all(about.get("description") for about in tool.input_schema.get("properties", {}).values()), (
                tool.name
            )

        about, _ = await said(client, "describe_collection")
        assert (about["name"], about["pictures"], about["search_by_text"]) == ("trip", 8, True)
        assert about["vectors"] == ["vector"]
        assert about["fields"]["caption"]["type"] == "VARCHAR(5000)"
        for example in about["filters"][1:]:  # each can be used as it stands
            await said(client, "count", where=example)

        found, content = await said(client, "search_by_text", words="hat", where="number >= 0")
        assert names[found["hits"][0]["id"]] == "hat"
        assert found["hits"][0]["fields"]["taken_at"].startswith("2024-03-01T00:00:00")
        assert len(found["hits"]) == len(NAMES)
        # four thumbnails, in order, and links to the others
        images, links = content[:4], content[4:]
        assert found["thumbnails_of"] == [hit["id"] for hit in found["hits"][:4]]
        for image in images:
            assert isinstance(image, ImageContent)
            assert image.mime_type == "image/jpeg"
            data = b64decode(image.data)
            assert len(data) <= INLINE_BYTES
            with Image.open(BytesIO(data)) as opened:
                assert max(opened.size) <= 320
        assert [link.uri for link in links] == [hit["picture"] for hit in found["hits"][4:]]
        assert all(isinstance(link, ResourceLink) for link in links)
        read = (await client.read_resource(links[0].uri)).contents[0]
        assert isinstance(read, BlobResourceContents)
        data = b64decode(read.blob)
        assert len(data) <= LINKED_BYTES
        with Image.open(BytesIO(data)) as opened:
            assert opened.size == (640, 640)

        found, content = await said(
            client, "search_by_picture", picture=base64_of(folder / "coat.png"), limit=1, thumbnails=0
        )
        assert names[found["hits"][0]["id"]] == "coat"
        assert [type(each) for each in content] == [ResourceLink]
        boxed, _ = await said(
            client,
            "search_by_picture",
            picture=f"data:image/png;base64,{base64_of(folder / 'coat.png')}",
            box=[0, 0, 320, 320],
            limit=8,
        )
        assert boxed["hits"] != found["hits"]

        found, _ = await said(client, "find_similar", id=ids["hat"], limit=3, where="number < 3")
        assert names[found["hits"][0]["id"]] == "hat copy"
        assert ids["hat"] not in {hit["id"] for hit in found["hits"]}
        found, _ = await said(client, "find_similar", id=ids["hat"], box=[0, 0, 640, 320], limit=8)
        assert len(found["hits"]) == 7

        found, _ = await said(
            client, "recommend", liked=[ids["hat"]], disliked=[ids["scarf"]], strategy="sum", limit=8, facet=["tags"]
        )
        assert names[found["hits"][0]["id"]] == "hat copy"
        assert {ids["hat"], ids["scarf"]}.isdisjoint(hit["id"] for hit in found["hits"])
        assert {"value": "shoe", "count": 2} in found["facets"]["tags"]["counts"]

        found, content = await said(client, "get_pictures", ids=[ids["belt"], "not there", ids["belt"]])
        assert [each["fields"]["caption"] for each in found["pictures"]] == ["belt"]
        assert found["unknown_ids"] == ["not there"]
        assert len(content) == 1

        assert (await said(client, "count"))[0] == {"pictures": 8, "rows": 8}
        assert (await said(client, "count", where='array_contains(tags, "shoe")'))[0]["pictures"] == 2
        found, _ = await said(client, "facets", fields=["tags", "number"], where='caption == "red shoe"')
        assert found["facets"]["number"] == {
            "counts": [{"value": 0, "count": 1}], "values": 1, "over": "rows", "total": 1,
        }  # fmt: skip

        found, content = await said(client, "find_duplicates", exact=True)
        [group] = found["groups"]
        assert {group["best"]["id"], group["others"][0]["id"]} == {ids["hat"], ids["hat copy"]}
        assert (found["complete"], group["kind"], len(content)) == (True, "file", 2)

        for query in ({"query_id": ids["hat"]}, {"picture": base64_of(folder / "hat.png")}):
            found, content = await said(client, "explain", id=ids["hat copy"], **query)
            assert found["score"] == pytest.approx(1, abs=1e-3)
            assert isinstance(content[0], ImageContent)
            assert len(b64decode(content[0].data)) <= 4 * INLINE_BYTES

    assert "Traceback" not in over_stdio(backend_uri, folder, conversation)
    with ImageCollection.open("trip", uri=backend_uri) as photos:
        assert photos.count() == 8
        assert photos.learned.keys() == []  # not even what was found among duplicates was written


def test_what_others_wrote_is_shown_in_part(lite_uri: str, folder: Path, tmp_path: Path) -> None:
    ids = filled(lite_uri, folder)

    async def conversation(client: Client) -> None:
        found, _ = await said(client, "get_pictures", ids=[ids["hat copy"]], thumbnails=0)
        assert found["pictures"][0]["fields"]["caption"] == "long " * 400 + "…"
        vectors, _ = await said(client, "find_similar", id=ids["hat"], output_fields=["vector"], limit=1)
        assert vectors["hits"][0]["fields"]["vector"].endswith("…")

        # pictures outside the roots are not opened: hits come without them
        found, content = await said(client, "search_by_text", words="hat", limit=2)
        assert found["thumbnails_of"] == []
        assert [type(each) for each in content] == [ResourceLink] * 2
        with pytest.raises(MCPError, match="root"):
            await client.read_resource(content[0].uri)

    assert "Traceback" not in over_stdio(lite_uri, folder, conversation, roots=str(tmp_path / "elsewhere"))


def test_with_write_it_deletes_and_keeps_duplicates(lite_uri: str, folder: Path) -> None:
    ids = filled(lite_uri, folder)

    async def conversation() -> None:
        async with await AsyncImageCollection.open("trip", uri=lite_uri, encoder=worded()) as photos:
            async with Client(make_server(photos)) as client:
                cut, _ = await said(client, "find_duplicates", exact=True, seconds=1e-9)
                assert cut["complete"] is False
                assert "Unknown tool" in await refused(client, "delete_pictures", ids=[ids["hat"]])
            assert photos.collection.learned.keys() == []
            async with Client(make_server(photos, write=True)) as client:
                tools = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
                assert {*tools} == {*TOOLS, "delete_pictures"}
                writing = {name for name, about in tools.items() if about and not about.read_only_hint}
                assert writing == {"delete_pictures", "find_duplicates"}
                assert (await said(client, "find_duplicates", exact=True))[0]["groups_found"] == 1
                gone = [ids["hat copy"], "not there"]
                assert (await said(client, "delete_pictures", ids=gone))[0] == {"deleted": 1}
                assert (await said(client, "count"))[0]["pictures"] == 7
            assert photos.collection.learned.keys() != []

    asyncio.run(conversation())
