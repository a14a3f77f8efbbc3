"""`imgvec index types` and `index plan -c` on Milvus Lite and on a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder

from imgvec import ImageCollection
from imgvec.cli.index import index
from imgvec.errors import BackendError
from imgvec.indexes.catalog import INDEX_TYPES, SCALAR_INDEXES

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
    said = "takes the name, and searches by brute force" if lite else "needs Milvus 2.6, this is 2.3.5"
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


@pytest.mark.parametrize("number", range(12))
def test_the_server_builds_what_is_proposed(server_uri: str, number: int) -> None:
    """Each proposal that fits the backend, as `-o yaml` gives it, makes a collection that can be searched."""
    import yaml

    with ImageCollection.create(
        "planned", definition=DEFINITION, uri=server_uri, encoder=FakeEncoder(), exist_ok=True
    ) as photos:
        there = photos.store.capabilities
    here = [each for each in proposals(server_uri, "--rows", "1000000", "--recall", "0.5") if each["why_not"] is None]
    if number >= len(here):
        pytest.skip("no more proposals here")
    each = here[number]
    assert each["type"] in there.index_types
    sections = yaml.safe_dump({"type": each["type"], "params": each["build"], "search": each["search"]})
    definition = {"encoder": {"model": "fake"}, "index": {"cpu": yaml.safe_load(sections)}}
    with ImageCollection.create("built", definition=definition, uri=server_uri, encoder=FakeEncoder()) as photos:
        try:
            assert photos.search_many([np.ones(16, np.float32)], limit=5) == [[]]
        except BackendError as exc:  # pragma: no cover
            pytest.fail(str(exc))
        finally:
            photos.drop()
