"""What another client changes, an open handle sees once it is refreshed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeEncoder

import imgvec
from imgvec import ImageCollection
from imgvec.errors import BackendError, CollectionNotFound, EncoderMismatch

DEFINITION = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "HNSW", "params": {"M": 8}}}}


@pytest.fixture
def handles(backend_uri: str, pictures: Path) -> Iterator[tuple[ImageCollection, ImageCollection]]:
    """Two of one collection."""
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures)
        with ImageCollection.open("trip", uri=backend_uri, encoder=FakeEncoder()) as other:
            yield photos, other


def test_search_defaults_that_another_client_chose(handles: tuple[ImageCollection, ImageCollection]) -> None:
    photos, other = handles
    imgvec.set_search_defaults(other, {"ef": 77})
    assert photos.search_defaults.source == "catalogue"
    photos.refresh()
    assert (photos.search_defaults.source, dict(photos.search_defaults.params)) == ("chosen", {"ef": 77})
    imgvec.set_search_defaults(other, {})
    photos.refresh()
    assert photos.search_defaults.source == "catalogue"


def test_an_index_that_another_client_built(handles: tuple[ImageCollection, ImageCollection], pictures: Path) -> None:
    photos, other = handles
    other.store.build_index("IVF_FLAT", {"nlist": 4})
    imgvec.set_search_defaults(other, {"nprobe": 4})
    photos.refresh()
    assert (photos.store.index.type, dict(photos.store.index.params)) == ("IVF_FLAT", {"nlist": 4})
    assert photos.store.check_search({}) == {"nprobe": 4}, "the catalogue's, as large as this nlist"
    assert imgvec.index_status(photos)["search"]["params"] == {"nprobe": 4}
    query = pictures / "album0" / "00.jpg"
    assert photos.search(query, limit=1, consistency_level="Strong")[0].uri == str(query)


def test_another_collection_of_that_name_is_not_taken_for_it(
    backend_uri: str, handles: tuple[ImageCollection, ImageCollection]
) -> None:
    photos, other = handles
    before = photos.store.index
    other.drop()
    with pytest.raises(CollectionNotFound, match="was dropped or renamed"):
        photos.refresh()
    replaced = ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder(seed=7))
    with replaced, pytest.raises(EncoderMismatch, match="open it again"):
        photos.refresh()
    with pytest.raises(EncoderMismatch, match="open it again"):
        photos.drop()
    assert photos.store.index == before
    with ImageCollection.open("trip", uri=backend_uri, encoder=FakeEncoder(seed=7)) as new:
        assert new.count() == 0


def test_an_index_amid_a_build_is_asked_for_again(
    handles: tuple[ImageCollection, ImageCollection], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, _ = handles
    monkeypatch.setattr(type(photos.store.link.database), "describe_index", lambda *_, **__: None)
    with pytest.raises(BackendError, match="another client is building it") as raised:
        photos.refresh()
    assert raised.value.retryable


def test_a_store_cannot_be_dropped(handles: tuple[ImageCollection, ImageCollection]) -> None:
    """Which `photos.drop()` does, with all that belongs to it."""
    assert not hasattr(handles[0].store, "drop")
