"""`imgvec index verify` on real backends: a healthy collection is, and each fault is found by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from rows import id_of, numbered

import imgvec
from imgvec import ImageCollection
from imgvec.cli.index.verify import verify as command
from imgvec.indexes.findings import MEANINGS, Verification
from imgvec.indexes.verify import verify
from imgvec.milvus import Store

ROWS, DIM = 400, 16
INDEXED = 1100
"""A server leaves a segment below 1024 rows without an index."""
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {"rank": {"type": "INT64", "default": 0, "index": "AUTO"}},
    "index": {"cpu": {"type": "IVF_FLAT", "params": {"nlist": 32}, "search": {"nprobe": 32}}},
}
ALL = {"nprobe": 32}


def made(uri: str, metric: str = "COSINE") -> ImageCollection:
    definition = {**DEFINITION, "vector": {"metric_type": metric}}
    return ImageCollection.create("test_verify", definition=definition, uri=uri, encoder=FakeEncoder(dim=DIM))


def fill(photos: ImageCollection, count: int = ROWS) -> None:
    vectors = np.random.default_rng(0).standard_normal((count, DIM)).astype(np.float32)
    photos.store.upsert(
        [numbered(i, rank=i) for i in range(count)], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    )
    photos.store.wait_until_indexed(60)


def write_raw(photos: ImageCollection, row: int, vector: np.ndarray[Any, Any]) -> None:
    """Put a vector there that imgvec would refuse."""
    photos.store.link.client.insert(photos.name, [{**numbered(row, rank=row), "vector": vector.astype(np.float32)}])


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    """A healthy collection that tests only read."""
    with made(str(tmp_path_factory.mktemp("verify") / "lite.db")) as photos:
        fill(photos)
        yield photos


def names(found: Verification) -> list[str]:
    return [finding.name for finding in found.findings]


class Faulty:
    """A real store, whose answers something changes on their way."""

    def __init__(self, store: Store, **changed: Callable[..., Any]) -> None:
        self._store, self._changed = store, changed

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name not in self._changed:
            return real
        return lambda *given, **options: self._changed[name](real(*given, **options))


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_a_healthy_collection(backend_uri: str, metric: str) -> None:
    with made(backend_uri, metric) as photos:
        fill(photos, INDEXED)
        found = verify(photos.store, params=ALL, queries=100, probes=300)
        assert found.findings == ()
        assert found.recall is not None
        assert found.recall.mean == 1
        assert dict(found.checked) == {"vectors": INDEXED, "probes": 300, "queries": 100, "scores": 1100}
        some = verify(photos.store, params=ALL, filter="rank < 5", queries=100)
        assert (some.findings, some.rows) == ((), 5)


def test_a_parameter_that_is_too_low(backend_uri: str) -> None:
    with made(backend_uri) as photos:
        fill(photos, INDEXED)
        # a server searches what it has loaded while it grew by brute force, until it loads it again
        photos.store.build_index("IVF_FLAT", {"nlist": 32})
        found = verify(photos.store, params={"nprobe": 1})
        assert names(found) == ["low recall"]
        assert not found.ok
        assert found.recall is not None
        assert found.recall.high < 0.7
        assert verify(photos.store, params={"nprobe": 1}, recall=None).ok


def dropped(answers: Any) -> Any:
    return [[hit for hit in hits if hit.id != id_of(3)] for hits in answers]


def other_scores(answers: Any) -> Any:
    return [[replace(hit, score=hit.score - 0.01) for hit in hits] for hits in answers]


def no_scores(answers: Any) -> Any:
    return [[replace(hit, score=float("nan")) for hit in hits] for hits in answers]


def reversed_hits(answers: Any) -> Any:
    return [hits[::-1] for hits in answers]


def ghosts(answers: Any) -> Any:
    return [[*hits[:-1], replace(hits[-1], id="ghost")] for hits in answers]


def twice(answers: Any) -> Any:
    return [[hits[0], hits[1], *hits[1:-1]] for hits in answers]


def random_hits(answers: Any) -> Any:
    """As a graph that leads to random rows would answer: each search gets the hits of another, and its own row."""
    shifted = zip(answers, [*answers[1:], answers[0]], strict=True)
    return [[hits[0], *(hit for hit in other if hit.id != hits[0].id)] for hits, other in shifted]


def scanned_twice(pages: Any) -> Iterator[Any]:
    for page in pages:
        yield [*page, page[-1]]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"search": dropped}, {"unfindable row"}),
        ({"search": other_scores}, {"wrong score"}),
        ({"search": no_scores}, {"wrong score"}),
        ({"search": reversed_hits}, {"out of order"}),
        ({"search": ghosts}, {"unknown row", "low recall"}),
        ({"search": twice}, {"repeated id", "low recall"}),
        ({"search": random_hits}, {"wrong score", "low recall"}),
        ({"count": lambda number: number + 2}, {"row count"}),
        ({"scan": lambda pages: (page[1:] for page in pages)}, {"row count"}),
        ({"scan": scanned_twice}, {"repeated id", "row count"}),
        ({"index_state": lambda state: replace(state, indexed_rows=0)}, {"unfinished index"}),
        ({"index_state": lambda state: replace(state, state="Failed", reason="no disk")}, {"unfinished index"}),
    ],
    ids=lambda given: "-".join(sorted(given)),
)
def test_a_backend_that_answers_wrongly(
    lite: ImageCollection, fault: dict[str, Callable[..., Any]], expected: set[str]
) -> None:
    found = verify(Faulty(lite.store, **fault), params=ALL, probes=ROWS, recall=0.95)  # type: ignore[arg-type]
    # a row that a scan leaves out is a ghost to the searches that find it
    assert set(names(found)) - ({"unknown row"} if "scan" in fault else set()) == expected
    assert set(names(found)) <= MEANINGS.keys()
    assert found.ok == all(finding.severity == "warning" for finding in found.findings)


def test_rows_that_come_during_the_check(lite: ImageCollection) -> None:
    counts = iter([ROWS - 10, ROWS + 10])
    found = verify(Faulty(lite.store, count=lambda _: next(counts)), params=ALL)  # type: ignore[arg-type]
    assert (names(found), found.ok) == (["changed meanwhile"], True)


@pytest.mark.parametrize(
    ("metric", "vector", "finding", "ok"),
    [
        ("COSINE", np.full(DIM, np.nan), "not a number", False),
        ("L2", np.full(DIM, np.inf), "not a number", False),
        ("COSINE", np.zeros(DIM), "zero vector", False),
        ("IP", np.zeros(DIM), "zero vector", False),
        ("COSINE", np.eye(DIM)[0] * 2, "not unit length", True),
        ("IP", np.eye(DIM)[0] * 0.5, "not unit length", False),
        ("L2", np.zeros(DIM), None, True),
        ("L2", np.eye(DIM)[0] * 3, None, True),
    ],
)
def test_a_vector_that_is_none(lite_uri: str, metric: str, vector: Any, finding: str | None, ok: bool) -> None:
    """Milvus Lite stores them all."""
    with made(lite_uri, metric) as photos:
        fill(photos)
        write_raw(photos, ROWS, vector)
        found = verify(photos.store, params=ALL, queries=50, probes=200)
        assert [(f.name, f.examples) for f in found.findings] == ([(finding, (id_of(ROWS),))] if finding else [])
        assert found.ok is ok


def test_the_command(lite_uri: str, tmp_path: Path) -> None:
    with made(lite_uri) as photos:
        fill(photos)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(command, ["-c", "test_verify", "-p", "nprobe=32", *arguments], obj={"uri": lite_uri})
        return done.exit_code, done.stdout

    status, text = run("--queries", "100", "--where", "rank < 300")
    assert status == 0, text
    assert "test_verify: 300 rows, IVF_FLAT" in text
    assert "no problems found" in text

    with ImageCollection.open("test_verify", uri=lite_uri) as photos:
        write_raw(photos, ROWS, np.zeros(DIM))
    status, text = run("-o", "json", "--queries", "50")
    report = json.loads(text)
    assert (status, report["ok"], report["rows"]) == (1, False, ROWS + 1)
    assert [finding["name"] for finding in report["findings"]] == ["zero vector"]
    status, text = run("-p", "nprobe=1")
    assert status == 1
    assert "error: low recall: recall@10 is" in text
    assert "error: zero vector: 1 time, a stored vector" in text


def test_the_command_searches_as_the_collection_does(lite_uri: str) -> None:
    with made(lite_uri) as photos:
        fill(photos)
        imgvec.set_search_defaults(photos, {"nprobe": 1})
    done = CliRunner().invoke(command, ["-c", "test_verify"], obj={"uri": lite_uri})
    assert (done.exit_code, "low recall" in done.stdout) == (1, True)
    assert CliRunner().invoke(command, ["-c", "test_verify", "-p", "nprobe=32"], obj={"uri": lite_uri}).exit_code == 0
