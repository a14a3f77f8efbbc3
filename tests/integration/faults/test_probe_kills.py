"""SIGKILL of a writer beside standing probes: what is known of them is still what NumPy finds, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEncoder
from mixed_writes import nearest_known, wrong
from rows import numbered

import imgvec
from imgvec import ImageCollection
from imgvec.vectors import Vectors

DIM, ROWS, PROBES = 16, 1200, 60
TESTS = Path(__file__).parents[2]
POINTS = ("noted", "written", "deleted")
DEFINITION = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}}


def drawn(number: int, seed: int) -> Vectors:
    centres = np.random.default_rng(99).standard_normal((40, DIM))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 40, number)] + 0.7 * rng.standard_normal((number, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def killed(uri: str, file: Path, seed: int, *kill: str) -> subprocess.Popen[bytes]:
    """A process that writes until it is killed."""
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    arguments = [uri, "probed", str(file), str(seed), "1000000", str(ROWS), *kill]
    return subprocess.Popen(
        [sys.executable, str(TESTS / "mixed_writes.py"), *arguments], env={**os.environ, "PYTHONPATH": paths}
    )


def check(uri: str, *, closed: bool = False) -> None:
    with ImageCollection.open("probed", uri=uri, encoder=FakeEncoder(dim=DIM)) as collection:
        known = nearest_known(collection)
        assert known
        assert not wrong(collection, known)
        found = imgvec.watch_index(collection, no_scan=not closed)
        assert found is not None
        assert (found.lost, found.unnoted, found.falls) == ([], 0, [])  # nobody deleted rows past imgvec
        if closed:
            known = nearest_known(collection)
            assert len(known) == PROBES
            assert not wrong(collection, known)


def kill_and_check(uri: str, file: Path, kills: list[tuple[str, int]], *, at_once: int) -> None:
    np.save(file, drawn(2000, 7))
    with ImageCollection.create("probed", definition=DEFINITION, uri=uri, encoder=FakeEncoder(dim=DIM)) as collection:
        collection.store.upsert([numbered(each) for each in range(ROWS)], drawn(ROWS, 0))
        assert imgvec.watch_index(collection, queries=drawn(PROBES, 5)) is not None
    seed = 1
    while kills:
        some, kills = kills[:at_once], kills[at_once:]
        writers = [killed(uri, file, seed + place, point, str(nth)) for place, (point, nth) in enumerate(some)]
        seed += at_once
        assert [each.wait(120) for each in writers] == [-signal.SIGKILL] * len(writers)
        check(uri)
    check(uri, closed=True)


def test_a_writer_killed_before_and_after_its_rows_are_written(lite_uri: str, tmp_path: Path) -> None:
    kill_and_check(lite_uri, tmp_path / "vectors.npy", [("noted", 1), ("written", 2), ("deleted", 2)], at_once=1)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_writers_killed_at_random(backend_uri: str, tmp_path: Path, seed: int) -> None:
    """Two at once on a server; a file of Milvus Lite is one process's."""
    random = np.random.default_rng(seed)
    kills = [
        (point, int(random.integers(1, 9))) for point in (*random.permutation(POINTS), *random.permutation(POINTS))
    ]
    kill_and_check(backend_uri, tmp_path / "vectors.npy", kills, at_once=2 if "://" in backend_uri else 1)
