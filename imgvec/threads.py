"""Two stages of a pipeline that run beside their caller: `Ahead` of it, and a `Writer` behind it.

Both are context managers: leaving one ends its thread. An exception in the thread is raised in the caller, once.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

_POLL = 0.05
"""Seconds between two looks at whether to stop."""


class _End:
    """What a thread's last message says: the source is at its end, or this went wrong."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterates over `source` in a thread of its own, at most `depth` items ahead of the caller.

    Once `stopped` says so the iteration ends early; `exhausted` tells whether it reached the source's end.
    """

    def __init__(self, source: Iterable[T], depth: int, stopped: Callable[[], bool] = lambda: False) -> None:
        self.exhausted = False
        self._source, self._stopped = source, stopped
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="imgvec-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        while self._thread.is_alive():
            try:  # a producer that waits for room gets it, and then sees that nobody listens
                self._queue.get(timeout=_POLL)
            except queue.Empty:
                continue

    def __iter__(self) -> Iterator[T]:
        while not self._stopped():
            try:
                item = self._queue.get(timeout=_POLL)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                self.exhausted = item.error is None
                # what fails once nobody wants more, as a call that is not tried again, is part of stopping
                if item.error is not None and not self._stopped():
                    raise item.error
                return
            yield item

    def _run(self) -> None:
        try:
            for item in self._source:
                self._queue.put(item)
                if self._closed.is_set():
                    return
        except BaseException as exc:  # noqa: BLE001  raised again in the caller
            self._queue.put(_End(exc))
        else:
            self._queue.put(_End())


class Writer(Generic[T]):
    """Gathers items and hands them to `write` in a thread of its own.

    A batch goes out when it holds `rows` items or its first is `seconds` old. `put` blocks while twice `rows` items
    wait. After an error in `write` nothing more is written; `put` or `finish` raises it.
    """

    def __init__(self, write: Callable[[Sequence[T]], None], rows: int, seconds: float) -> None:
        self._write, self._rows, self._seconds = write, rows, seconds
        self._gathered: list[T] = []
        self._since = 0.0
        self._finishing = False
        self._error: BaseException | None = None
        self._failed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="imgvec-write", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # what was encoded before another stage failed is still written, so that no work is lost
        if self._thread.is_alive():
            try:
                self.finish()
            except BaseException:
                if error is None:
                    raise

    def put(self, items: Sequence[T]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._gathered) < 2 * self._rows or self._failed)
            self._raise()
            if not self._gathered:
                self._since = time.monotonic()
            self._gathered += items
            self._changed.notify_all()

    def finish(self) -> None:
        """Write what is gathered, and wait until all is written."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._due, timeout=self._seconds / 4)
                if not self._due():
                    continue
                batch, self._gathered = self._gathered[: self._rows], self._gathered[self._rows :]
                if not batch or self._failed:
                    return
                self._since = time.monotonic()
                self._changed.notify_all()
            try:
                self._write(batch)
            except BaseException as exc:  # noqa: BLE001  raised again in the caller
                with self._changed:
                    self._error, self._failed = exc, True
                    self._changed.notify_all()
                return

    def _due(self) -> bool:
        waiting = bool(self._gathered) and time.monotonic() - self._since >= self._seconds
        return self._finishing or len(self._gathered) >= self._rows or waiting


class ByteBudget:
    """So many bytes may be on their way at once; one item larger than that goes alone."""

    def __init__(self, total: int) -> None:
        self._total, self._used = total, 0
        self._changed = threading.Condition()

    def take(self, number: int, stopped: Callable[[], bool]) -> None:
        """Wait until there is room for `number` bytes, or `stopped` says that waiting is over."""
        with self._changed:
            while self._used and self._used + number > self._total and not stopped():
                self._changed.wait(_POLL)
            self._used += number

    def give_back(self, number: int) -> None:
        with self._changed:
            self._used -= number
            self._changed.notify_all()
