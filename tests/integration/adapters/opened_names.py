"""Which names of files and hosts this process, or another, was asked for: Python's audit events (PEP 578)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WATCHED = {"open", "os.listdir", "os.scandir", "socket.getaddrinfo", "socket.gethostbyname", "socket.connect"}
_notes: list[list[str]] = []


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if _notes and event in _WATCHED:
        for notes in _notes:
            notes.append(repr(given))


@contextmanager
def opened_names() -> Iterator[list[str]]:
    """The names that any thread of this process asks for in the block."""
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_hook)  # for good: Python has no way to take one out
    notes: list[str] = []
    _notes.append(notes)
    try:
        yield notes
    finally:
        _notes.remove(notes)


_installed: list[bool] = []


def write_them(path: str) -> None:
    """Write every name that this process asks for from now on as a line of that file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event in _WATCHED:
            os.write(file, f"{given!r}\n".encode(errors="replace"))

    sys.addaudithook(hook)


def written_at(path: Path) -> list[str]:
    """What `write_them` wrote."""
    return path.read_text("utf-8").splitlines()
