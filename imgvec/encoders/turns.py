"""Decides who computes next: one call at a time, queries before batches, batches before measuring.

A query waits for the current pass; queries that wait together share the next one. A call computes in its caller's own
thread, so that there is no thread to start, to stop or to lose in a fork.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import Any

import numpy as np

from imgvec.vectors import Vectors

#: Passes that may overtake what waits: queries that never end must not end an ingest, nor its measuring.
OVERTAKING = 16
#: Seconds after a query in which another is expected.
LATELY = 1.0


class Urgency(IntEnum):
    """Lower values go first."""

    QUERY = 0
    BATCH = 1
    MEASURING = 2


_patient: ContextVar[bool] = ContextVar("imgvec_patient", default=False)


@contextmanager
def behind_queries() -> Iterator[None]:
    """In the block, what this thread encodes waits as batches do, though it is asked for as a query is.

    So does long-running work that makes vectors of pictures it has changed, while others wait for their answers.
    """
    token = _patient.set(True)
    try:
        yield
    finally:
        _patient.reset(token)


class Tally:
    """How an encoder has worked since it was loaded; read it at any time."""

    def __init__(self) -> None:
        self._began, self._busy, self._since = time.monotonic(), 0.0, -1.0
        self.batches: Counter[int] = Counter()
        """Passes by how many pictures or texts each had; those that measure or explain are not among them."""

    def begin(self) -> None:
        """A pass begins; in the lock of the turns."""
        self._since = time.monotonic()

    def end(self, items: int) -> None:
        """It has ended; in the lock of the turns."""
        self._busy, self._since = self._busy + time.monotonic() - self._since, -1.0
        if items:
            self.batches[items] += 1

    @property
    def idle_seconds(self) -> float:
        """In which nothing was encoded; never less than before."""
        now, since, busy = time.monotonic(), self._since, self._busy
        return max(0.0, (since if since >= 0 else now) - self._began - busy)


class _Call:
    """The items of one query, and in the end its vectors or its error."""

    def __init__(self, items: Sequence[Any], run: Callable[[list[Any]], Vectors]) -> None:
        self.items, self.run = items, run
        self.vectors: Vectors | None = None
        self.error: Exception | None = None

    @property
    def answered(self) -> bool:
        return self.vectors is not None or self.error is not None


class Turns:
    """One at a time, the most urgent first, and within an urgency in the order of coming.

    A call overtaken by `OVERTAKING` passes goes next, so a query may have to wait for one batch besides the current
    pass.
    """

    def __init__(self) -> None:
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self.tally = Tally()
        self._taken = False
        self._queries: deque[_Call] = deque()
        self._waiting: dict[Urgency, deque[object]] = {Urgency.BATCH: deque(), Urgency.MEASURING: deque()}
        self._overtaken = dict.fromkeys(Urgency, 0)
        self._queried = float("-inf")

    @property
    def queried_lately(self) -> bool:
        """Whether queries come, so that passes of batches should be short: the next one has to wait for one."""
        return time.monotonic() - self._queried < LATELY

    @contextmanager
    def turn(self, urgency: Urgency = Urgency.BATCH, items: int = 0) -> Iterator[None]:
        """Wait for a turn and hold it, for work that is not shared: a batch of so many items, or a measuring pass."""
        ticket, waiting = object(), self._waiting[urgency]
        with self._changed:
            waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._is_next(urgency) and waiting[0] is ticket)
                self._taken, self._overtaken[urgency] = True, 0
                self.tally.begin()
            finally:
                waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            self._end(urgency, items)

    def shared(self, items: Sequence[Any], run: Callable[[list[Any]], Vectors], at_once: int) -> Vectors:
        """The vectors of a query's items: `run` of them, and of other queries' with the same `run` that wait as well.

        A pass takes at most `at_once` items, or one query. Where one fails, each of its queries is run alone, so that
        an error reaches the query that caused it and no other. In `behind_queries` it is a batch of its own.
        """
        if _patient.get():
            with self.turn(items=len(items)):
                return run(list(items))
        call = _Call(items, run)
        with self._changed:
            self._queried = time.monotonic()
            self._queries.append(call)
            try:
                self._changed.wait_for(lambda: call.answered or self._may_lead(call))
            except BaseException:  # an interrupt while it waited; a pass that has it already goes on without it
                if call in self._queries:
                    self._queries.remove(call)
                self._changed.notify_all()
                raise
            if not call.answered:
                self._taken = True
                self.tally.begin()
                together = self._together(at_once)
        if not call.answered:
            try:
                _run(together)
            finally:
                with self._changed:
                    left = [one for one in together if one is not call and not one.answered]  # after an interrupt
                    self._queries.extendleft(reversed(left))
                self._end(Urgency.QUERY, sum(len(one.items) for one in together))
        if call.error is not None:
            raise call.error
        assert call.vectors is not None
        return call.vectors

    def _may_lead(self, call: _Call) -> bool:
        return bool(self._queries) and self._queries[0] is call and self._is_next(Urgency.QUERY)

    def _is_next(self, urgency: Urgency) -> bool:
        if self._taken:
            return False
        waiting = self._all_waiting()
        return urgency == min([each for each in waiting if self._overtaken[each] >= OVERTAKING] or waiting)

    def _all_waiting(self) -> list[Urgency]:
        queries = [Urgency.QUERY] if self._queries else []
        return queries + [urgency for urgency, tickets in self._waiting.items() if tickets]

    def _together(self, at_once: int) -> list[_Call]:
        """The first query and those behind it that fit in with it, out of the queue."""
        first = self._queries.popleft()
        together, items = [first], len(first.items)
        while self._queries and self._queries[0].run == first.run and items + len(self._queries[0].items) <= at_once:
            together.append(self._queries.popleft())
            items += len(together[-1].items)
        return together

    def _end(self, ended: Urgency, items: int) -> None:
        with self._changed:
            self._taken = False
            self.tally.end(items)
            for urgency in self._all_waiting():
                self._overtaken[urgency] += urgency > ended
            self._changed.notify_all()


def _run(together: Sequence[_Call]) -> None:
    """Answer every call, with vectors or an error."""
    run = together[0].run
    try:
        vectors = run([item for call in together for item in call.items])
    except Exception as exc:  # noqa: BLE001  raised where it belongs
        if len(together) == 1:
            together[0].error = exc
            return
        for call in together:
            _run([call])
        return
    ends = np.cumsum([len(call.items) for call in together])[:-1]
    for call, part in zip(together, np.split(vectors, ends), strict=True):
        call.vectors = part


_all: weakref.WeakSet[Turns] = weakref.WeakSet()


def _in_child() -> None:
    """A thread of the parent may hold a turn forever."""
    for turns in list(_all):
        turns._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
