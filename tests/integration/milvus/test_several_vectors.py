"""Collections with several vector fields: each found by exact NumPy, read, written, built and lost by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Make
from milvus_rows import FIELDS, Vectors, definition, full_row, unit_vectors

from imgvec.errors import DefinitionError, QueryError, UnsupportedByBackend, WriteFailed
from imgvec.indexes.scores import true_scores
from imgvec.milvus import Connection, Store
from imgvec.milvus.scratch import scratch
from imgvec.rows import ID
from imgvec.stored import IndexInfo

N, DIMS = 300, {"texture": 6, "colour": 12}
TEXTURE: dict[str, Any] = {"encoder": {"model": "t"}, "index": {"cpu": {"type": "FLAT"}}}
COLOUR: dict[str, Any] = {
    "encoder": {"model": "c"},
    "vector": {"metric_type": "L2"},
    "index": {"cpu": {"type": "HNSW", "params": {"M": 8, "efConstruction": 99}, "search": {"ef": 200}}},
}
SEVERAL = definition(fields=FIELDS, vectors={"texture": TEXTURE, "colour": COLOUR})
IDS = [f"{n:032x}" for n in range(N)]


def stored() -> dict[str, Vectors]:
    return {
        "vector": unit_vectors(N, 8, seed=1),
        "texture": unit_vectors(N, 6, seed=2),
        "colour": 3 * np.random.default_rng(3).standard_normal((N, 12)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def lite(uri: str, backend: Connection) -> Connection:
    if backend.capabilities.kind != "lite":
        pytest.skip("Milvus 2.3 has one vector field in a collection")
    return backend


@pytest.fixture
def several(lite: Connection, make: Make) -> Store:
    store = make(SEVERAL, dims=DIMS)
    vectors = stored()
    rows = [full_row(id_, rank=n) for n, id_ in enumerate(IDS)]
    assert store.upsert(rows, vectors.pop("vector"), vectors) == N
    return store


def test_a_server_with_one_vector_field_refuses_before_anything_is_made(backend: Connection, make: Make) -> None:
    if backend.capabilities.max_vectors > 1:
        pytest.skip("this one has several")
    before = backend.collections()
    with pytest.raises(UnsupportedByBackend, match="1 vector field in a collection, and the definition has vector, te"):
        make(SEVERAL, dims=DIMS)
    assert backend.collections() == before


def test_what_was_asked_for_is_read_back(several: Store, backend: Connection) -> None:
    for store in (several, backend.open(several.name)):
        assert {name: (each.dim, each.metric_type, each.index.type) for name, each in store.vectors.items()} == {
            "vector": (8, "COSINE", "FLAT"),
            "texture": (6, "COSINE", "FLAT"),
            "colour": (12, "L2", "HNSW"),
        }
        assert store.vectors["colour"].index.params == {"M": 8, "efConstruction": 99}
        assert not {"vector", "texture", "colour"} & store.fields.keys()
    several.refresh()
    assert several.vectors["colour"].index == IndexInfo("HNSW", {"M": 8, "efConstruction": 99})


@pytest.mark.parametrize("vector", ["vector", "texture", "colour"])
@pytest.mark.parametrize("condition", ["", "rank < 100"])
def test_each_vector_is_found_as_exact_search_finds_it(several: Store, vector: str, condition: str) -> None:
    field = several.vectors[vector]
    matching = stored()[vector][: 100 if condition else N]
    queries = unit_vectors(20, field.dim, seed=9)
    params = {"ef": 400} if field.index.type == "HNSW" else {}
    answers = several.search(queries, limit=10, filter=condition, vector=vector, params=params)
    for query, found in zip(queries, answers, strict=True):
        scores = true_scores(field.metric_type, query, matching)
        best = np.argsort(-scores, kind="stable")[:10]
        assert [each.id for each in found] == [IDS[n] for n in best]
        np.testing.assert_allclose([each.score for each in found], scores[best], atol=2e-5)


def test_search_parameters_are_those_of_the_vectors_own_index(several: Store) -> None:
    query = unit_vectors(1, 12)
    assert several.check_search({"ef": 80}, vector="colour") == {"ef": 80}
    with pytest.raises(QueryError, match="ef"):
        several.check_search({"ef": 80}, vector="texture")
    with pytest.raises(QueryError, match="ef"):
        several.search(unit_vectors(1, 6), limit=1, vector="texture", params={"ef": 80})
    with pytest.raises(QueryError, match="the vectors have dim 12, but the collection has dim 6"):
        several.search(query, limit=1, vector="texture")
    with pytest.raises(QueryError, match=r"no vector 'shape' \(vectors: vector, texture, colour\)"):
        several.search(query, limit=1, vector="shape")


def test_stored_vectors_are_read_by_their_names(several: Store) -> None:
    wanted = stored()
    row = several.get([IDS[7]], output_fields=["*", "texture"], with_vector=True)[IDS[7]]
    assert row["rank"] == 7
    assert "colour" not in row
    for name in ("vector", "texture"):
        assert row[name].dtype == np.float32
        np.testing.assert_array_equal(row[name], wanted[name][7])
    assert not {"vector", "texture", "colour"} & several.get([IDS[7]], output_fields=["*"])[IDS[7]].keys()
    scanned = [row for rows in several.scan(["colour", "vector"]) for row in rows]
    assert [row[ID] for row in scanned] == IDS
    for name in ("colour", "vector"):
        np.testing.assert_array_equal(np.stack([row[name] for row in scanned]), wanted[name])
    [found] = several.search(wanted["texture"][:1], limit=1, vector="texture", output_fields=["colour"])
    np.testing.assert_array_equal(found[0].fields["colour"], wanted["colour"][0])


def test_a_row_comes_with_all_of_its_vectors_or_not_at_all(several: Store) -> None:
    vectors = {name: each[:1] for name, each in stored().items()}
    first = vectors.pop("vector")
    refused: list[tuple[Any, str]] = [
        (None, "each row has the further vectors texture, colour: texture, colour missing"),
        ({"texture": vectors["texture"]}, "colour missing"),
        ({**vectors, "shape": first}, "it has no vector shape"),
        ({**vectors, "texture": vectors["texture"][:, :3]}, "texture: the vectors have dim 3"),
        ({**vectors, "texture": 2 * vectors["texture"]}, "texture: vector 0 has length 2"),
        ({**vectors, "colour": np.vstack([vectors["colour"]] * 2)}, "1 rows with 2 vectors colour"),
        ({**vectors, "colour": vectors["colour"] * np.float32(np.nan)}, "colour: vector 0 is not finite"),
    ]
    for more, says in refused:
        with pytest.raises(WriteFailed, match=says):
            several.upsert([full_row("f" * 32)], first, more)
    with pytest.raises(WriteFailed, match="texture must be passed separately"):
        several.upsert([full_row("f" * 32, texture=[1.0] * 6)], first, vectors)
    assert several.count() == N


def test_an_index_of_one_vector_is_built_and_the_others_stay(several: Store, backend: Connection) -> None:
    before = dict(several.vectors)
    several.build_index("HNSW", {"M": 16, "efConstruction": 50}, vector="texture")
    assert several.vectors["texture"].index == IndexInfo("HNSW", {"M": 16, "efConstruction": 50})
    again = backend.open(several.name)
    for store in (several, again):
        assert {name: store.vectors[name] for name in ("vector", "colour")} == {
            name: before[name] for name in ("vector", "colour")
        }
    [found] = again.search(stored()["texture"][5:6], limit=1, vector="texture", params={"ef": 300})
    assert (found[0].id, found[0].score) == (IDS[5], pytest.approx(1, abs=1e-5))
    assert again.index_state("texture").indexed_rows == N
    with pytest.raises(QueryError, match="no vector 'shape'"):
        several.build_index("FLAT", {}, vector="shape")
    with pytest.raises(UnsupportedByBackend, match="SCANN"):
        several.build_index("SCANN", {}, vector="texture")


def test_a_lost_index_of_a_further_vector_is_built_again(several: Store, backend: Connection) -> None:
    """As after a kill amid a build: what it had is remembered under that vector's own name."""
    texture = several.vectors["texture"]
    kept = {"type": texture.index.type, "params": dict(texture.index.params), "metric_type": texture.metric_type}
    several.link.remember("former_index.texture", kept)
    several.release()
    several.link.client.drop_index(several.name, "texture_idx")
    again = backend.open(several.name)
    assert again.vectors["texture"] == texture
    [found] = again.search(stored()["texture"][5:6], limit=1, vector="texture")
    assert found[0].id == IDS[5]


def test_a_copy_has_every_vector(several: Store, backend: Connection) -> None:
    with scratch(backend, several, SEVERAL, without=IDS[:100]) as copy:
        assert copy.count() == N - 100
        for name, wanted in stored().items():
            rows = copy.get(IDS[100:], output_fields=[name])
            np.testing.assert_allclose(np.stack([rows[id_][name] for id_ in IDS[100:]]), wanted[100:], atol=1e-7)
            assert copy.vectors[name].index.type == "FLAT"


def test_a_vector_without_its_dim_is_refused_before_anything_is_made(lite: Connection, make: Make) -> None:
    with pytest.raises(DefinitionError, match="dim = 0"):
        make(SEVERAL, dims={**DIMS, "texture": 0})
