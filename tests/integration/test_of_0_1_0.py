"""A collection that 0.1.0 made goes on as before: opened, ingested into, searched, tuned.

`of_0_1_0.json` was written by 0.1.0 itself: what it made of `photos` and 24 pictures, as Milvus described it, every
row, and its own answer to a search. Here Milvus's client makes it again, on each backend as 0.1.0 did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from PIL import Image
from pymilvus import DataType, MilvusClient

import imgvec
from imgvec import ImageCollection, Pixels, StoredId, VectorQuery, field
from imgvec.database import list_collections
from imgvec.errors import CollectionReplaced
from imgvec.milvus import connect
from imgvec.settings import Settings

FORMER: dict[str, Any] = json.loads((Path(__file__).parent / "of_0_1_0.json").read_text(encoding="utf-8"))
N = len(FORMER["rows"])


def pixels(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def made_by_0_1_0(client: MilvusClient, name: str, *, lite: bool) -> None:
    schema = MilvusClient.create_schema(enable_dynamic_field=True, description=FORMER["description"])
    for each in FORMER["fields"]:
        options = {"is_primary": True} if each.get("is_primary") else {}
        if "element_type" in each:
            options = {"element_type": DataType[each["element_type"]], "max_length": 128}
        schema.add_field(each["name"], DataType[each["type"]], **each["params"], **options)
    kept = {"properties": {"imgvec.description": FORMER["description"]}} if lite else {}
    client.create_collection(name, schema=schema, consistency_level="Bounded", num_shards=1, **kept)
    build = {"M": 16, "efConstruction": 200}
    for field_name, kind, options in (
        ("vector", "HNSW", {"metric_type": "COSINE", "params": {"params": build} if lite else build}),
        ("album", "INVERTED" if lite else "Trie", {}),
        ("taken_at", "INVERTED" if lite else "STL_SORT", {}),
    ):
        wanted = MilvusClient.prepare_index_params(field_name, index_type=kind, index_name=field_name, **options)
        client.create_index(name, wanted, sync=False)
    client.insert(name, FORMER["rows"])


@pytest.fixture
def trip(backend_uri: str) -> Iterator[ImageCollection]:
    with connect(backend_uri) as connection:
        made_by_0_1_0(connection.link.client, "trip", lite=connection.capabilities.kind == "lite")
    with ImageCollection.open("trip", uri=backend_uri, encoder=FakeEncoder()) as collection:
        yield collection


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(N):
        Image.fromarray(pixels(seed)).save(folder / f"{seed:02}.bmp")
    return folder


def test_it_opens_as_what_it_was(trip: ImageCollection, backend_uri: str) -> None:
    assert trip.count() == N
    assert list(trip.bindings.items()) == [("vector", FakeEncoder().binding)]
    assert trip.definition.images.sixteen_bit == "full"
    assert (trip.definition.views, trip.definition.vectors, trip.alias) == (None, {}, None)
    assert trip.describe()["vectors"] == {}
    assert "trip" in [each.name for each in list_collections(Settings.load(uri=backend_uri))]


def test_it_is_searched_as_before(trip: ImageCollection) -> None:
    ids, scores = zip(*FORMER["answer"], strict=True)
    row = FORMER["rows"][3]
    for query in (StoredId(row["id"]), VectorQuery(row["vector"]), Pixels(pixels(3))):
        answer = trip.search(query, limit=5)
        assert [hit.id for hit in answer] == list(ids)
        np.testing.assert_allclose([hit.score for hit in answer], scores, atol=2e-5)
    hills = trip.search(Pixels(pixels(3)), where=field("album") == "hills", limit=N)
    assert {hit.uri for hit in hills} == {row["uri"] for row in FORMER["rows"] if row["album"] == "hills"}
    assert hills[0].fields["place"] == "p3"


def test_it_is_ingested_into_as_before(trip: ImageCollection, pictures: Path) -> None:
    again = trip.ingest(imgvec.Source(pictures, root=pictures))
    assert (again.seen, again.unchanged, again.written) == (N, N, 0)
    Image.fromarray(pixels(99)).save(pictures / "05.bmp")
    Image.fromarray(pixels(100)).save(pictures / "new.bmp")
    (pictures / "07.bmp").unlink()
    source = imgvec.Source(pictures, root=pictures)
    report = trip.ingest(source, metadata={str(pictures / "06.bmp"): {"album": "town"}})
    assert (report.written, report.updated, report.unchanged) == (2, 1, N - 3)
    assert trip.prune(source) == 1
    assert trip.count() == N
    rows = {row["uri"]: row for row in trip.get([row["id"] for row in FORMER["rows"]], with_vector=True).values()}
    assert rows.keys() == {row["uri"] for row in FORMER["rows"]} - {"07.bmp"}
    assert (rows["06.bmp"]["album"], rows["06.bmp"]["place"], rows["05.bmp"]["place"]) == ("town", "p6", "p5")
    np.testing.assert_array_equal(rows["06.bmp"]["vector"], np.float32(FORMER["rows"][6]["vector"]))
    np.testing.assert_allclose(
        rows["05.bmp"]["vector"], FakeEncoder().encode_images([Image.fromarray(pixels(99))])[0], atol=1e-6
    )


def test_its_index_is_tuned_and_verified_as_before(trip: ImageCollection) -> None:
    queries = FakeEncoder().encode_images([Image.fromarray(pixels(seed)) for seed in range(200, 500)])
    best = imgvec.tune(trip, queries=queries, recall=0.9, limit=5)
    imgvec.apply_tuning(trip, best)
    assert dict(trip.search_defaults.params) == dict(best.chosen())
    assert imgvec.verify(trip, queries=N, probes=N, limit=5).findings == ()


def test_a_handle_of_it_notices_another(trip: ImageCollection, backend_uri: str, pictures: Path) -> None:
    """It has no random bits; one made again today has."""
    with ImageCollection.open("trip", uri=backend_uri) as other:
        other.drop()
    with (
        ImageCollection.create("trip", definition="photos", uri=backend_uri, encoder=FakeEncoder()),
        pytest.raises(CollectionReplaced),
    ):
        trip.ingest(pictures)
