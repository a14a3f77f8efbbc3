"""Facets, histograms and orders over HTTP: kept while nobody writes, and never after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from rows import id_of, numbered
from served import Client, serving
from vector_rows import unit

from imgvec import ImageCollection, Settings
from imgvec.milvus.lite_rows import Live

FIELDS = {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}, "rank": {"type": "INT64", "default": 0}}
V1 = "/v1/collections/whole"


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One for each time that rows were taken from the columns."""
    found: list[Any] = []
    rows = Live.rows
    monkeypatch.setattr(Live, "rows", lambda self, names: [found.append(names), rows(self, names)][1])
    return found


def test_what_is_said_of_all_rows_is_never_what_was_before_a_write(tmp_path: Path, scans: list[Any]) -> None:
    settings = Settings(uri=str(tmp_path / "whole.db"), roots=())
    definition = {"encoder": {"model": "fake"}, "fields": FIELDS}
    with ImageCollection.create("whole", definition=definition, settings=settings, encoder=FakeEncoder()) as photos:
        store = photos.store
        there: dict[int, tuple[str, int]] = {}

        def put(numbers: range, album: str) -> None:
            rows = [numbered(number, album=album, rank=100 - number) for number in numbers]
            store.upsert(rows, unit(len(rows), 0))
            there.update({number: (album, 100 - number) for number in numbers})

        def discard(number: int) -> None:
            store.discard([id_of(number)])
            del there[number]

        def looked(client: Client) -> None:
            albums = [album for album, _ in there.values()]
            facets = client.get(f"{V1}/facets?field=album").json["facets"]["album"]["counts"]
            assert {each["value"]: each["count"] for each in facets} == {one: albums.count(one) for one in albums}
            bins = client.get(f"{V1}/histogram?field=rank&bins=1000").json["bins"]
            assert [each["from"] for each in bins if each["count"]] == sorted(rank for _, rank in there.values())
            after, ids = "", []
            while after is not None:
                page = client.get(f"{V1}/images?order_by=rank&limit=5&field=rank{after and '&after=' + after}").json
                ids += [each["id"] for each in page["images"]]
                after = page["next"]
            assert ids == [id_of(number) for number in sorted(there, reverse=True)]

        writes: list[Callable[[], object]] = [
            lambda: put(range(12), "cats"),
            lambda: put(range(3, 5), "dogs"),
            lambda: discard(7),
            lambda: [discard(8), put(range(20, 21), "cats")],
            store.flush,
            lambda: put(range(5, 6), "dogs"),
            lambda: discard(0),
        ]
        with serving({"whole": photos}) as client:
            for write in writes:
                write()
                scans.clear()
                looked(client)
                assert len(scans) <= 3
                scans.clear()
                looked(client)
                assert not scans
