"""What a collection remembers outlives a restart of its server: 2.3.5 loses the last change of a property otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from milvus_server import MilvusServer

import imgvec
from imgvec import ImageCollection
from imgvec.milvus.vector_index import VectorIndex
from imgvec.retry import Retry

pytestmark = pytest.mark.server

DEFINITION = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "HNSW", "params": {"M": 8}}}}


def created(name: str, uri: str) -> ImageCollection:
    return ImageCollection.create(name, definition=DEFINITION, uri=uri, encoder=FakeEncoder())


def opened(name: str, uri: str) -> ImageCollection:
    # a server that was killed needs its lease's time to load collections
    return Retry(60).call(lambda: ImageCollection.open(name, uri=uri, encoder=FakeEncoder()))


def killed(*_: Any) -> None:
    raise MemoryError


def test_every_property_is_there_after_a_restart(
    own_server: MilvusServer, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = own_server.uri
    # in each collection the last change is the one that is looked for afterwards
    with created("chosen", uri) as photos:
        photos.ingest(pictures)
        imgvec.set_search_defaults(photos, {"ef": 77}, about={"recall": 0.95})
    with created("chosen_twice", uri) as photos:
        imgvec.set_search_defaults(photos, {"ef": 77})
        imgvec.set_search_defaults(photos, {"ef": 78})
    with created("forgotten", uri) as photos:
        imgvec.set_search_defaults(photos, {"ef": 77})
        imgvec.set_search_defaults(photos, {})
    with created("building", uri) as photos, monkeypatch.context() as patch:
        photos.ingest(pictures)
        # a killed process does nothing after it has dropped the index
        patch.setattr(VectorIndex, "_create", killed)
        patch.setattr(VectorIndex, "_put_back", killed)
        with pytest.raises(MemoryError):
            photos.store.build_index("IVF_FLAT", {"nlist": 4})
    with created("built", uri) as photos:
        photos.store.build_index("IVF_FLAT", {"nlist": 4})

    own_server.kill()
    own_server.start()

    with opened("chosen", uri) as photos:
        assert photos.search_defaults.source == "chosen"
        assert (dict(photos.search_defaults.params), photos.search_defaults.about) == ({"ef": 77}, {"recall": 0.95})
        assert photos.count() == 20
    with opened("chosen_twice", uri) as photos:
        assert dict(photos.search_defaults.params) == {"ef": 78}
    with opened("forgotten", uri) as photos:
        assert (photos.search_defaults.source, photos.store.remembered) == ("catalogue", {})
    with opened("building", uri) as photos:
        assert (photos.store.index.type, photos.store.index.params["M"]) == ("HNSW", 8)
        photos.store.wait_until_indexed(60)
        assert len(photos.search(np.eye(1, 16, dtype=np.float32)[0], limit=20)) == 20
    with opened("built", uri) as photos:
        assert (photos.store.index.type, photos.store.remembered) == ("IVF_FLAT", {})
