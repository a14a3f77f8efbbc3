"""While an ingest runs, a few standing probes at a time are searched for, in at most a hundredth of its time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from imgvec import noted, noting
from imgvec.errors import ImgvecError
from imgvec.rows import VECTOR

if TYPE_CHECKING:
    from imgvec.report import IngestReport
    from imgvec.target import Target

SHARE = 0.01
"""Of an ingest's time."""
LIMIT = 10
_FIRST, _MOST = 8, 64
"""Probes in a turn: the first, and at most."""
_GUESSED = 0.5
"""Seconds that the first turn is taken to last: with the reads that it begins with it took 0.45 on a busy machine."""
_LOOK = 0.25
_PATIENCE = 5.0
"""Seconds that an ingest waits for the last turn, which a Milvus that is gone may hold up."""

log = logging.getLogger(__name__)


@contextmanager
def rotating(target: Target) -> Iterator[Rotation | None]:
    """The rotation beside an ingest into this target, for as long as the block; None where nothing is watched."""
    if VECTOR not in target.store.link.watched:
        yield None
        return
    rotation = Rotation(target)
    try:
        with rotation:
            yield rotation
    finally:
        noting.settle(target.store)


@dataclass
class _Spent:
    seconds: float = 0.0
    turns: int = 0
    a_probe: float = 0.0
    """Seconds that the last turn took for a probe."""
    last: float = _GUESSED
    """And in all."""


class Rotation:
    """Searches for a few probes at a time, in a thread of its own, as long as the block."""

    def __init__(self, target: Target) -> None:
        self._target, self._spent = target, _Spent()
        self._shares: dict[int, float] = {}
        self._fell: Any = None
        self._over = threading.Event()
        self._started = time.perf_counter()
        self._thread = threading.Thread(target=self._run, name="imgvec-probes", daemon=True)

    def __enter__(self) -> Rotation:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_PATIENCE)

    def report(self, report: IngestReport) -> None:
        """Say in an ingest's report what was found; called when the block has ended."""
        from imgvec.indexes.recall import estimate

        shares = list(self._shares.values())
        found: dict[str, Any] = {"limit": LIMIT, "probes": len(shares), "seconds": round(self._spent.seconds, 3)}
        if shares:
            known = estimate(shares)
            found |= {"mean": known.mean, "low": known.low, "high": known.high}
            found["fell_by"] = None if self._fell is None else self._fell.by
        report.recall = found

    def _run(self) -> None:
        try:
            self._rotate()
        except ImgvecError as exc:  # the ingest goes on, whatever a look beside it meets
            log.info("the standing probes were not looked at to the end: %s", exc)

    def _rotate(self) -> None:
        from imgvec.by_vector import searches_by
        from imgvec.indexes.known import checked
        from imgvec.indexes.watched import fall
        from imgvec.milvus import Connection
        from imgvec.milvus.learned import Learned

        store, epoch, at = self._target.store, "", 0
        learned, began, probes, notes = Learned(Connection(store.link.database), store), None, None, None
        over = False
        while not over:
            over = self._over.wait(_LOOK)  # and once more at the end, where time is left
            allowed = SHARE * (time.perf_counter() - self._started) - self._spent.seconds
            if allowed < self._spent.last:
                continue
            begun = time.perf_counter()
            now = noted.epoch_of(store, VECTOR)
            if now != epoch or began is None:
                epoch = now or ""
                probes = noted.kept(learned, epoch) if epoch else None
                began = None if probes is None else noted.kept_beginning(learned, epoch)
                notes = noted.Notes(store, epoch)
            if probes is not None and began is not None and notes is not None:
                number = len(probes.vectors)
                most = _FIRST
                if self._spent.a_probe:
                    most = max(1, min(_MOST, number, int(allowed / self._spent.a_probe)))
                numbers = [(at + step) % number for step in range(min(most, number))]
                at = (at + len(numbers)) % number
                read = partial(notes.merged, probes.floors)
                params = self._target.search_defaults().params
                found = checked(searches_by(store, VECTOR), probes.vectors, read, numbers, LIMIT, params)
                self._shares |= found.shares
                self._fell = fall(LIMIT, began.shares[LIMIT], self._shares) if LIMIT in began.shares else None
                self._spent.a_probe = (time.perf_counter() - begun) / len(numbers)
            self._spent.last = time.perf_counter() - begun
            self._spent.seconds += self._spent.last
            self._spent.turns += 1
