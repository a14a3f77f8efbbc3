from __future__ import annotations

import threading
import time

import pytest

from imgvec.errors import BackendError, BackendUnavailable, CollectionNotFound
from imgvec.retry import Retry


class Failing:
    """Fails so many times, then gives its number of calls."""

    def __init__(self, times: int, error: BackendError) -> None:
        self.times, self.error, self.calls = times, error, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return self.calls


BUSY = BackendUnavailable("busy", retryable=True)


def test_it_comes_back_until_it_succeeds() -> None:
    told: list[float] = []
    failing = Failing(3, BUSY)
    assert Retry(30, on_retry=lambda _, wait: told.append(wait)).call(failing) == 4
    assert len(told) == 3
    assert all(0 < wait <= 1.6 for wait in told)


def test_what_will_not_get_better_is_raised_at_once() -> None:
    failing = Failing(1, CollectionNotFound("gone"))
    with pytest.raises(CollectionNotFound):
        Retry(30).call(failing)
    assert failing.calls == 1


@pytest.mark.alone
def test_time_is_bounded() -> None:
    started = time.monotonic()
    with pytest.raises(BackendUnavailable, match="busy"):
        Retry(0.6).call(Failing(1000, BUSY))
    assert time.monotonic() - started < 1.5


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    started = time.monotonic()
    with pytest.raises(BackendUnavailable):
        Retry(60, stopped=stop.is_set).call(Failing(1000, BUSY))
    assert time.monotonic() - started < 5
