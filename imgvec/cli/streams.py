"""Copes with stdin, stdout and stderr in any state: closed, full, with the reader gone, or in a limited encoding.

Results that cannot be written lead to an error status; messages that cannot be written are dropped.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

READER_GONE = 141
"""Exit status when the reader of stdout is gone, as after `head`: what a shell reports for SIGPIPE."""


class _Raw(io.RawIOBase):
    """A file descriptor to write to; after the first error it swallows everything, also at interpreter exit."""

    def __init__(self, number: int, *, vital: bool) -> None:
        self.error: OSError | None = None
        self._number, self._vital = number, vital

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        while self.error is None:
            try:
                return os.write(self._number, data)
            except BlockingIOError:  # somebody else made the pipe so
                select.select([], [self._number], [])
            except OSError as exc:
                self.error = exc
                if self._vital:
                    raise
        return memoryview(data).nbytes


class Streams:
    """Replace Python's three streams by safe ones; done once, before anything is opened."""

    def __init__(self) -> None:
        self.escaped = False
        """Characters were written to stdout as escapes."""
        # a file that is opened later would get a closed stream's number, and whatever is printed there
        for number in range(3):
            try:
                os.fstat(number)
            except OSError:
                # stdout for reading alone: writing to it fails, as it should
                os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
        if sys.stdin is None:
            sys.stdin = open(0, closefd=False)  # noqa: SIM115
        codecs.register_error("imgvec.stdout", self._escape)
        codecs.register_error("imgvec.stderr", _escaped)
        self._out = _Raw(1, vital=True)
        sys.stdout = _text(self._out, getattr(sys.stdout, "encoding", None), "imgvec.stdout")
        sys.stderr = _text(_Raw(2, vital=False), getattr(sys.stderr, "encoding", None), "imgvec.stderr")

    @property
    def failed(self) -> OSError | None:
        """Why results were lost, if any were."""
        return self._out.error

    def finish(self, status: int) -> int:
        """Flush; returns the exit status to use, and prints a line if results were lost or escaped."""
        try:
            sys.stdout.flush()
        except OSError as exc:
            if exc is not self._out.error:
                raise
        error = self._out.error
        if error is not None and error.errno == errno.EPIPE:
            return READER_GONE if status in (0, 1) else status
        if error is not None:
            why = "it is closed" if error.errno == errno.EBADF else error.strerror
            click.echo(f"Error: cannot write the results to stdout: {why}", err=True)
            return status or 1
        if self.escaped:
            click.echo(
                f"Note: stdout uses {sys.stdout.encoding}, which lacks some characters, written as \\uXXXX "
                f"instead; set PYTHONIOENCODING=utf-8 to write them all",
                err=True,
            )
        return status

    def _escape(self, error: UnicodeError) -> tuple[str, int]:
        self.escaped = True
        return _escaped(error)


def _text(raw: _Raw, encoding: str | None, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty())


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""A codec error handler: `\uXXXX`, as surrogate pairs beyond 16 bits, just like JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end
