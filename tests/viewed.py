"""Collections of views in tests of a re-embedding: what their rows and journals are, and what an ingest would make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from changing_models import LookingEncoder
from fakes import FakeEncoder
from pictures import picture

from imgvec import ImageCollection
from imgvec.ingest.journal import TORN

DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "index": {"cpu": {"type": "FLAT"}},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}},
}
OWN = ("uri", "content_hash", "width", "height", "media_type", "album", "image_id", "view", "box", "at_ms")


def old() -> FakeEncoder:
    return LookingEncoder()


def new(dim: int = 24) -> FakeEncoder:
    return LookingEncoder(dim=dim, seed=7)


def some_pictures(folder: Path, number: int = 8) -> Path:
    """A folder of pictures, the last of which is too small for a part of the views."""
    folder.mkdir()
    for seed in range(number):
        picture(seed, (20, 20) if seed == number - 1 else (96, 80)).save(folder / f"{seed}.png")
    return folder


def rows_of(photos: ImageCollection, *more: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for rows in photos.store.scan([*OWN, "vector", *more]) for row in rows}


def noted(photos: ImageCollection) -> dict[str, tuple[str, dict[str, int]]]:
    """What the journal says of each picture."""
    journal = photos.handle.target.journal
    assert journal is not None
    found = (each for some in journal.scan(["content_hash", "views"]) for each in some)
    return {each["id"]: (each["content_hash"], dict(each["views"])) for each in found}


class Viewed(NamedTuple):
    """What is in a collection of views."""

    rows: Mapping[str, Mapping[str, Any]]
    journal: Mapping[str, tuple[str, dict[str, int]]]

    def check(self, photos: ImageCollection) -> int:
        """The same is in this one, whatever its metadata; returns how many rows there are."""
        found = rows_of(photos)
        assert found.keys() == self.rows.keys()
        for id_, row in found.items():
            expected = {**self.rows[id_], "album": row["album"]}
            np.testing.assert_allclose(row.pop("vector"), expected.pop("vector"), atol=1e-5)
            assert row == expected
        assert noted(photos) == self.journal
        return len(found)


def as_ingested(views: Mapping[str, Any], folder: Path, encoder: FakeEncoder, uri: str) -> Viewed:
    """What an ingest of those pictures makes, which is dropped again."""
    definition = {**DEFINITION, "views": views}
    with ImageCollection.create("afresh", definition=definition, uri=uri, encoder=encoder) as afresh:
        afresh.ingest(folder)
        made = Viewed(rows_of(afresh), noted(afresh))
        afresh.drop()
    assert all(content != TORN for content, _ in made.journal.values())
    return made


def check_as_ingested(photos: ImageCollection, folder: Path, encoder: FakeEncoder, uri: str) -> int:
    """The rows and the journal are those of an ingest of the same pictures; returns how many rows there are."""
    views = photos.definition.views
    assert views is not None
    return as_ingested(views.model_dump(exclude_none=True), folder, encoder, uri).check(photos)
