"""Ctrl-C and SIGTERM: while an ingest runs, and in a container."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells."""
UNWINDING_SECONDS = 2.0
"""Seconds a second Ctrl-C waits for the current batch, which may hang on the network or a frozen server."""


def ends_in_a_container() -> None:
    """Let SIGTERM end this process as it ends others, where it is a container's first.

    The kernel keeps from that one each signal that it has no handler for: `docker stop` would wait, and kill it.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


class Stop(threading.Event):
    """Set by the first signal."""

    status = 0
    """The exit status for the signal, once received."""


@contextmanager
def interruptible() -> Iterator[Stop]:
    """The first Ctrl-C or SIGTERM sets the event, so that the current batch is finished. A second one stops at once.

    "At once" means within two seconds, in which encoded images are still written if possible. Whatever Milvus has
    acknowledged is kept in either case, as after `kill -9`.
    """
    stop, leaving = Stop(), threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if leaving.is_set():
            _leave(stop.status)
        if stop.is_set():
            leaving.set()
            timer = threading.Timer(UNWINDING_SECONDS, _leave, [stop.status])
            timer.daemon = True
            timer.start()
            raise KeyboardInterrupt
        stop.status = 128 + number
        stop.set()
        # not by sys.stderr, which the signal may have found in the middle of a write
        with suppress(OSError):
            os.write(2, b"Finishing the batch in hand; Ctrl-C again stops at once.\n")

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        # while it is left the second time, a third signal still ends it
        if not leaving.is_set():
            for number, handler in former.items():
                signal.signal(number, handler)


def _leave(status: int) -> None:
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")  # the progress bar has hidden the cursor
    os._exit(status)
