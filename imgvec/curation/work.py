"""What a search for duplicates did, and how long each stage took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Work:
    """What a run did."""

    looked_at: int = 0
    candidates: int = 0
    calls: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False

    @contextmanager
    def timed(self, stage: str, calls: int = 0) -> Iterator[None]:
        start = time.perf_counter()
        self.calls += calls
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
