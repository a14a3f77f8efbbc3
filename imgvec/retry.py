"""Repeats a call while its error is retryable and there is time left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from imgvec.errors import BackendError

T = TypeVar("T")

FIRST_WAIT = 0.2
"""Seconds before the second attempt; each further wait is up to twice as long."""
LONGEST_WAIT = 10.0

_here = threading.local()


def under_retry() -> bool:
    """Whether this thread is in a call that a `Retry` repeats: what is below need not, and would hide it."""
    return bool(getattr(_here, "depth", 0))


class Retry:
    """Repeats calls that may be repeated: reads, and upserts by id.

    The time between attempts is drawn between nothing and a bound that doubles ("full jitter": M. Brooker, Exponential
    Backoff And Jitter, AWS Architecture Blog, 2015), so that many clients do not come back at once. `seconds` bounds
    the whole of one call, from its first failure on; once `stopped` says so, no attempt follows.
    """

    def __init__(
        self,
        seconds: float,
        *,
        on_retry: Callable[[BackendError, float], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._seconds, self._on_retry, self._stopped = seconds, on_retry, stopped

    def call(self, function: Callable[[], T]) -> T:
        """What `function` gives, or the last of its errors once time is up or the error is not `retryable`."""
        deadline: float | None = None
        bound = FIRST_WAIT
        while True:
            try:
                return _marked(function)
            except BackendError as exc:
                now = time.monotonic()
                deadline = deadline or now + self._seconds
                # at least a little: a server that comes back must not find a hundred attempts a second
                wait = max(0.05, random.uniform(0, bound))  # noqa: S311  no secret
                if not exc.retryable or now + wait > deadline:
                    raise
                if self._on_retry:
                    self._on_retry(exc, wait)
                while (left := now + wait - time.monotonic()) > 0:
                    if self._stopped():
                        raise
                    time.sleep(min(left, 0.05))
                bound = min(2 * bound, LONGEST_WAIT)


def _marked(function: Callable[[], T]) -> T:
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        return function()
    finally:
        _here.depth -= 1
