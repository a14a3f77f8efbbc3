"""Standing probes of views, of further vectors and of vectors in 16 bits: what is known is what NumPy finds."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from mixed_writes import nearest_known, write, wrong
from pictures import picture
from rows import numbered

import imgvec
from imgvec import ImageCollection, catalog
from imgvec.milvus.codec import as_stored
from imgvec.vectors import Vectors

DIM = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(30):
        picture(number).save(made / f"{number:02}.png")
    return made


def all_known(collection: ImageCollection, vector: str = "vector", depth: int = 10) -> int:
    """How many probes are not open; all of these are right."""
    known = nearest_known(collection, depth, vector)
    assert not wrong(collection, known, depth, vector)
    return len(known)


def changed(collection: ImageCollection, folder: Path, vector: str = "vector") -> None:
    """Pictures come, change and go, and the probes know."""
    for number in range(5):
        picture(50 + number).save(folder / f"new{number}.png")
        picture(60 + number).save(folder / f"{number:02}.png")
        (folder / f"{10 + number}.png").unlink()
    report = collection.ingest(folder)
    assert report.written == 10
    assert collection.prune(folder) == 5
    known = all_known(collection, vector)
    found = imgvec.watch_index(collection, vector=vector)
    assert found is not None
    assert (found.lost, found.unnoted, found.falls, found.open) == ([], 0, [], 0)
    assert all_known(collection, vector) == found.probes >= known > found.probes // 2


def test_of_views(lite_uri: str, folder: Path) -> None:
    definition = {"encoder": {"model": "fake"}, "views": {"grid": [2]}, "index": {"cpu": {"type": "FLAT"}}}
    encoder = FakeEncoder(dim=DIM)
    with ImageCollection.create("viewed", definition=definition, uri=lite_uri, encoder=encoder) as photos:
        photos.ingest(folder)
        made = imgvec.watch_index(photos)
        assert made is not None
        assert (made.now.rows, made.probes, made.open) == (150, 150, 0)  # of each view, as it is a row
        changed(photos, folder)


def test_of_a_further_vector(lite_uri: str, folder: Path) -> None:
    texture = {"encoder": {"model": "fake"}, "vector": {"metric_type": "L2"}, "index": {"cpu": {"type": "FLAT"}}}
    definition = {"encoder": {"model": "fake"}, "vectors": {"texture": texture}, "index": {"cpu": {"type": "FLAT"}}}
    encoders = {"texture": FakeEncoder(seed=5, dim=24)}
    with ImageCollection.create(
        "several", definition=definition, uri=lite_uri, encoder=FakeEncoder(dim=DIM), encoders=encoders
    ) as photos:
        photos.ingest(folder)
        made = imgvec.watch_index(photos, vector="texture")
        assert made is not None
        assert (made.vector, made.probes, made.open) == ("texture", 30, 0)
        changed(photos, folder, "texture")
        both = imgvec.watch_index(photos)  # the first one beside it
        assert both is not None
        picture(77).save(folder / "last.png")
        photos.ingest(folder)
        assert all_known(photos) == both.probes
        assert all_known(photos, "texture") == made.probes


@pytest.mark.nightly
@pytest.mark.server
def test_of_vectors_in_16_bits(backend_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """2.3.5 stores FLOAT16 and gives the rows right, though its searches are not to be relied on, so that imgvec leaves
    it alone: here it is told otherwise."""
    if "://" not in backend_uri:
        pytest.skip("Milvus Lite has no vectors of 16 bits")
    types = {**catalog.VECTOR_TYPES, "FLOAT16_VECTOR": (2, (2, 0))}
    monkeypatch.setattr(catalog, "VECTOR_TYPES", MappingProxyType(types))
    index = {"cpu": {"type": "FLAT"}}
    definition: dict[str, Any] = {"encoder": {"model": "fake"}, "vector": {"type": "FLOAT16_VECTOR"}, "index": index}
    encoder = FakeEncoder(dim=DIM)
    with ImageCollection.create("halves", definition=definition, uri=backend_uri, encoder=encoder) as halves:
        vectors = drawn(600)
        halves.store.upsert([numbered(each) for each in range(600)], vectors)
        stored = halves.get([numbered(3)["id"]], with_vector=True)[numbered(3)["id"]]["vector"]
        np.testing.assert_array_equal(stored, as_stored(vectors[3:4], "FLOAT16_VECTOR")[0])
        assert np.abs(stored - vectors[3]).max() > 1e-5  # more than scores may differ by
        made = imgvec.watch_index(halves, queries=drawn(40, 5))
        assert made is not None
        assert all_known(halves, depth=100) == 40
        write(halves, drawn(400, 3), 3, 100, 600)
        assert all_known(halves, depth=100) > 20
        halves.drop()


def drawn(number: int, seed: int = 0) -> Vectors:
    made = np.random.default_rng(seed).standard_normal((number, DIM))
    scaled: Vectors = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return scaled
