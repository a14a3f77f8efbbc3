"""Rows on stdout: tables for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from imgvec.dates import iso
from imgvec.nulls import finite
from imgvec.rows import VECTOR

if TYPE_CHECKING:
    from imgvec.filters import FieldType


def named(collection: str, vector: str) -> str:
    """A collection, and which of its vectors is spoken of where it is not the first."""
    return collection if vector == VECTOR else f"{collection} ({vector})"


def print_json(data: Any) -> None:
    text = json_text(data, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # JSON can say every character in ASCII
        text = json_text(data, indent=2)
    click.echo(text)


def json_text(data: Any, **form: Any) -> str:
    """As JSON, which has no NaN and no infinity: rows that others wrote may, and have null there."""
    try:
        return json.dumps(data, allow_nan=False, **form)
    except ValueError:
        return json.dumps(finite(data), allow_nan=False, **form)


def print_paths(paths: Iterable[str]) -> None:
    """One per line, as raw bytes whatever the encoding of stdout, as `find` prints them."""
    for path in paths:
        try:
            name = os.fsencode(path)
        except UnicodeEncodeError:
            name = path.encode(errors="surrogateescape")
        click.echo(name)


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column), digits=None) for column in columns])
    click.echo(text.getvalue(), nl=False)


def with_dates(fields: Mapping[str, Any], kinds: Mapping[str, FieldType]) -> dict[str, Any]:
    """The fields with dates as ISO 8601 in UTC, each with its stored Unix milliseconds as NAME_ms.

    The number that means "no date" becomes None.
    """
    shown: dict[str, Any] = {}
    for name, value in fields.items():
        kind = kinds.get(name)
        if kind is None or not kind.format:
            shown[name] = value
            continue
        shown[name] = None if value is None or value == kind.unknown else iso(value)
        if f"{name}_ms" not in fields:  # the collection may have a field of that name
            shown[f"{name}_ms"] = value
    return shown


def print_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A table as wide as the terminal; if stdout is not a terminal, cells are never cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100_000
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, since a cell may hold what rich would take for markup
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    console.print(table)


def _cell(value: Any, digits: int | None = 4) -> str:
    """A value as text; floats get `digits` digits, or all of them if None; no "-0.0000"."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value) if digits is None else f"{value:z.{digits}f}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
