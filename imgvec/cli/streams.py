"""stdin, stdout and stderr as they come: closed, full, their reader gone, or of an encoding that lacks a character.

Results that cannot be written end the command with a status that says so; messages that cannot are let go.
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
"""Exit status where who read stdout went away, as after `head`: what a shell gives for SIGPIPE."""


class _Raw(io.RawIOBase):
    """A file descriptor to write to; after its first error everything is swallowed, at the interpreter's exit too."""

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
    """The three streams in a form that is safe to use, in place of Python's own; made once, before anything opens."""

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
        """Why results are lost, if they are."""
        return self._out.error

    def finish(self, status: int) -> int:
        """Write what waits; the exit status in place of `status`, after a line where results are lost or escaped."""
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
            click.echo(f"Error: the results cannot be written to stdout: {why}", err=True)
            return status or 1
        if self.escaped:
            click.echo(
                f"Note: stdout is {sys.stdout.encoding}, which lacks some of the characters: they are written as "
                "\\uXXXX; PYTHONIOENCODING=utf-8 writes them all",
                err=True,
            )
        return status

    def _escape(self, error: UnicodeError) -> tuple[str, int]:
        self.escaped = True
        return _escaped(error)


def _text(raw: _Raw, encoding: str | None, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty())


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""A handler of codecs: `\uXXXX`, beyond 16 bits as two, just as JSON has it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end
