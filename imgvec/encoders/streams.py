"""Runs passes in parallel on a CPU, one thread each, instead of using all threads for each operation of one pass.

Operations of a small model are so short that threads which meet after every one of them wait for the slowest; two
passes that never meet do not. On a machine that does other work as well (decoding, say) the difference is larger still.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")

# mallopt(3): glibc's parameters, and the largest value that each of its versions takes for the first
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BLOCK, _KEPT_TOP = 32 * 2**20, 256 * 2**20


class Streams:
    """A pool of `count` threads that compute with one thread each; torch's setting elsewhere stays as it was."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="imgvec-encode", initializer=_one_thread)
        before = torch.get_num_threads()
        started = threading.Barrier(count)
        list(self._pool.map(lambda _: started.wait(), range(count)))
        # a thread's setting is also what later threads begin with, in the whole process: put that back
        torch.set_num_threads(before)

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """`function` of each item, in order; the first error is raised after all have ended."""
        futures = [self._pool.submit(function, item) for item in items]
        for future in futures:
            future.exception()
        return [future.result() for future in futures]


_pools: dict[int, Streams] = {}
_lock = threading.Lock()


def streams_of(count: int) -> Streams | None:
    """The process's pool of so many threads, made when first asked for; None for fewer than two.

    Whoever loads a model for a CPU asks, before anything computes with it: making a pool touches the number of threads
    that new threads begin with, which must not happen under a query.
    """
    if count < 2:
        return None
    with _lock:
        if count not in _pools:
            _pools[count] = Streams(count)
        return _pools[count]


def _one_thread() -> None:
    torch.get_num_threads()  # a thread's first question sets it to the process's number, whatever was set before
    torch.set_num_threads(1)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Have glibc keep what a pass frees for the next one; elsewhere this does nothing.

    Each activation of some MB is otherwise a fresh mapping, whose pages the kernel zeroes at the first touch: 5,000
    page faults an image, a fifth of the time. glibc raises the threshold for mappings to the same 32 MB by itself, but
    returns the memory after each pass; up to 256 MB stay with the process from here on. Each of glibc's arenas keeps
    some, so there are no more than processors need, not eight for each: `imgvec serve`, asked by 32 clients at once,
    came to 100 MB less with four than with sixteen, and as fast. `MALLOC_ARENA_MAX` says another number.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_TOP)
    if "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, max(4, processors()))
