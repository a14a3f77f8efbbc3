"""While an ingest runs, a few standing probes at a time are searched for, in at most a hundredth of its time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_GUESSED = 0.25
"""Seconds that reading the probes is taken to last, and then the first turn: on a busy machine they did together."""
_TURN_OF_READING = 3
"""The first turn is taken to last so many times as long as reading the probes did: it makes about as many more calls,
and on a server most of their time is the round trip."""
_LONGEST = 1.0
"""Seconds for which a turn is meant to last at most; the machine may have other work by the next one."""
_MARGIN = 2
"""A step may last so many times as long as the one before, and the share is still kept."""
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


class Allowance:
    """A share of the time since it was made, for steps of which each is taken to last as long as the last one."""

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share, self._clock, self._began = share, clock, clock()
        self.spent = 0.0
        """Seconds, by the clock, whatever else the machine did in them."""
        self._number, self._last = _FIRST, _GUESSED

    def covers(self, seconds: float) -> bool:
        """Whether a step may be begun that is taken to last so long."""
        return self._left >= _MARGIN * seconds

    @contextmanager
    def spending(self) -> Iterator[None]:
        """A step, as long as the block."""
        begun = self._clock()
        try:
            yield
        finally:
            self.spent += self._clock() - begun

    def expect(self, seconds: float) -> None:
        """The first turn may last so long, where that is more than was guessed."""
        self._last = max(self._last, seconds)

    def number(self) -> int:
        """How many probes the next turn may have; 0 where it is not time for one.

        A turn of more is taken to last longer in proportion, one of fewer no less long.
        """
        number = int(self._number * self._left / (_MARGIN * self._last))
        if number < self._number:
            return 0
        return min(number, _MOST, max(_FIRST, int(self._number * _LONGEST / self._last)))

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """A turn of so many probes, as long as the block."""
        before = self.spent
        try:
            with self.spending():
                yield
        finally:
            self._number, self._last = max(_FIRST, number), max(self.spent - before, 1e-6)

    @property
    def _left(self) -> float:
        return self._share * (self._clock() - self._began) - self.spent


class Rotation:
    """Searches for a few probes at a time, in a thread of its own, as long as the block."""

    def __init__(self, target: Target) -> None:
        self._target, self._allowance = target, Allowance(SHARE)
        self._shares: dict[int, float] = {}
        self._fell: Any = None
        self._over = threading.Event()
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
        found: dict[str, Any] = {"limit": LIMIT, "probes": len(shares), "seconds": round(self._allowance.spent, 3)}
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
            now = noted.epoch_of(store, VECTOR)
            if now is not None and (now != epoch or began is None) and self._allowance.covers(_GUESSED):
                before = self._allowance.spent
                with self._allowance.spending():
                    probes = noting.probes_of(store, VECTOR, now) or noted.kept(learned, now)
                    began = noted.kept_beginning(learned, now)
                    epoch, notes = now, noted.Notes(store, now)
                self._allowance.expect(_TURN_OF_READING * (self._allowance.spent - before))
            if now != epoch or probes is None or began is None or notes is None:
                continue
            every = len(probes.vectors)
            if not (number := min(every, self._allowance.number())):
                continue
            with self._allowance.turn(number):
                numbers = [(at + step) % every for step in range(number)]
                at = (at + number) % every
                read = partial(notes.merged, probes.floors)
                params = self._target.search_defaults().params
                found = checked(searches_by(store, VECTOR), probes.vectors, read, numbers, LIMIT, params)
                self._shares |= found.shares
                self._fell = fall(LIMIT, began.shares[LIMIT], self._shares) if LIMIT in began.shares else None
