"""One event for every long work, and its line on a terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest

from imgvec.cli.progress import bar
from imgvec.errors import SourceError
from imgvec.progress import Progress, Telling
from imgvec.report import IngestReport


def test_a_work_tells_how_far_it_is() -> None:
    told: list[Progress] = []
    tell = Telling("export", told.append)
    tell("writing rows", 3, 4, counts={"written": 3})
    [event] = told
    assert (event.work, event.stage, event.done, event.total, event.share) == ("export", "writing rows", 3, 4, 0.75)
    assert 0 <= event.seconds < 60
    assert json.loads(json.dumps(event.to_dict())) == event.to_dict()
    assert event.to_dict()["counts"] == {"written": 3}
    assert Progress("tune", "copying").share is None


def test_a_work_within_another_tells_through_it() -> None:
    told: list[Progress] = []
    part = Telling("compare", told.append).part("HNSW")
    assert part is not None
    Telling("build", part)("indexing rows", 5, 9)
    assert [(event.work, event.stage, event.done, event.total) for event in told] == [
        ("compare", "HNSW: indexing rows", 5, 9)
    ]


def test_where_nobody_listens_nothing_is_made() -> None:
    tell = Telling("tune")
    tell("measuring", 1, 2)
    assert tell.part("HNSW") is None


def test_an_ingest_counts_everything_that_is_done() -> None:
    report = IngestReport(seen=12, written=3, updated=1, unchanged=2, duplicates=1, seconds=2.0)
    report.refused["empty"] += 2
    event = report.progress()
    assert (event.work, event.done, event.total, event.seconds) == ("ingest", 9, None, 2.0)
    assert event.counts == {"seen": 12, "written": 3, "updated": 1, "unchanged": 2, "duplicates": 1, "refused": 2}


def test_there_is_no_bar_but_on_a_terminal() -> None:
    with bar() as tell:
        assert tell is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Within the test: between its setup and its call pytest puts its own stderr back."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return made


def test_the_bar_shows_the_stage_and_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with bar() as tell:
        assert tell is not None
        tell(Progress("verify", "listing the rows", 1500, 3000))
        tell(Progress("tune", "measuring recall", 2, message="HNSW [ef=64]: recall 0.9710"))
    assert "1,500/3,000" in terminal.getvalue() or "verify: listing the rows" in terminal.getvalue()
    assert "tune: HNSW [ef=64]: recall 0.9710" in terminal.getvalue()


def test_what_there_is_to_do_is_counted_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)

    def listed() -> Iterator[int]:
        yield from range(40)

    def broken() -> Iterator[int]:
        yield 1
        raise SourceError("gone")

    for source, said in ((listed, "7/40"), (broken, "7,")):
        with bar(source) as tell:
            assert tell is not None
            for _ in range(200):
                tell(Progress("ingest", "images", 7, seconds=1.0))
        assert said in terminal.getvalue()
