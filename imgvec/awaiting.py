"""Threads whose work an event loop awaits, and iterators whose steps it awaits.

Work runs in a thread, whole, since all that a search does besides waiting (decode, encode, order, group) is work that
would hold up the loop. Cancelling the task that awaits it ends its reads of Milvus, and frees the thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from imgvec import abandoned
from imgvec.abandoned import Abandoned, Call
from imgvec.errors import BackendUnavailable

T = TypeVar("T")


class Workers:
    """Up to `at_once` threads, started when they are needed; what comes beyond that waits. For any event loop."""

    def __init__(self, at_once: int) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="imgvec-await")
        self._calls: set[Call] = set()
        self._process = os.getpid()
        self._ended = False

    async def run(self, function: Callable[[], T], unwanted: Callable[[T], object] | None = None) -> T:
        """What the function gives, or raises. Cancelled, it is abandoned: what it gives all the same is `unwanted`.

        Raises `BackendUnavailable` once the workers have ended.
        """
        call = Call()
        self._calls.add(call)  # before the look, so that whoever ends them sees it
        try:
            if self._ended:
                raise _closed()
            try:
                work: Future[T] = self._threads.submit(abandoned.of_call(call, function))
            except RuntimeError as exc:  # ended just now, or with the interpreter
                raise _closed() from exc
            try:
                return await asyncio.wrap_future(work)
            except Abandoned:
                raise _closed() from None
            except asyncio.CancelledError:
                if unwanted is not None:
                    work.add_done_callback(lambda done: None if _failed(done) else unwanted(done.result()))
                raise
        finally:
            call.abandon()
            self._calls.discard(call)

    def end(self, *, wait: bool = True) -> None:
        """Abandon what is under way, and `wait` until the threads have ended."""
        self._ended = True
        if os.getpid() != self._process:
            return  # the threads are the parent's
        for call in list(self._calls):
            call.abandon()
        self._threads.shutdown(wait=wait)


def _failed(work: Future[Any]) -> bool:
    return work.cancelled() or work.exception() is not None


def _closed() -> BackendUnavailable:
    return BackendUnavailable("the collection was closed: open it again")


class Steps:
    """The steps of an iterator, one after another. What a cancelled step has found is what the next one gives."""

    def __init__(self, items: Iterator[Any], end: Any) -> None:
        self._items, self._end = items, end
        self._turn = threading.Lock()
        self._found: list[Any] = []

    def __call__(self) -> Any:
        """The next one, or `end`; in any thread. It comes again until it is `taken`."""
        with self._turn:
            if not self._found:
                self._found.append(next(self._items, self._end))
            return self._found[0]

    def taken(self) -> None:
        """What the last step gave has arrived."""
        self._found.clear()
