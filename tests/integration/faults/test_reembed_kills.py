"""SIGKILL at any step of a re-embedding: whoever asks by the name has all rows, of one model; the next run ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import viewed
from changing_models import (
    DEFINITION,
    Asking,
    check_vectors,
    encoder_of,
    hashes,
    looking_encoder_of,
    new_encoder,
    old_encoder,
)
from fakes import FakeEncoder
from milvus_cluster import MilvusCluster
from pictures import picture

import imgvec
from imgvec import ImageCollection
from imgvec.verbs import reembedding

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
FEW = ("before 2", "after 3", "after 7")


def run(uri: str, name: str, point: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "reembed_killer.py"), uri, name, point]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, timeout=300, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.loading.loaded_encoder", encoder_of)
    monkeypatch.setattr(reembedding, "HOLD_SECONDS", 0.0)


def begun(uri: str, folder: Path, name: str) -> dict[str, str]:
    """A collection of twenty pictures, which clients call `name`."""
    with ImageCollection.create("photos", definition=DEFINITION, uri=uri, encoder=old_encoder()) as photos:
        photos.ingest(folder)
        if name != "photos":
            imgvec.set_alias(photos, name)
        return hashes(photos)


def cleared(uri: str, name: str) -> None:
    """What is there under any name is dropped."""
    with ImageCollection.open(name, uri=uri) as photos:
        connection = photos.handle.connection
        for alias in connection.aliases():
            connection.link.client.drop_alias(alias)
        for each in connection.collections():
            connection.link.client.drop_collection(each)


def check(uri: str, name: str, there: dict[str, str]) -> FakeEncoder:
    """Every row, of the one model or the other, and searches by picture find what they should; returns the model."""
    with ImageCollection.open(name, uri=uri) as photos:
        encoder = encoder_of(name, photos.binding)
        assert hashes(photos) == there
        assert check_vectors(photos, encoder) == len(there)
        assert photos.search(picture(3), limit=1, consistency_level="Strong")[0].score == pytest.approx(1, abs=1e-2)
        return encoder


def kill_and_finish(uri: str, folder: Path, name: str, points: list[str] | tuple[str, ...], *, asking: bool) -> None:
    new, kills, by = new_encoder().binding.fingerprint, 0, set[str]()
    for point in points:
        there = begun(uri, folder, name)
        if asking:
            with ImageCollection.open(name, uri=uri) as handle:
                handle.search(picture(0), consistency_level="Strong")
                with Asking(handle) as queries:
                    kills += run(uri, name, point).returncode == -signal.SIGKILL
                    by.add(check(uri, name, there).binding.fingerprint)
                    done = run(uri, name, "nothing")
                with ImageCollection.open(name, uri=uri) as now:
                    former = imgvec.succession.of(now.store.remembered).name
                    with ImageCollection.open(former, uri=uri) as old:
                        wrong, _ = queries.wrong((old, old_encoder()), (now, new_encoder()))
                assert (queries.failed, wrong) == ([], []), point
                print(f"killed {point}: {len(queries.answers)} answers, none wrong, none failed", flush=True)
        else:
            kills += run(uri, name, point).returncode == -signal.SIGKILL
            by.add(check(uri, name, there).binding.fingerprint)
            done = run(uri, name, "nothing")
        assert done.returncode == 0, point
        assert check(uri, name, there).binding.fingerprint == new, point
        with ImageCollection.open(name, uri=uri) as photos:
            imgvec.finish_reembedding(photos)
            names = [each for each in photos.handle.connection.collections() if "__" not in each]
            assert len(names) == 1, (point, names)
        cleared(uri, name)
    assert kills == len(points)
    if len(points) > 5:
        assert len(by) == 2, "some were killed before the swap, and some after it"


def every_point(uri: str, folder: Path, name: str) -> list[str]:
    begun(uri, folder, name)
    calls = int(run(uri, name, "nothing").stdout)
    cleared(uri, name)
    return [f"{when} {number}" for number in range(1, calls + 1) for when in ("before", "after")]


def test_killed_at_a_few_points(lite_uri: str, pictures: Path) -> None:
    kill_and_finish(lite_uri, pictures, "photos", FEW, asking=False)


@pytest.mark.nightly
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", ["photos", "live"], ids=["own name", "alias"])
def test_killed_at_every_point(backend_uri: str, pictures: Path, name: str) -> None:
    points = every_point(backend_uri, pictures, name)
    kill_and_finish(backend_uri, pictures, name, points, asking="://" in backend_uri)


@pytest.mark.nightly
@pytest.mark.cluster
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", ["photos", "live"], ids=["own name", "alias"])
def test_killed_on_a_cluster(own_cluster: MilvusCluster, pictures: Path, name: str) -> None:
    points = every_point(own_cluster.uri, pictures, name)
    kill_and_finish(own_cluster.uri, pictures, name, points[::3], asking=True)


@pytest.mark.nightly
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("views", [{"grid": [2]}, {"regions": 3}], ids=["grid", "regions"])
def test_views_killed_at_every_point(
    backend_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: dict[str, Any]
) -> None:
    monkeypatch.setattr("imgvec.loading.loaded_encoder", looking_encoder_of)
    folder = viewed.some_pictures(tmp_path / "views")
    new = looking_encoder_of("", new_encoder().binding)
    were, are = (viewed.as_ingested(views, folder, each, backend_uri) for each in (viewed.old(), new))
    points, kills, by_new = ["nothing"], 0, 0
    for point in points:
        definition = {**viewed.DEFINITION, "views": views}
        with ImageCollection.create("parts", definition=definition, uri=backend_uri, encoder=viewed.old()) as parts:
            parts.ingest(folder)
        killed = run(backend_uri, "parts", point)
        if point == "nothing":
            points += [
                f"{when} {number}" for number in range(1, int(killed.stdout) + 1) for when in ("before", "after")
            ]
        else:
            kills += killed.returncode == -signal.SIGKILL
            with ImageCollection.open("parts", uri=backend_uri) as parts:
                is_new = parts.binding.fingerprint == new.binding.fingerprint
                (are if is_new else were).check(parts)
                by_new += is_new
                found = parts.search(picture(3, (96, 80)), limit=1, consistency_level="Strong")
                assert found[0].score == pytest.approx(1, abs=1e-2)
            assert run(backend_uri, "parts", "nothing").returncode == 0, point
            print(f"killed {point}, by then {'new' if is_new else 'old'}: whole, and so after the next run", flush=True)
        with ImageCollection.open("parts", uri=backend_uri) as parts:
            assert parts.binding.fingerprint == new.binding.fingerprint, point
            are.check(parts)
            assert parts.ingest(folder).unchanged == len(are.journal)
            imgvec.finish_reembedding(parts)
            names = parts.handle.connection.collections()
            assert len([each for each in names if "__" not in each]) == 1, (point, names)
        cleared(backend_uri, "parts")
    print(f"{kills} kills, {by_new} of them after the swap", flush=True)
    assert kills == len(points) - 1
    assert 0 < by_new < kills
