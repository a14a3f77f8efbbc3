"""How long each stage of a search took."""

from __future__ import annotations

import time
from types import TracebackType


class Stages:
    """Seconds by stage, of one call: lookup (stored rows), load (the encoder), decode (pictures that the encoder
    had to wait for), encode, search (Milvus), facets, after (grouping, diversity and order of what it found)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str) -> _Stage:
        """What a stage is done within: `with stages("decode"): …`."""
        return _Stage(self.seconds, stage)

    def rest(self, stage: str, whole: str) -> None:
        """Give the stage what no other stage took of the whole."""
        self.seconds[stage] = max(0.0, 2 * self.seconds[whole] - sum(self.seconds.values()))


class _Stage:
    __slots__ = ("_name", "_seconds", "_start")

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + time.perf_counter() - self._start
