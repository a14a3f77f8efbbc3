from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imgvec.curation import COPIES, Group, Member, Subject
from imgvec.curation.deleting import delete
from imgvec.errors import BackendUnavailable, TargetError


def subject(id_: str) -> Subject:
    return Subject(id_, f"{id_}.jpg", f"hash {id_}", 4, 3, "image/jpeg", 1)


GROUPS = [
    Group("copy", subject("a"), (Member(subject("b"), "file"), Member(subject("c"), "copy"))),
    Group("burst", subject("d"), (Member(subject("e"), "burst"),)),
    Group("vector", subject("f"), (Member(subject("g"), "vector"),)),
]
ROWS = {id_: {"uri": f"{id_}.jpg", "content_hash": f"hash {id_}", "album": "x"} for id_ in "abcdefg"}


class Rows:
    """Rows by id."""

    def __init__(self, rows: dict[str, dict[str, Any]]) -> None:
        self.rows = dict(rows)

    def get(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {id_: self.rows[id_] for id_ in ids if id_ in self.rows}

    def delete(self, ids: Sequence[str]) -> int:
        return sum(self.rows.pop(id_, None) is not None for id_ in ids)


def test_only_copies_go_unless_more_is_named(tmp_path: Path) -> None:
    rows, log = Rows(ROWS), tmp_path / "log.jsonl"
    done = delete("photos", GROUPS, COPIES, log, rows=rows.get, remove=rows.delete, opens=lambda _: True)
    assert (done.pictures, done.left, sorted(rows.rows)) == (2, 0, ["a", "d", "e", "f", "g"])
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(each["event"], each.get("id")) for each in lines] == [
        ("to delete", "b"),
        ("to delete", "c"),
        ("deleted", None),
    ]
    assert lines[0]["row"]["album"] == "x"
    assert lines[0]["kept"] == {"id": "a", "uri": "a.jpg"}
    delete("photos", GROUPS, ("burst", "vector"), log, rows=rows.get, remove=rows.delete, opens=lambda _: True)
    assert sorted(rows.rows) == ["a", "d", "f"]
    assert len(log.read_text().splitlines()) == 6  # appended


@pytest.mark.parametrize("changed", ["a", "c"])
@pytest.mark.parametrize("gone", [False, True])
def test_what_changed_is_left(tmp_path: Path, changed: str, gone: bool) -> None:
    now = {id_: row for id_, row in ROWS.items() if not (gone and id_ == changed)}
    if not gone:
        now[changed] = {**now[changed], "content_hash": "another"}
    rows = Rows(now)
    done = delete(
        "photos", GROUPS[:1], COPIES, tmp_path / "log", rows=rows.get, remove=rows.delete, opens=lambda _: True
    )
    assert (done.pictures, done.left) == ((0, 2) if changed == "a" else (1, 1))


def test_nothing_is_deleted_that_cannot_be_written_down(tmp_path: Path) -> None:
    rows = Rows(ROWS)
    with pytest.raises(TargetError, match="cannot be written"):
        delete(
            "photos", GROUPS, COPIES, tmp_path / "none" / "log", rows=rows.get, remove=rows.delete, opens=lambda _: True
        )
    assert len(rows.rows) == len(ROWS)


def test_the_log_has_what_was_begun_when_milvus_fails(tmp_path: Path) -> None:
    def fails(ids: Sequence[str]) -> int:
        raise BackendUnavailable("gone")

    log = tmp_path / "log"
    with pytest.raises(BackendUnavailable):
        delete("photos", GROUPS, COPIES, log, rows=Rows(ROWS).get, remove=fails, opens=lambda _: True)
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["to delete"] * 2


@pytest.mark.parametrize(("opening", "left"), [("bc", 2), ("b", 1), ("", 0), ("abc", 0)])
def test_no_picture_goes_that_opens_for_one_that_does_not(tmp_path: Path, opening: str, left: int) -> None:
    rows = Rows(ROWS)
    done = delete(
        "photos", GROUPS, COPIES, tmp_path / "log.jsonl",
        rows=rows.get, remove=rows.delete, opens=lambda each: each.id in opening,
    )  # fmt: skip
    assert (done.pictures, done.left) == (2 - left, left)
    assert rows.rows.keys() == {*ROWS} - ({"b", "c"} - set(opening[:left]))
