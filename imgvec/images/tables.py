"""Rows of CSV and JSON-lines files, with their line numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NoReturn

from imgvec.errors import SourceError

_DELIMITERS = (",", ";", "\t")

Row = dict[str, Any]


def json_rows(where: str, lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    """Line number and object of each line that is not blank; nulls are left out. Raises `SourceError` with the line."""
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise SourceError(f"{where}:{number}: not a line of JSON: {exc}") from exc
        if not isinstance(row, dict):
            fail(where, number, "JSON lines hold one object a line")
        yield number, {name: value for name, value in row.items() if value is not None}


def csv_rows(where: str, lines: Iterable[str], wanted: Collection[str]) -> Iterator[tuple[int, Row]]:
    """Line number and cells by column, as text; empty cells are left out. Raises `SourceError` with the line.

    The delimiter is the comma, semicolon or tab (for `.tsv` the tab) by which the header has a column of `wanted`.
    """
    lines = iter(lines)
    head = next(lines, "")
    delimiters = ("\t",) if where.lower().endswith(".tsv") else _DELIMITERS
    readings = [([name.strip() for name in next(csv.reader([head], delimiter=one), [])], one) for one in delimiters]
    columns, delimiter = max(readings, key=lambda reading: any(name in reading[0] for name in wanted))
    if not any(name in columns for name in wanted):
        names = " or ".join(f"`{name}`" for name in wanted)
        fail(where, 1, f"the header has no column {names}; it has {', '.join(columns) or 'nothing'}")
    named = [name for name in columns if name]
    if len(set(named)) < len(named):
        fail(where, 1, "two columns of the header have the same name")
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in reader:
            if not cells:
                continue
            if len(cells) > len(columns):
                fail(where, reader.line_num + 1, f"{len(cells)} cells, the header has {len(columns)}")
            # Columns without a name are row numbers that a data frame wrote, or the end of lines that end in a comma.
            row = {name: cell for name, cell in zip(columns, cells, strict=False) if name and cell}
            yield reader.line_num + 1, row
    except csv.Error as exc:
        raise SourceError(f"{where}:{reader.line_num + 1}: not a line of CSV: {exc}") from exc


def fail(where: str, line: int, problem: str) -> NoReturn:
    """Raise what is wrong with a line."""
    raise SourceError(f"{where}:{line}: {problem}")
