"""Rounds of comparing and bringing over, until nothing differs."""

from __future__ import annotations

import json
import logging
import tempfile
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from imgvec.errors import BackendError
from imgvec.migration.difference import Entry, Judge, Marks, Pair, marks
from imgvec.migration.outcome import Lost
from imgvec.migration.renewing import Renewed
from imgvec.progress import OnProgress, Progress, Telling
from imgvec.report import IngestReport
from imgvec.sources import Record
from imgvec.sources.seen import hash64

ROUNDS, FEW = 30, 1000
"""After so many rounds, with so few changes, it goes on: somebody writes without a pause, and `Since` has the rest."""
_FRUITLESS = 10
"""Rounds in a row that find the same and can do nothing about it."""
_AT_ONCE = 1000

log = logging.getLogger(__name__)


class Run(Protocol):
    """Brings records in, by whichever engine."""

    def __call__(self, records: Iterable[Record], errors: Path, on_progress: OnProgress) -> IngestReport: ...


class _Refused(NamedTuple):
    """Why a picture could not be read, and of which state of its row: what is another one by now is tried again."""

    reason: str
    detail: str
    marks: frozenset[int]


class _Round:
    """One comparison, as long as it is read."""

    def __init__(self, judge: Judge, refused: Mapping[str, _Refused], kept: Collection[str]) -> None:
        self._judge, self._refused, self._kept = judge, refused, kept
        self._sent: tuple[array[Any], array[Any]] = (array("Q"), array("Q"))
        """Of what was given to encode: 64 bits of its uri, and its mark."""
        self.missing = 0
        self.stale: list[str] = []
        self.gone: list[str] = []
        self.lost: list[Lost] = []
        self.marks: array[Any] = array("Q")
        """Of the rows that the target has as the source has them, and of those that are lost."""

    @property
    def changes(self) -> int:
        return self.missing + len(self.stale) + len(self.gone)

    def to_encode(self, found: Iterable[Pair]) -> Iterator[Entry]:
        for was, now in found:
            verdict = self._judge(was, now)
            if was is None:
                if verdict == "gone" and now is not None and now.id not in self._kept:
                    self.gone.append(now.id)
            elif verdict == "missing":
                refused = self._refused.get(was.uri)
                if refused is not None and was.mark in refused.marks:
                    self.lost.append(Lost(was.id, was.uri, refused.reason, refused.detail))
                    self.marks.append(was.mark)
                    if now is not None:
                        self.gone.append(was.id)  # of the picture that it was of before
                else:
                    self.missing += 1
                    for each, value in zip(self._sent, (hash64(was.uri), was.mark), strict=True):
                        each.append(value)
                    yield was
            elif verdict == "stale":
                self.stale.append(was.id)
            else:
                self.marks.append(was.mark)

    def of_refused(self, lines: Iterable[str]) -> dict[str, _Refused]:
        """By uri, what the run said of those that it could not read."""
        told = {each["uri"]: each for each in map(json.loads, filter(None, lines))}
        marks: dict[int, set[int]] = {hash64(uri): set() for uri in told}
        for uri, mark in zip(*self._sent, strict=True):
            if uri in marks:
                marks[uri].add(mark)
        return {
            uri: _Refused(each["reason"], each["detail"], frozenset(marks[hash64(uri)])) for uri, each in told.items()
        }


class Bringing:
    """Brings what the source of `renewed` has and its target lacks over, by `run`, and what is gone away."""

    def __init__(self, renewed: Renewed, run: Run, record: Callable[[Entry], Record], tell: Telling) -> None:
        self._renewed, self._run, self._record, self._tell = renewed, run, record, tell
        self._refused: dict[str, _Refused] = {}
        self.lost: list[Lost] = []
        self.marks: Marks = marks(array("Q"))
        """Of the pictures that both had in the last comparison."""
        self.encoded = self.copied = self.deleted = self.rounds = 0

    def until_same(self, judge: Judge, kept: Collection[str] = ()) -> bool:
        """Compare, and bring over, until a comparison finds nothing; False where it was stopped before.

        What the target has under the ids that are `kept` is never deleted. What cannot be read is `lost`; each run
        tries it once, and again when its row has changed.
        """
        fruitless, found = 0, 0
        for number in range(1, 2**31):
            self.rounds += 1
            round = _Round(judge, self._refused, kept)
            done = self._brought(round)
            if done is None:
                return False
            self.lost, self.marks = round.lost, marks(round.marks)
            log.info("round %d: %d missing, %d stale", number, round.missing, len(round.stale))
            if not round.changes or (number >= ROUNDS and round.changes <= FEW):
                return True
            fruitless = fruitless + 1 if not done and round.changes == found else 0
            found = round.changes
            if fruitless >= _FRUITLESS:
                raise BackendError(
                    f"{found:,} pictures still differ after {fruitless} comparisons: start again",
                    retryable=True,
                )
        return False

    def some(self, judge: Judge, most: int) -> bool:
        """Bring so many pictures over, in the order of their ids, and leave the others; False where it was stopped."""
        self.rounds += 1
        return self._brought(_Round(judge, self._refused, ()), most) is not None

    def _brought(self, round: _Round, most: int | None = None) -> int | None:
        """How much was done; None where it was stopped."""
        done = 0
        to_encode = islice(round.to_encode(self._renewed.pairs()), most)
        if (first := next(to_encode, None)) is not None:
            with tempfile.TemporaryDirectory(prefix="imgvec-") as folder:
                errors = Path(folder) / "refused.jsonl"
                records = (self._record(each) for each in chain([first], to_encode))
                report = self._run(records, errors, self._passed_on(self._renewed.left()))
                self._refused |= round.of_refused(errors.read_text(encoding="utf-8").split("\n"))
            self.encoded += report.written
            done += report.written + report.refused.total()
            if report.interrupted:
                return None
        for start in range(0, len(round.stale), _AT_ONCE):
            copied = self._renewed.renew(round.stale[start : start + _AT_ONCE])
            self.copied += copied
            done += copied
        for start in range(0, len(round.gone), _AT_ONCE):
            some = round.gone[start : start + _AT_ONCE]
            lost = {each.id for each in round.lost}
            gone = self._renewed.gone([id_ for id_ in some if id_ not in lost]) + [id_ for id_ in some if id_ in lost]
            self._renewed.remove(gone)
            self.deleted += len(gone)
            done += len(gone)
        return done

    def _passed_on(self, total: int) -> OnProgress:
        """The pipeline's events, as this work's."""

        def tell(event: Progress) -> None:
            self._tell("encoding", event.done, max(total, event.done), counts=event.counts)

        return tell
