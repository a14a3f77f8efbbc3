"""Repeats reads that fail for the moment, and asks a second time where an answer is overdue.

A call that is under way when a query node dies hangs for 6 to 13 s, whatever its replica; one that begins later goes to
another replica (Milvus 2.3.5). So where a collection has more than one, an overdue call gets a second beside it, and
the first good answer wins.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from imgvec import abandoned
from imgvec.errors import BackendError
from imgvec.retry import under_retry

T = TypeVar("T")

OVERDUE = 1.0
"""Seconds after which a call is not waited for alone."""
_AT_ONCE = 5
"""Calls for one answer that are under way together, at most."""
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 1.0
_IDLE_SECONDS = 5.0


def repeated(function: Callable[[], T], seconds: float, *, hedged: bool) -> T:
    """What `function` gives, or its error once that is not `retryable` or `seconds` have passed since the first call.

    A call that has begun is waited for, as long as its own timeout lets it. The time between attempts is drawn between
    nothing and a bound that doubles up to a second, as in `Retry`. `hedged`: calls run in threads of their own, at
    most five together, and a further one begins a second after the last. Below a `Retry` there is one call alone.
    """
    if under_retry():
        return function()
    deadline = time.monotonic() + seconds
    return _hedged(function, deadline) if hedged else _alone(function, deadline)


def together(function: Callable[[], T], times: int, patience: float | None = None) -> list[T]:
    """What so many calls at once give, without those that fail; the last error where all do.

    Those that have not answered after `patience` seconds are not waited for.
    """
    function = abandoned.of_this(function)
    until = None if patience is None else time.monotonic() + patience
    outcomes: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    for _ in range(times):
        in_a_thread(lambda: _put(function, outcomes))
    found, failure = [], None
    for _ in range(times):
        try:
            given, failed = outcomes.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if failed is None:
            found.append(given)
        else:
            failure = failed
    if not found and failure is not None:
        raise failure
    return found  # type: ignore[return-value]  # the function's own, which may be None


def _put(function: Callable[[], T], outcomes: queue.SimpleQueue[tuple[T | None, BaseException | None]]) -> None:
    try:
        outcomes.put((function(), None))
    except BaseException as exc:  # noqa: BLE001  raised again in the caller
        outcomes.put((None, exc))


def _alone(function: Callable[[], T], deadline: float) -> T:
    bound = _FIRST_WAIT
    while True:
        try:
            return function()
        except BackendError as exc:
            wait, bound = _drawn(bound)
            if not exc.retryable or time.monotonic() + wait > deadline:
                raise
            abandoned.pause(wait)


def _hedged(function: Callable[[], T], deadline: float) -> T:
    outcomes: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    function = abandoned.of_this(function)

    def attempt() -> None:
        _put(function, outcomes)

    in_a_thread(attempt)
    pending, bound, next_at = 1, _FIRST_WAIT, time.monotonic() + OVERDUE
    while True:
        may_go_on = pending < _AT_ONCE and next_at <= deadline
        try:
            found, failure = outcomes.get(timeout=max(0.0, next_at - time.monotonic()) if may_go_on else None)
        except queue.Empty:
            in_a_thread(attempt)
            pending, next_at = pending + 1, time.monotonic() + OVERDUE
            continue
        if failure is None:
            return found  # type: ignore[return-value]  # the function's own, which may be None
        pending -= 1
        if not (isinstance(failure, BackendError) and failure.retryable):
            raise failure
        wait, bound = _drawn(bound)
        next_at = time.monotonic() + wait
        if not pending and next_at > deadline:
            raise failure


def _drawn(bound: float) -> tuple[float, float]:
    """A time to wait, and the next bound."""
    return max(0.02, random.uniform(0, bound)), min(2 * bound, _LONGEST_WAIT)  # noqa: S311  no secret


_idle: list[queue.SimpleQueue[Callable[[], Any]]] = []
"""Threads that wait for work, each by its queue."""
os.register_at_fork(after_in_child=_idle.clear)


def in_a_thread(job: Callable[[], Any]) -> None:
    """Run the job, which raises nothing, in a thread that does not keep the process alive.

    Threads are used again while there is work, since starting one takes longer than the hop to it.
    """
    try:
        work = _idle.pop()
    except IndexError:
        work = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(work,), name="imgvec-hedge", daemon=True).start()
    work.put(job)


def _serve(work: queue.SimpleQueue[Callable[[], Any]]) -> None:
    while True:
        try:
            job = work.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            try:
                _idle.remove(work)
            except ValueError:  # somebody has just taken it, and brings work
                continue
            return
        job()
        del job  # and with it the answer
        _idle.append(work)
