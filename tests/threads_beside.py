"""Threads that do something again and again, beside whatever a block does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Self


class Beside:
    """As a context: the jobs run in a thread each, until `stop` is set at its end; each looks at that."""

    def __init__(self, jobs: Iterable[Callable[[], None]]) -> None:
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=job) for job in jobs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()
