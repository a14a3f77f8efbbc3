"""SIGKILL while a person is forgotten: whoever writes next finishes it, and no picture is left half done."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from square_faces import Squares, created, near, persons, picture, sound

import imgvec
from imgvec import FaceEncoder, ImageCollection, field
from imgvec.errors import QueryError
from imgvec.milvus.learned import LEARNED

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
LEFT = {"0": ["Bob", ""], "1": ["Bob"], "2": ["Cy", "Bob"], "4": ["Bob", "Cy", ""]}
"""Whose faces are left of each picture without Ann; that of her alone has none."""
WRITES = (20, 21)
"""The note of her; her enrolment; of each of three rounds the notes, torn, rows, lost rows, the journal and no notes;
the note of her again. Where the picture that has no other face is a round of its own, that writes no rows."""

Healer = Callable[[ImageCollection, Path], Any]


def by_ingest(club: ImageCollection, album: Path) -> None:
    notices: list[str] = []
    report = club.ingest(album, on_notice=notices.append)
    assert (report.unchanged, report.written) == (5, 0)  # nothing has to be encoded again
    assert notices in ([], ["Ann is forgotten now, as was begun and not finished before"])


def by_forgetting(club: ImageCollection, _: Path) -> None:
    with suppress(QueryError):  # nobody of that name: it ended before it was killed
        imgvec.forget_person(club, "Ann")


def by_naming(club: ImageCollection, _: Path) -> None:
    assert "Ann" not in imgvec.name_faces(club).named


def by_enrolling(club: ImageCollection, album: Path) -> None:
    imgvec.enrol_person(club, "Di", [picture(album.with_name("di.png"), "Di")])


HEALERS: tuple[Healer, ...] = (by_ingest, by_forgetting, by_naming, by_enrolling)


def killed(uri: str, point: str) -> bool:
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "forget_killer.py"), uri, "Ann", point]
    status = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, timeout=600).returncode
    assert status in (0, -signal.SIGKILL)
    return status != 0


def kill_and_heal(uri: str, folder: Path, point: str, heal: Healer) -> bool:
    """Whether it was killed at that point, and did not end before."""
    folder.mkdir()
    album = folder / "album"
    album.mkdir()
    for name, people in {
        "0": ("Ann", "Bob", "Ed"),
        "1": ("Bob", "Ann"),
        "2": ("Ann", "Cy", "Ann", "Bob"),
        "3": ("Ann",),
        "4": ("Bob", "Cy", "Ed", "Ann"),
    }.items():
        picture(album / f"{name}.png", *people)
    with created(uri) as club:
        club.ingest(album)
        for person in ("Ann", "Bob", "Cy"):
            for n in range(2):
                imgvec.enrol_person(club, person, [picture(folder / f"{person}{n}.png", near(person, 5 * n))])
        imgvec.name_faces(club)
        before = {tuple(row["vector"]) for row in rows(club) if row["person"] != "Ann"}
    happened = killed(uri, point)
    with ImageCollection.open("club", uri=uri, encoder=FaceEncoder(Squares())) as club:
        heal(club, album)
        assert persons(club) == LEFT, point
        assert {tuple(row["vector"]) for row in rows(club)} == before, point
        sound(club)
        assert imgvec.enrolled_people(club).keys() - {"Di"} == {"Bob", "Cy"}, point
        assert club.ingest(album).unchanged == 5
        assert persons(club) == LEFT, point
        assert club.count(field("person") == "Ann") == 0
        kept = club.handle.connection.companion(club.store, LEARNED)
        assert list(kept.scan(["data"])) == []  # not even her name
        club.drop()
    return happened


def rows(club: ImageCollection) -> list[dict[str, Any]]:
    return [row for some in club.store.scan(["person", "vector"]) for row in some]


def test_a_kill_amid_forgetting_is_finished_by_the_next_ingest(lite_uri: str, tmp_path: Path) -> None:
    # two pictures are written without her, and the views that they lost are still there
    assert kill_and_heal(lite_uri, tmp_path / "one", "before 6", by_ingest)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_kill_at_each_write_of_forgetting(backend_uri: str, tmp_path: Path) -> None:
    for write in itertools.count(1):
        # a server takes a request whole that a client was killed amid
        for when in ("before",) if "://" in backend_uri else ("amid", "before"):
            # until the first one is done, nothing has begun that anybody could finish
            heal = by_forgetting if write == 1 else HEALERS[(write + (when == "amid")) % len(HEALERS)]
            happened = kill_and_heal(backend_uri, tmp_path / f"{when}{write}", f"{when} {write}", heal)
        if not happened:
            break
    assert write - 1 in WRITES
