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


class _End:
    """What a thread's last message says: the source is at its end, or this went wrong."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterates over `source` in a thread of its own, at most `depth` items ahead of the caller."""

    def __init__(self, source: Iterable[T], depth: int) -> None:
        self._source = source
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
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
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

    A batch goes out when it holds `rows` items or its first is `seconds` old. At most two batches wait: `put` blocks
    rather than hold more. After an error in `write` nothing more is written; `put` or `finish` raises it.
    """

    def __init__(self, write: Callable[[Sequence[T]], None], rows: int, seconds: float) -> None:
        self._write, self._rows, self._seconds = write, rows, seconds
        self._gathered: list[T] = []
        self._since = 0.0
        self._queue: queue.Queue[list[T] | None] = queue.Queue(2)
        self._error: BaseException | None = None
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
        self._raise()
        if not self._gathered:
            self._since = time.monotonic()
        self._gathered += items
        if len(self._gathered) >= self._rows or time.monotonic() - self._since >= self._seconds:
            self._send()

    def finish(self) -> None:
        """Write what is gathered, and wait until all is written."""
        self._send()
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def _send(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        failed = False
        while (batch := self._queue.get()) is not None:
            if failed:  # keep emptying the queue, so that `put` never blocks for good
                continue
            try:
                self._write(batch)
            except BaseException as exc:  # noqa: BLE001  raised again in the caller
                self._error, failed = exc, True
