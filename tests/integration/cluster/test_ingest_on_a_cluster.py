"""Ingest into a Milvus cluster, by one process, by Ray's workers and by two processes at once, gives the same rows."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from pictures import picture
from ray_nodes import ray_nodes
from replicated import ON_A_CLUSTER, check_replicas

from imgvec import ImageCollection
from imgvec.engines import RayEngine

pytestmark = pytest.mark.cluster

TESTS = Path(__file__).parents[2]
PICTURES, REFUSED = 150, 2
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
        "rating": {"type": "INT8", "default": -1},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in two albums, and two files that are none."""
    folder = tmp_path_factory.mktemp("source") / "pictures"
    for i in range(PICTURES):
        path = folder / f"album{i % 2}" / f"{i:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path, quality=95)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "empty.png").touch()
    return folder


@pytest.fixture(scope="module")
def metadata(folder: Path) -> Path:
    """Fields of every picture: two that the definition names, and one more."""
    path = folder.parent / "metadata.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "album", "rating", "place"])
        for i, each in enumerate(sorted(folder.rglob("*.jpg"))):
            if each.name != "broken.jpg":
                table.writerow([each, each.parent.name, i % 100, f"p{i}"])
    return path


@pytest.fixture(scope="module")
def wanted(folder: Path, metadata: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process writes to Milvus Lite."""
    uri = str(tmp_path_factory.mktemp("wanted") / "lite.db")
    with ImageCollection.create("wanted", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as photos:
        report = photos.ingest(folder, metadata=metadata)
        assert (report.written, report.refused.total()) == (PICTURES, REFUSED)
        return content(photos)


@pytest.fixture(scope="module")
def two_ray_workers() -> Iterator[RayEngine]:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with ray_nodes(1):
        yield RayEngine(workers=2, encoder_factory=FakeEncoder)


def created(name: str, uri: str) -> ImageCollection:
    return ImageCollection.create(name, definition=DEFINITION | ON_A_CLUSTER, uri=uri, encoder=FakeEncoder())


def content(photos: ImageCollection) -> dict[str, dict[str, Any]]:
    """Every row with its vector, as it is compared."""
    return {
        row["id"]: {k: v.tolist() if k == "vector" else v for k, v in row.items() if k != "ingested_at"}
        for page in photos.store.scan(["*", "vector"])
        for row in page
    }


def test_one_process(cluster_uri: str, folder: Path, metadata: Path, wanted: dict[str, Any]) -> None:
    with created("by_one", cluster_uri) as photos:
        report = photos.ingest(folder, metadata=metadata)
        assert (report.seen, report.written, report.refused.total()) == (PICTURES + REFUSED, PICTURES, REFUSED)
        assert content(photos) == wanted
        again = photos.ingest(folder, metadata=metadata)
        assert (again.written, again.updated, again.unchanged) == (0, 0, PICTURES)
        assert photos.count() == PICTURES
        check_replicas(photos)


def test_two_workers_of_ray(
    cluster_uri: str, folder: Path, metadata: Path, wanted: dict[str, Any], two_ray_workers: RayEngine
) -> None:
    with created("by_ray", cluster_uri) as photos:
        report = photos.ingest(folder, metadata=metadata, engine=two_ray_workers)
        assert (report.seen, report.written, report.refused.total()) == (PICTURES + REFUSED, PICTURES, REFUSED)
        assert content(photos) == wanted
        again = photos.ingest(folder, metadata=metadata)
        assert (again.written, again.updated, again.unchanged) == (0, 0, PICTURES)
        assert photos.count() == PICTURES


def test_two_processes_at_once(cluster_uri: str, folder: Path, metadata: Path, wanted: dict[str, Any]) -> None:
    with created("by_two", cluster_uri) as photos:
        script = Path(__file__).with_name("one_part.py")
        command = [sys.executable, str(script), cluster_uri, "by_two", str(folder), str(metadata)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))}
        parts = [
            subprocess.Popen(
                [*command, str(rank), "2"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )
            for rank in range(2)
        ]  # fmt: skip
        try:
            for part in parts:
                assert part.stdout is not None
                assert part.stdout.readline() == "ready\n"
            for part in parts:
                assert part.stdin is not None
                part.stdin.write("go\n")
                part.stdin.flush()
            said = [json.loads(part.communicate(timeout=120)[0]) for part in parts]
        finally:
            for part in parts:
                part.kill()
                part.wait()
        assert [part.returncode for part in parts] == [0, 0]
        assert sum(each["seen"] for each in said) == PICTURES + REFUSED, said
        assert sum(each["written"] for each in said) == PICTURES, said
        assert sum(sum(each["refused"].values()) for each in said) == REFUSED, said
        assert all(each["written"] > PICTURES // 4 for each in said), said
        assert content(photos) == wanted
        again = photos.ingest(folder, metadata=metadata)
        assert (again.written, again.updated, again.unchanged) == (0, 0, PICTURES)
