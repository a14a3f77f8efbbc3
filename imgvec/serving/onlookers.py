"""Who waits for news of a job: tasks of event loops, told by the threads that do the work."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Onlookers:
    """Any thread may tell; each onlooker has an event of its own loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: Counter[str] = Counter()
        self._told: dict[str, set[Callable[[], None]]] = {}

    def version(self, id: str) -> int:
        """How often it was told of."""
        return self._versions[id]

    def tell(self, id: str) -> None:
        with self._lock:
            self._versions[id] += 1
            told = list(self._told.get(id, ()))
        for each in told:
            each()

    @contextmanager
    def watching(self, id: str) -> Iterator[asyncio.Event]:
        """An event of this loop, set whenever it is told of."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

        with self._lock:
            self._told.setdefault(id, set()).add(tell)
        try:
            yield event
        finally:
            with self._lock:
                told = self._told[id]
                told.discard(tell)
                if not told:
                    del self._told[id]

    @property
    def number(self) -> int:
        with self._lock:
            return sum(map(len, self._told.values()))

    def forget(self, id: str) -> None:
        with self._lock:
            self._versions.pop(id, None)
