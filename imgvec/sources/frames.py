"""Rows of data frames (pandas, polars), Arrow tables and Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from imgvec.errors import MissingExtra, SourceError
from imgvec.sources.tables import column_of

_ROWS = 1000
_INDEX_COLUMN = "__index_level_"
"""How pandas calls a data frame's row numbers in Parquet."""

Row = dict[str, Any]


@runtime_checkable
class Table(Protocol):
    """A data frame of pandas or polars, or an Arrow table; none of them is imported for it."""

    @property
    def columns(self) -> Any: ...


def frame_rows(table: Table, paths: Sequence[str]) -> Iterator[tuple[int, Row | str]]:
    """Number, from 1, and cells of each row by column; a pandas index that is called one of `paths` is a column too.

    A string instead of cells says what is wrong with a row. Raises `SourceError` if it is not such a table.
    """
    rows = enumerate(_rows(table, paths), 1)
    return ((number, row if isinstance(row, str) else dict(row)) for number, row in rows)


def parquet_rows(file: Path) -> Iterator[tuple[int, Row | str]]:
    """The same for a Parquet file, one batch at a time; raises `SourceError` if it cannot be read."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtra("parquet", f"{file}: Parquet needs pyarrow") from exc
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_ROWS, use_threads=False):
                names = [name for name in batch.schema.names if not name.startswith(_INDEX_COLUMN)]
                for row in arrow_rows(batch.select(names)):
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as exc:
        raise SourceError(f"{file}: not a Parquet file, or damaged: {exc}") from exc


def arrow_rows(batch: Any) -> list[Row | str]:
    """The rows of an Arrow batch or table as Python's values.

    A text says what Python cannot hold of one: a date of the year 12000, a text that is not Unicode.
    """
    rows: list[Row | str]
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        rows = [_arrow_row(batch, index) for index in range(batch.num_rows)]
    return rows


def _arrow_row(batch: Any, index: int) -> Row | str:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[index].as_py()
        except (ValueError, OverflowError) as exc:
            return f"`{name}` cannot be read: {exc}"
    return row


def _rows(table: Any, paths: Sequence[str]) -> Iterator[Row | str]:
    if hasattr(table, "iter_rows"):  # polars
        yield from table.iter_rows(named=True)
    elif hasattr(table, "to_batches"):  # Arrow
        for batch in table.to_batches(_ROWS):
            yield from arrow_rows(batch)
    elif hasattr(table, "itertuples"):  # pandas
        index = [str(name) for name in table.index.names if name is not None]
        named = table.reset_index() if column_of(index, paths) else table
        columns = [str(name) for name in named.columns]
        for cells in named.itertuples(index=False, name=None):
            yield dict(zip(columns, cells, strict=True))
    else:
        raise SourceError(
            f"a {type(table).__name__} is not metadata: use a data frame, a file, or a mapping from path to fields"
        )
