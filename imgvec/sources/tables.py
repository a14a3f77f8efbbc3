"""Rows of CSV and JSON-lines files, with their line numbers."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from imgvec.errors import SourceError
from imgvec.plurals import counted

_DELIMITERS = (",", ";", "\t")

MAX_CELL = 16 * 2**20
"""Maximum characters in one cell; more means an unclosed quote."""

_MANY_DIGITS = 1000
_NOT_UTF_8 = "not UTF-8; save the file as UTF-8"
_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")
"""How a UTF-16 file begins when its bytes are kept as surrogates."""

Row = dict[str, Any]
OnBad = Callable[[str, int, str], object]
"""Is told the file, the line and what is wrong with it; one that returns leaves the line out."""


def fail(where: str, line: int, problem: str) -> NoReturn:
    """Raise what is wrong with a line."""
    raise SourceError(f"{where}:{line}: {problem}")


def json_rows(where: str, lines: Iterable[str], *, on_bad: OnBad = fail) -> Iterator[tuple[int, Row]]:
    """Line number and object of each line that is not blank; nulls are left out.

    `on_bad` is told of a line that is not an object of JSON; without it that raises `SourceError` with the line.
    `lines` may hold bytes that are not UTF-8 as surrogates, which are bad as well; a file in UTF-16 always raises.
    """
    for number, text in enumerate(lines, 1):
        if number == 1 and text.startswith(_UTF_16):
            fail(where, number, _NOT_UTF_8)
        if not text.strip():
            continue
        if not _is_unicode(text):
            on_bad(where, number, _NOT_UTF_8)
            continue
        try:
            row = json.loads(text, parse_int=_whole)
        except (ValueError, RecursionError) as exc:
            row, problem = None, f"not valid JSON: {exc}"
        else:
            problem = "JSON lines need one object per line"
        if not isinstance(row, dict):
            on_bad(where, number, problem)
            continue
        yield number, {name: value for name, value in row.items() if value is not None}


def _whole(digits: str) -> int:
    """Python reads no more than thousands of digits: one such number is refused by its field, and ends no run."""
    return int(digits) if len(digits) < _MANY_DIGITS else 10**_MANY_DIGITS


def column_of(names: Collection[str], wanted: Iterable[str]) -> str | None:
    """The first of `wanted` among `names`: as it is written, or else whatever its case, spaces, `_` and `-`."""
    wanted = list(wanted)
    exact = next((one for one in wanted if one in names), None)
    if exact is not None:
        return exact
    loose = {_loose(name): name for name in reversed(list(names))}
    return next((loose[_loose(one)] for one in wanted if _loose(one) in loose), None)


def _loose(name: str) -> str:
    return re.sub(r"[ _-]+", "", name).casefold()


def csv_rows(
    where: str,
    lines: Iterable[str],
    wanted: Collection[str],
    *,
    on_header: Callable[[list[str]], None] | None = None,
    on_bad: OnBad = fail,
) -> Iterator[tuple[int, Row]]:
    """Line number and cells by column, as text; empty cells are left out. Raises `SourceError` with the line.

    `on_bad` is told of a row with more cells than the header, and of one that is not UTF-8, whose bytes `lines` holds
    as surrogates; without it that raises as well. An unclosed quote always raises, because what follows it is lost.

    The delimiter is the comma, semicolon or tab (for `.tsv` the tab) by which the header has a column of `wanted`
    (`column_of`), or what a line `sep=;` before it names, as spreadsheets write it. `on_header` is told the columns.
    """
    # the module's own 128 KiB end a file for one long text, which a field's length is there to refuse; it is the
    # process's, so it is only ever raised
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    lines, first = iter(lines), 1
    head = next(lines, "")
    delimiters: Sequence[str] = ("\t",) if where.lower().endswith(".tsv") else _DELIMITERS
    if said := re.fullmatch(r"\"?sep=(.)\"?\s*", head, re.IGNORECASE):
        head, first, delimiters = next(lines, ""), 2, (said[1],)
    if not _is_unicode(head):
        fail(where, first, _NOT_UTF_8)
    readings = [(header_cells(head, one), one) for one in delimiters]
    columns, delimiter = max(readings, key=lambda reading: column_of(reading[0], wanted) is not None)
    if column_of(columns, wanted) is None:
        names = " or ".join(f"`{name}`" for name in wanted)
        fail(where, first, f"the header has no column {names}, only {', '.join(columns) or 'nothing'}")
    named = [name for name in columns if name]
    if len(set(named)) < len(named):
        fail(where, first, "two columns in the header have the same name")
    if on_header is not None:
        on_header(named)
    ended = False

    def until_end() -> Iterator[str]:
        nonlocal ended
        yield from lines
        ended = True

    reader = csv.reader(until_end(), delimiter=delimiter)
    start = first + 1
    try:
        for cells in reader:
            if ended:
                # the module takes all that follows the quote for one cell, other rows too, which a prune would miss
                fail(where, start, "a quote opened in this row is never closed")
            start = first + reader.line_num + 1
            if not cells:
                continue
            if len(cells) > len(columns):
                on_bad(
                    where, first + reader.line_num, f"{counted(len(cells), 'cell')}, but the header has {len(columns)}"
                )
                continue
            if not all(map(_is_unicode, cells)):
                on_bad(where, first + reader.line_num, _NOT_UTF_8)
                continue
            # Columns without a name are row numbers that a data frame wrote, or the end of lines that end in a comma.
            row = {name: cell for name, cell in zip(columns, cells, strict=False) if name and cell}
            yield first + reader.line_num, row
    except csv.Error as exc:
        raise SourceError(f"{where}:{start}: not valid CSV: {exc} (is a quote not closed?)") from exc


def header_cells(head: str, delimiter: str) -> list[str]:
    """The names in the first line of a CSV; none where it cannot be one."""
    try:
        return [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
