"""SIGKILL while pictures with several rows are written: nothing is lost, doubled or torn after the next run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import SERVER_BY_NIGHT
from fakes import FakeEncoder
from pictures import picture
from views_killer import POINTS

from imgvec import ImageCollection
from imgvec.rows import view_ids
from imgvec.sources import record_id

DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 16, "default": ""}},
    "views": {"grid": [2, 3]},
    "index": {"cpu": {"type": "FLAT"}},
}
HERE = Path(__file__).parent
TESTS = HERE.parents[1]
PICTURES = 24
FIELDS = ["uri", "content_hash", "album", "width", "image_id", "view", "box", "vector"]


class Source:
    """A folder whose pictures and metadata change from run to run: every third stays as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.metadata = folder, folder.with_suffix(".jsonl")
        folder.mkdir()
        for number in range(PICTURES):
            self._save(number, number)
        self.change(0)

    def change(self, run: int) -> None:
        """Pictures lose views and win them back, others are replaced, some are new, and the metadata is another."""
        for number in range(PICTURES):
            if number % 3 == 1:
                small = (number // 3 + (run + 1) // 2) % 2 == 1  # the same in two runs: of these the first is cut short
                self._save(number, 1000 * run + number, (28, 40) if small else (64, 48))
            elif number % 6 == 2:
                self._save(number, 1000 * run + number)
        self._save(PICTURES + run, 5000 + run)
        lines = [{"path": str(path), "album": f"run {run}"} for path in sorted(self.folder.glob("*5.png"))]
        self.metadata.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def unchanged(self) -> set[str]:
        """The ids of pictures that no run changes; the metadata of some does."""
        return {record_id(str(self._path(number))) for number in range(0, PICTURES, 3)}

    def _save(self, number: int, seed: int, size: tuple[int, int] = (64, 48)) -> None:
        picture(seed, size).save(self._path(number))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:03}.png"


def killed(uri: str, source: Source, point: str, nth: int) -> bool:
    """An ingest in a process of its own; whether it was killed at that point, and did not end before."""
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    script = [sys.executable, str(HERE / "views_killer.py"), uri, "killed"]
    command = [*script, str(source.folder), str(source.metadata), point, str(nth)]
    status = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, timeout=120).returncode
    assert status in (0, -signal.SIGKILL)
    return status != 0


def ingested(photos: ImageCollection, source: Source) -> None:
    report = photos.ingest(source.folder, metadata=source.metadata)
    assert not report.refused


def contents(uri: str, name: str) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Every row, and every picture in the journal, by id; checks that none is there twice."""
    with ImageCollection.open(name, uri=uri, encoder=FakeEncoder()) as photos:
        journal = photos.handle.target.journal
        assert journal is not None
        rows = [row for some in photos.store.scan(FIELDS) for row in some]
        entries = [entry for some in journal.scan(["uri", "content_hash", "views"]) for entry in some]
        assert photos.count() == len(rows) == len({row["id"] for row in rows})
        assert photos.count_pictures() == len(entries) == len({entry["id"] for entry in entries})
    return {row["id"]: row for row in rows}, {entry["id"]: entry for entry in entries}


def same(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> None:
    assert one.keys() == other.keys()
    for id_, row in one.items():
        assert {**row, "vector": None} == {**other[id_], "vector": None}
        if "vector" in row:
            np.testing.assert_allclose(row["vector"], other[id_]["vector"], atol=1e-6)


def kill_and_heal(uri: str, source: Source, kills: Sequence[tuple[str, int]]) -> int:
    """Each kill comes in the middle of new changes, on top of what the one before has left; returns how many did."""
    with ImageCollection.create("killed", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as photos:
        ingested(photos, source)
    whole, _ = contents(uri, "killed")
    still = {id_: row["vector"] for id_, row in whole.items() if row["image_id"] in source.unchanged()}
    assert len(still) == 14 * PICTURES // 3
    happened = 0
    for number, (point, nth) in enumerate(kills, start=1):
        source.change(number)
        happened += killed(uri, source, point, nth)
        rows, entries = contents(uri, "killed")
        for id_, vector in still.items():
            np.testing.assert_array_equal(rows[id_]["vector"], vector, err_msg=f"killed {point}, pass {nth}: lost")
        # each row is of a picture that the journal knows, with as many views at least
        known = {row_id for id_, entry in entries.items() for row_id in view_ids(id_, entry["views"])}
        assert rows.keys() <= known
        if number % 2 == 0:  # every other kill hits what the one before has torn
            heal(uri, source)
    heal(uri, source)
    return happened


def heal(uri: str, source: Source) -> None:
    """The next run makes it what a calm one makes of the same source, whichever rows were there."""
    with ImageCollection.open("killed", uri=uri, encoder=FakeEncoder()) as photos:
        ingested(photos, source)
    rows, entries = contents(uri, "killed")
    with ImageCollection.create("calm", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as photos:
        ingested(photos, source)
    calm_rows, calm_entries = contents(uri, "calm")
    with ImageCollection.open("calm", uri=uri, encoder=FakeEncoder()) as photos:
        photos.drop()
    # what metadata once said of a picture stays, where it says nothing now
    for each in (*rows.values(), *calm_rows.values()):
        each["album"] = each["album"] if each["uri"].endswith("5.png") else None
    same(rows, calm_rows)
    same(entries, calm_entries)


@SERVER_BY_NIGHT
def test_a_kill_at_each_point(backend_uri: str, tmp_path: Path) -> None:
    kills = [(point, 1) for point in POINTS]
    assert kill_and_heal(backend_uri, Source(tmp_path / "pictures"), kills) == len(POINTS)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_many_kills(backend_uri: str, tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    kills = [(point, int(random.integers(1, 4))) for _ in range(2) for point in random.permutation(POINTS)]
    assert kill_and_heal(backend_uri, Source(tmp_path / "pictures"), kills) >= 10
