"""Rows on stdout: a table for a person, JSON and CSV for a program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False))


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column), digits=None) for column in columns])
    click.echo(text.getvalue(), nl=False)


def print_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A table as wide as its terminal; whole cells, whatever their width, where stdout is no terminal."""
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
    """A value as text; floats with so many digits, for a person, or with all of them, for a program."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value) if digits is None else f"{value:.{digits}f}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
