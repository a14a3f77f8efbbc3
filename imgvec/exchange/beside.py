"""Ids and metadata that come with vectors, in files of their own: the row at a position belongs to the vector there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np

from imgvec.errors import SourceError
from imgvec.exchange import npy, parquet
from imgvec.exchange.source import Row
from imgvec.sources.tables import csv_rows, header_cells, json_rows

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def open_rows(file: Path) -> Iterator[Row]:
    """The rows of a CSV, JSON-lines or Parquet file, in order. Raises `SourceError`, with the line."""
    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    if file.suffix.lower() not in _TABLES:
        raise SourceError(f"{file}: metadata must be one of {', '.join(_TABLES)}")
    return _parquet(file) if file.suffix.lower() == ".parquet" else _text(file)


def open_ids(file: Path) -> Iterator[Row]:
    """Each row's `id`: from a table's column `id` or its only one, a one-dimensional .npy, or a text of one a line."""
    if file.suffix.lower() in _TABLES:
        return _from_table(file)
    return _from_array(file) if _head(file) == npy.MAGIC else _from_lines(file)


def count(rows: Iterator[Row]) -> int:
    return sum(1 for _ in rows)


def _parquet(file: Path) -> Iterator[Row]:
    with parquet.opened(file) as table:
        for batch in table.iter_batches(1000, use_threads=False):
            yield from parquet.plain_rows(batch)


def _text(file: Path) -> Iterator[Row]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if file.suffix.lower() in (".jsonl", ".ndjson"):
                found = json_rows(str(file), lines)
            else:
                head = next(lines, "")
                found = csv_rows(str(file), chain([head], lines), _columns(head))
            for _, row in found:
                yield row
    except UnicodeDecodeError as exc:
        raise SourceError(f"{file}: not UTF-8; save it as UTF-8") from exc
    except OSError as exc:
        raise SourceError(f"{file} cannot be read: {exc.strerror or exc}") from exc


def _columns(head: str) -> list[str]:
    """The names in a CSV's first line, by the delimiter that makes the most of them."""
    return max((header_cells(head, delimiter) for delimiter in ",;\t"), key=len)


def _from_table(file: Path) -> Iterator[Row]:
    for number, row in enumerate(open_rows(file)):
        if "id" not in row and len(row) > 1:
            raise SourceError(f"{file}: row {number} has no `id`; it has {', '.join(row)}")
        yield {"id": row["id"] if "id" in row else next(iter(row.values()), None)}


def _from_array(file: Path) -> Iterator[Row]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise SourceError(f"{file} cannot be read as .npy: {exc}") from exc
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise SourceError(
            f"{file} contains {array.dtype} {array.shape}, but ids must be an (n,) array of integers or text"
        )
    return ({"id": value.item()} for value in array)


def _from_lines(file: Path) -> Iterator[Row]:
    lines: TextIO
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for line in lines:
                yield {"id": line.strip()}
    except UnicodeDecodeError as exc:
        raise SourceError(f"{file}: ids must be a text file with one id per line, a table, or .npy") from exc


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(len(npy.MAGIC))
