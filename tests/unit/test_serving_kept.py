"""What is kept of a collection for as long as nobody writes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from imgvec.abandoned import Abandoned, Call, of_call
from imgvec.serving.remembering import Remembered


class Versioned:
    """A store of which only this is asked."""

    name = "photos"

    def __init__(self, version: object = 0) -> None:
        self.now = version

    def version(self) -> Any:
        return self.now


def of(kept: Remembered, store: Versioned, what: str, found: list[int]) -> list[int]:
    return kept.of((store.name, what), lambda: found, len, version=store.version)


def test_it_is_asked_again_once_somebody_wrote() -> None:
    kept, store = Remembered(), Versioned()
    assert of(kept, store, "a", [1]) == [1]
    assert of(kept, store, "a", [2]) == [1]
    assert of(kept, store, "b", [3]) == [3]
    store.now = 1
    assert of(kept, store, "a", [4]) == [4]
    store.name = "others"
    assert of(kept, store, "a", [5]) == [5]
    store.now = None
    assert [of(kept, store, "a", [number]) for number in (6, 7)] == [[6], [7]], "nobody knows whether it changed"


def test_what_was_found_while_somebody_wrote_is_not_taken_for_what_is_there_now() -> None:
    kept, store = Remembered(), Versioned()

    def ask() -> list[int]:
        store.now = 1
        return [1]

    assert kept.of(("photos", "a"), ask, len, version=store.version) == [1]
    assert of(kept, store, "a", [2]) == [2]


def test_the_least_recently_wanted_is_forgotten() -> None:
    kept, store = Remembered(most_bytes=70), Versioned()
    for what in "abcde":
        of(kept, store, what, [0])  # with its key each takes 16
        of(kept, store, "a", [9])
    assert of(kept, store, "a", [1]) == [0]
    assert of(kept, store, "b", [1]) == [1]
    of(kept, store, "large", [0] * 15)
    assert of(kept, store, "large", [1]) == [1], "it takes more than a quarter"


def test_one_finds_it_out_for_all_and_nobody_waits_who_has_left() -> None:
    kept, store, call = Remembered(), Versioned(), Call()
    begun, go_on, asked, found, left = threading.Event(), threading.Event(), [], [], []

    def ask() -> list[int]:
        asked.append(1)
        begun.set()
        go_on.wait(10)
        return [1]

    def wait() -> None:
        try:
            found.append(kept.of("a", ask, len, version=store.version))
        except Abandoned:
            left.append(1)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    threads[0].start()
    assert begun.wait(10)
    leaving = threading.Thread(target=of_call(call, wait))
    for each in (*threads[1:], leaving):
        each.start()
    call.abandon()
    leaving.join(10)
    assert left == [1]
    go_on.set()
    for each in threads:
        each.join(10)
    assert (found, asked) == ([[1]] * 3, [1])


def test_what_failed_is_asked_again() -> None:
    kept, store = Remembered(), Versioned()

    def fail() -> list[int]:
        raise KeyError

    with pytest.raises(KeyError):
        kept.of(("photos", "a"), fail, len, version=store.version)
    assert of(kept, store, "a", [1]) == [1]
