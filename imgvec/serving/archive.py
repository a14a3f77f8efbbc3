"""A zip file that is written as it is sent, picture by picture, under names that harm nobody who unpacks it."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterable, Sequence
from zipfile import ZIP_STORED, ZipFile, ZipInfo

INDEX = "index.csv"
"""The last file: what is in the archive, and what is not, and why."""
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+')
"""Control characters, what Windows refuses, and what turns the direction of a text (so that an ending is not seen)."""
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)
_MOST_BYTES = 120
"""Of a name without its ending."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a cell a formula, as OWASP lists it; the last four are the first four in full width."""


class Archive:
    """Pictures go in by `add`, what has become of the file so far comes out by `drain`."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_STORED)  # pictures are compressed already
        self._names = {INDEX}
        self._index: list[tuple[str, str, str, str]] = []
        self.bytes = 0
        """Of the pictures in it."""

    def add(self, id: str, uri: str, data: bytes, suffixes: Sequence[str]) -> None:
        """One picture, under the last part of its uri, with an ending that says what it is: one of these."""
        name = self._free(plain_name(uri, suffixes))
        self._write(name, data)
        self.bytes += len(data)
        self._index.append((name, id, uri, ""))

    def leave_out(self, id: str, uri: str, why: str) -> None:
        self._index.append(("", id, uri, why))

    def drain(self) -> bytes:
        return self._sink.drain()

    def close(self) -> bytes:
        """The rest of the file."""
        self._write(INDEX, csv_of([("file", "id", "uri", "left out because"), *self._index]))
        self._zip.close()
        return self.drain()

    def _write(self, name: str, data: bytes) -> None:
        entry = ZipInfo(name, time.localtime()[:6])
        entry.external_attr = 0o644 << 16
        self._zip.writestr(entry, data)

    def _free(self, name: str) -> str:
        """The name, with a number if there is one like it: file systems may not tell capitals apart."""
        stem, dot, ending = name.rpartition(".")
        found, number = name, 1
        while found.casefold() in self._names:
            number += 1
            found = f"{stem} ({number}){dot}{ending}"
        self._names.add(found.casefold())
        return found


def plain_name(uri: str, suffixes: Sequence[str]) -> str:
    """A name for a file in a folder of anybody's, from what may be any text; it ends with one of these suffixes."""
    last = re.split(r"[/\\]", uri)[-1]
    stem, dot, ending = _NOT_IN_NAMES.sub("_", last).rpartition(".")
    suffix = f".{ending.lower()}"
    if not dot or suffix not in suffixes:
        # what looks like an ending, but of something else, goes: nothing is called picture.exe.jpg
        stem, suffix = (stem if dot and len(ending) <= 5 else f"{stem}{dot}{ending}"), suffixes[0]
    stem = stem.encode()[:_MOST_BYTES].decode(errors="ignore").strip(" .") or "picture"
    if _DEVICES.fullmatch(stem.partition(".")[0].strip()):
        stem = f"_{stem}"
    return stem + suffix


def csv_of(rows: Iterable[Sequence[str | int | float]]) -> bytes:
    """CSV as spreadsheets read it: with a mark of its encoding, and no text that they would take for a formula.

    Numbers stay numbers, below zero, too.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_inert(cell) for cell in row] for row in rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode(errors="replace")


def _inert(cell: str | int | float) -> str | int | float:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


class _Sink(io.RawIOBase):
    """What is written to it, until it is taken; it has no place to go back to, so zipfile writes straight on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # zipfile gives nothing else
        self._parts.append(bytes(data))
        return len(data)

    def drain(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
