"""`imgvec index types` and `index plan -c` on Milvus Lite and on a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from rows import numbered

from imgvec import ImageCollection
from imgvec.catalog import INDEX_TYPES, SCALAR_INDEXES
from imgvec.cli.index import index

DEFINITION = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}}


def run(uri: str, *words: str) -> Result:
    result = CliRunner().invoke(index, list(words), obj={"uri": uri}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_every_type_is_listed_and_what_is_missing_says_why(backend_uri: str) -> None:
    out = json.loads(run(backend_uri, "types", "-o", "json").stdout)
    assert [each["name"] for each in out["vector"]] == list(INDEX_TYPES)
    assert [each["name"] for each in out["scalar"]] == list(SCALAR_INDEXES)
    for each in out["vector"] + out["scalar"]:
        assert (each["why_not"] is None) == (each["available"] is not False)
    by_name = {each["name"]: each for each in out["vector"]}
    assert by_name["HNSW"]["available"]
    assert [p["name"] for p in by_name["HNSW"]["build"]] == ["M", "efConstruction"]
    assert by_name["HNSW"]["build"][0]["accepts"] == "an integer from 2 to 2048"
    assert by_name["GPU_CAGRA"]["max_limit"] == 1024
    assert "range search" in by_name["GPU_CAGRA"]["cannot"]
    lite = "://" not in backend_uri
    said = "accepts the name, but searches by brute force" if lite else "needs Milvus 2.6, this is 2.3.5"
    assert by_name["IVF_RABITQ"]["why_not"] == said
    assert by_name["SCANN"]["available"] is not lite


def test_the_table_has_every_type_and_parameter(lite_uri: str) -> None:
    out = run(lite_uri, "types").stdout
    for kind in INDEX_TYPES.values():
        assert kind.name in out
        for parameter in (*kind.build, *kind.search):
            assert f"{parameter.name} " in out
    assert all(name in out for name in SCALAR_INDEXES)
    assert "Milvus Lite 3." in out
    assert not Path(lite_uri).exists()  # looking makes no file


def proposals(uri: str, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(uri, "plan", "-c", "planned", *words, "-o", "json").stdout)
    return found


def test_a_plan_for_a_collection_keeps_to_its_backend(backend_uri: str) -> None:
    with ImageCollection.create("planned", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as photos:
        available = photos.store.capabilities.index_types
    found = proposals(backend_uri)
    assert found[0]["type"] == "FLAT"
    assert found[0]["index_bytes"] == 1 * 16 * 4  # an empty collection is planned for as one row
    for each in found:
        there = each["type"] in available and each["vector_type"] == "FLOAT_VECTOR"
        assert (each["why_not"] is None) == there, each
    assert proposals(backend_uri, "--rows", "1000000")[0]["type"] == "HNSW"
    # DISKANN would be next; Milvus Lite has none, and the wheel's build cannot finish it
    tight = proposals(backend_uri, "--rows", "1000000", "--memory", "20MiB")
    assert tight[0]["type"] in available


def test_whatever_is_proposed_is_built_and_searched(backend_uri: str) -> None:
    vectors = np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with ImageCollection.create("planned", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as photos:
        photos.store.upsert([numbered(i) for i in range(len(vectors))], vectors)
        wanted = photos.store.capabilities.index_types - {"AUTOINDEX", "BIN_FLAT", "BIN_IVF_FLAT"}
        if photos.store.capabilities.kind == "server":  # ten seconds each
            wanted &= {"IVF_PQ", "SCANN"}
        for type_ in wanted:
            each = next(each for each in proposals(backend_uri) if each["type"] == type_)
            photos.store.build_index(type_, each["build"])
            for hits in photos.store.search(vectors[:20], limit=10, params=each["search"]):
                assert len(hits) == 10
