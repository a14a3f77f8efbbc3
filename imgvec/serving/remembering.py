"""What was found out about all rows of a collection, kept for as long as nobody writes to it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from imgvec import abandoned

T = TypeVar("T")

_MOST_BYTES = 64 * 2**20
_LOOK_SECONDS = 0.05


class Remembered:
    """Answers of which the least recently wanted are forgotten. Any thread may ask; of those that want the same at the
    same time one finds it out."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Hashable, Any, int]] = OrderedDict()
        self._turns: WeakValueDictionary[Hashable, _Turn] = WeakValueDictionary()

    def of(
        self,
        key: Hashable,
        ask: Callable[[], T],
        size: Callable[[T], int],
        *,
        version: Callable[[], Hashable | None],
    ) -> T:
        """What `ask` gives, or gave while the rows were what they are now; `size` says what it takes, in bytes.

        `version` is a store's: where it cannot say whether somebody wrote, it is asked each time.
        """
        if version() is None:
            return ask()
        with self._turn(key):
            now = version()  # before it is asked, so that what is written meanwhile makes another one
            with self._lock:
                known = self._kept.get(key)
                if known is not None and known[0] == now:
                    self._kept.move_to_end(key)
                    found: T = known[1]
                    return found
            found = ask()
            if now is not None:
                self._keep(key, now, found, size(found))
            return found

    def _keep(self, key: Hashable, version: Hashable, found: object, size: int) -> None:
        size += len(repr(key))
        with self._lock:
            if (former := self._kept.pop(key, None)) is not None:
                self._bytes -= former[2]
            if size > self._most // 4:  # one that would push out many others
                return
            self._kept[key] = (version, found, size)
            self._bytes += size
            while self._bytes > self._most:
                _, (*_, least) = self._kept.popitem(last=False)
                self._bytes -= least

    @contextmanager
    def _turn(self, key: Hashable) -> Iterator[None]:
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
        while not turn.lock.acquire(timeout=_LOOK_SECONDS):
            abandoned.pause(0)
        try:
            yield
        finally:
            turn.lock.release()


class _Turn:
    def __init__(self) -> None:
        self.lock = threading.Lock()
