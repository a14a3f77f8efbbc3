"""SIGKILL in the middle of an ingest: no acknowledged row is lost, none is there twice, the next run completes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEncoder
from killer import POINTS
from pictures import picture

from imgvec import ImageCollection

DEFINITION = {"encoder": {"model": "fake"}}
HERE = Path(__file__).parent
TESTS = HERE.parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred small pictures."""
    made = tmp_path_factory.mktemp("pictures")
    for i in range(100):
        picture(i).save(made / f"{i:03}.jpg")
    return made


def run(uri: str, name: str, folder: Path, acknowledged: Path, *point: str) -> int:
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "killer.py"), uri, name, str(folder), str(acknowledged), *point]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, timeout=120).returncode


def contents(uri: str, name: str) -> dict[str, tuple[str, np.ndarray]]:
    """Every row's uri and vector by id; checks that no id is there twice."""
    with ImageCollection.open(name, uri=uri, encoder=FakeEncoder()) as photos:
        ids = [row["id"] for rows in photos.store.scan(["id"]) for row in rows]
        assert photos.count() == len(ids) == len(set(ids))
        return {id_: (row["uri"], row["vector"]) for id_, row in photos.get(ids, with_vector=True).items()}


def kill_and_finish(uri: str, folder: Path, tmp_path: Path, kills: list[tuple[str, int]]) -> None:
    for name in ("calm", "killed"):
        ImageCollection.create(name, definition=DEFINITION, uri=uri, encoder=FakeEncoder()).close()
    assert run(uri, "calm", folder, tmp_path / "calm.txt") == 0
    acknowledged = tmp_path / "acknowledged.txt"
    acknowledged.touch()
    happened = 0
    for point, nth in kills:
        happened += run(uri, "killed", folder, acknowledged, point, str(nth)) == -signal.SIGKILL
        there = contents(uri, "killed")
        lost = set(acknowledged.read_text().split()) - there.keys()
        assert not lost, f"killed {point}, pass {nth}: {len(lost)} acknowledged rows lost"
    assert happened >= min(3, len(kills)), "hardly any run was killed: the points are not reached"
    assert run(uri, "killed", folder, acknowledged) == 0
    calm, killed = contents(uri, "calm"), contents(uri, "killed")
    assert len(calm) == 100
    assert {id_: uri for id_, (uri, _) in calm.items()} == {id_: uri for id_, (uri, _) in killed.items()}
    for id_, (_, vector) in calm.items():
        np.testing.assert_allclose(vector, killed[id_][1], atol=1e-5)


def test_four_kills(backend_uri: str, folder: Path, tmp_path: Path) -> None:
    # early enough that each run still has something to do
    kill_and_finish(backend_uri, folder, tmp_path, [(POINTS[0], 10), (POINTS[3], 1), (POINTS[1], 5), (POINTS[2], 2)])


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10))
def test_forty_kills_on_lite(lite_uri: str, folder: Path, tmp_path: Path, seed: int) -> None:
    _at_random(lite_uri, folder, tmp_path, seed)


@pytest.mark.nightly
@pytest.mark.server
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_twenty_kills_on_the_server(backend_uri: str, folder: Path, tmp_path: Path, seed: int) -> None:
    if "://" not in backend_uri:
        pytest.skip("Milvus Lite has its own forty")
    _at_random(backend_uri, folder, tmp_path, seed)


def _at_random(uri: str, folder: Path, tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    passes = {"after decode": 16, "after encode": 4, "before upsert": 2, "after upsert": 2}
    kills = [(point, int(random.integers(1, passes[point] + 1))) for point in random.permutation(POINTS)]
    kill_and_finish(uri, folder, tmp_path, kills)
