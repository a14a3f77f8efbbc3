"""The configuration in README, as a newcomer pastes it: both entries lead to a server that answers."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import ImageContent
from served import serving
from talking import over_http, said
from worded import DEFINITION, drawn_in, plugged, worded

from imgvec import ImageCollection, Settings
from imgvec.serving.tokens import new_token

README = Path(__file__).parents[3] / "README.md"


async def conversation(client: Client) -> None:
    assert (await said(client, "describe_collection"))[0]["pictures"] == 2
    found, content = await said(client, "search_by_text", words="hat", limit=1)
    assert found["hits"][0]["score"] > 0.99
    assert isinstance(content[0], ImageContent)


def test_the_documented_configuration(tmp_path: Path) -> None:
    [block] = [
        each for each in re.findall(r"```json\n(.*?)```", README.read_text("utf-8"), re.DOTALL) if "mcpS" in each
    ]
    home = tmp_path / "me"
    home.mkdir()
    folder = drawn_in(home / "Pictures", ["hat", "coat"])
    uri = str(home / "imgvec.db")
    with ImageCollection.create("photos", definition=DEFINITION, uri=uri, encoder=worded()) as photos:
        photos.ingest(folder)
    servers: dict[str, Any] = json.loads(block.replace("/home/me", str(home)))["mcpServers"]

    own = servers["photos"]
    assert own["command"] == str(home / "venv/bin/imgvec")
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "imgvec", *own["args"]],
        env={**plugged(tmp_path / "plug-in"), **own["env"]},
        cwd="/",  # as a desktop program starts it
    )

    async def talk() -> None:
        async with Client(stdio_client(parameters), read_timeout_seconds=120) as client:
            await conversation(client)

    asyncio.run(talk())

    served = servers["served"]
    token = new_token(tmp_path / "tokens", "agent")
    opened = ImageCollection.open("photos", settings=Settings(uri=uri, roots=(folder,)), encoder=worded())
    with closing(opened), serving({"photos": opened}, mcp=True, token_file=str(tmp_path / "tokens")) as server:
        headers = {name: value.replace("imgvec_TOKEN", token) for name, value in served["headers"].items()}
        over_http(served["url"].replace(":8000", f":{server.port}"), conversation, **headers)
