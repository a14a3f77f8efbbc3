"""What is done to a collection as a whole, from Python as from the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder

import imgvec
from imgvec import ImageCollection, Progress
from imgvec.cli import main
from imgvec.errors import CollectionNotFound, DefinitionError, QueryError, UsageError
from imgvec.milvus import deferred

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": "none"}},
    "index": {"cpu": {"type": "FLAT"}},
}


def command(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == status, result.output + str(result.exception)
    return result


@pytest.fixture
def staged(lite_uri: str, pictures: Path, tmp_path: Path) -> Path:
    """What `ingest --via parquet` wrote for the collection `photos`, which is empty."""
    with ImageCollection.create("photos", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as photos:
        assert photos.ingest(pictures, via=tmp_path / "staged").written == 20
    return tmp_path / "staged"


def test_a_staged_folder_is_imported_as_any_other(lite_uri: str, staged: Path, tmp_path: Path) -> None:
    errors = tmp_path / "refused.jsonl"
    words = ("--uri", lite_uri, "collections", "import", "-c", "photos", str(staged))
    data = json.loads(command(*words, "-o", "json", "--errors", str(errors)).stdout)
    assert (data["seen"], data["written"], data["refused"]) == (20, 20, {})
    assert errors.read_text() == ""
    assert "20 rows imported" in command(*words).stdout


@pytest.mark.parametrize(
    "option",
    [["--normalize"], ["--ids", "id"], ["--metadata", "m.csv"], ["--vector-column", "v"], ["--dim", "16"]],
)
def test_what_a_staged_folder_says_itself_is_refused(lite_uri: str, staged: Path, option: list[str]) -> None:
    words = ("--uri", lite_uri, "collections", "import", "-c", "photos", str(staged))
    said = command(*words, *option, status=1).stderr
    assert "contains complete rows: omit" in said
    assert option[0].removeprefix("--") in said
    with ImageCollection.open("photos", uri=lite_uri) as photos:
        assert photos.count() == 0


def test_a_collection_is_made_for_a_staged_folder(lite_uri: str, staged: Path) -> None:
    words = ("--uri", lite_uri, "collections", "import", "-c", "copy", str(staged))
    assert "copy" in command(*words, status=1).stderr
    assert "20 rows imported" in command(*words, "--create").stdout
    with ImageCollection.open("copy", uri=lite_uri) as copy:
        assert (copy.binding, copy.count()) == (FakeEncoder().binding, 20)
        assert copy.store.index.type == "FLAT"


def test_an_import_tells_how_far_it_is(lite_uri: str, staged: Path) -> None:
    told: list[Progress] = []
    with ImageCollection.open("photos", uri=lite_uri, encoder=FakeEncoder()) as photos:
        report = imgvec.import_vectors(photos, staged, on_progress=told.append)
    assert (report.seen, report.written) == (20, 20)
    assert (told[-1].work, told[-1].done, told[-1].counts["written"]) == ("import", 20, 20)


@pytest.fixture
def filled(lite_uri: str) -> ImageCollection:
    made = imgvec.create_for_vectors("filled", dim=16, definition=DEFINITION, settings=imgvec.Settings(uri=lite_uri))
    vectors = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made.store.upsert(_rows(600), vectors)
    return made


def _rows(number: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"{i:04}", "uri": f"/{i:04}.jpg", "content_hash": "", "width": 1, "height": 1, "media_type": "",
            "ingested_at": 0, "album": "even" if i % 2 == 0 else "odd",
        }
        for i in range(number)
    ]  # fmt: skip


def test_the_index_from_python(filled: ImageCollection) -> None:
    with pytest.raises(DefinitionError, match="'HSNW' is not an index type, did you mean 'HNSW'"):
        imgvec.build_index(filled, "HSNW")
    told: list[Progress] = []
    assert imgvec.build_index(filled, "HNSW", {"M": 8, "efConstruction": 64}, on_progress=told.append) >= 0
    assert told[-1].work == "build"
    assert filled.store.index.type == "HNSW"
    assert imgvec.index_status(filled)["type"] == "HNSW"
    assert imgvec.verify(filled, queries=50, probes=100, recall=None).ok
    queries = np.random.default_rng(1).standard_normal((400, 16)).astype(np.float32)
    tuned = imgvec.tune(filled, recall=0.8, queries=queries, where=["album == 'even'"])
    assert tuned.reached
    imgvec.apply_tuning(filled, tuned)
    assert dict(filled.search_defaults.params) == dict(tuned.chosen())
    assert imgvec.plan_index(filled)[0].why_not is None


def test_a_choice_for_another_index_builds_it(filled: ImageCollection) -> None:
    queries = np.random.default_rng(1).standard_normal((400, 16)).astype(np.float32)
    compared = imgvec.compare_indexes(filled, ["IVF_FLAT"], recall=0.8, queries=queries)
    best = compared.winner
    assert best is not None
    assert not best.is_of(filled.store.index)
    filled.store.remember(deferred.WAITING, {"vector": {"type": "HNSW", "params": {}}})
    imgvec.apply_tuning(filled, best)
    assert best.is_of(filled.store.index)
    assert deferred.WAITING not in filled.store.remembered  # this one is meant from now on, not what an import left
    assert filled.search_defaults.source == "chosen"


def test_misuse_is_said_before_anything_is_done(filled: ImageCollection, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        imgvec.build_index(filled, "HNSW", gpu=True)
    with pytest.raises(UsageError, match="need the type of the index"):
        imgvec.build_index(filled, params={"M": 8})
    with pytest.raises(UsageError, match="give query_labels too"):
        imgvec.evaluate(filled, label="album", queries=tmp_path)
    with pytest.raises(UsageError, match="or their dimension"):
        imgvec.create_for_vectors("nothing")
    (tmp_path / "q.npy").write_bytes(b"not an array")
    with pytest.raises(QueryError, match=r"q\.npy is not a \.npy file"):
        imgvec.tune(filled, queries=tmp_path / "q.npy")
    with pytest.raises(CollectionNotFound):
        ImageCollection.open("nothing", settings=filled.settings)
    assert filled.store.index.type == "FLAT"


def test_labels_measure_from_python(filled: ImageCollection) -> None:
    found = imgvec.evaluate(filled, label="album", k=[5], sample=50)
    assert 0.3 < found.micro["precision@5"] < 0.7
    compared = imgvec.compare(filled, filled, label="album", k=[5], sample=50)
    assert compared.micro[0].difference == 0
