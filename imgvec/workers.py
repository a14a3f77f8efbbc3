"""Where images are decoded: threads of this process, or processes of their own.

Threads are enough where decoding lets the interpreter go, as Pillow does. Processes are for machines whose accelerator
is faster than that, and for images that bring a decoder down: a crash then costs one image, not the run.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
J = TypeVar("J")


class WorkerDiedError(Exception):
    """The process that did this job ended: the job, done alone, did it again."""


class Workers(Protocol):
    """What runs jobs beside the caller."""

    def submit(self, function: Callable[[J], T], job: J, /) -> Future[T]: ...
    def shutdown(self, *, cancel_futures: bool = False) -> None: ...


def workers(threads: int, processes: int) -> Workers:
    """`processes` processes, or where that is 0 so many threads."""
    if processes:
        return WorkerProcesses(processes)
    return ThreadPoolExecutor(threads, thread_name_prefix="imgvec-decode")


class WorkerProcesses:
    """A pool of processes that survives the death of one.

    When a process dies, every running job fails with it, and it is unknown which one was the cause. Each is done again,
    alone: the one that kills its process again gets `WorkerDiedError`, the others their results.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        # not forked: this process has threads, and may hold a CUDA context
        self._context = multiprocessing.get_context("spawn")
        self._pool = self._made(processes)
        self._lock = threading.Lock()
        self._alone = ThreadPoolExecutor(1, thread_name_prefix="imgvec-alone")

    def submit(self, function: Callable[[J], T], job: J, /) -> Future[T]:
        result: Future[T] = Future()
        with self._lock:
            try:
                attempt = self._pool.submit(function, job)
            except BrokenProcessPool:
                self._pool.shutdown(wait=False)
                self._pool = self._made(self._processes)
                attempt = self._pool.submit(function, job)

        def done(attempt: Future[T]) -> None:
            if attempt.cancelled():
                result.cancel()
            elif isinstance(attempt.exception(), BrokenProcessPool):
                self._alone.submit(self._again, function, job, result)
            else:
                _settle(attempt, result)

        attempt.add_done_callback(done)
        return result

    def shutdown(self, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(cancel_futures=cancel_futures)
        self._alone.shutdown(cancel_futures=cancel_futures)

    def _again(self, function: Callable[[J], T], job: J, result: Future[T]) -> None:
        with self._made(1) as pool:
            attempt = pool.submit(function, job)
            if isinstance(attempt.exception(), BrokenProcessPool):
                result.set_exception(WorkerDiedError("the worker process died"))
            else:
                _settle(attempt, result)

    def _made(self, processes: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(processes, mp_context=self._context, initializer=_deaf)


def _deaf() -> None:
    """A terminal sends Ctrl-C to every process: what is to be done about it is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _settle(attempt: Future[Any], result: Future[Any]) -> None:
    error = attempt.exception()
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(attempt.result())
