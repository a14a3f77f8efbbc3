"""Rows of data frames (pandas, polars), Arrow tables and Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from imgvec.errors import SourceError
from imgvec.images.tables import column_of

_ROWS = 1000
_INDEX_COLUMN = "__index_level_"
"""How pandas calls a data frame's row numbers in Parquet."""

Row = dict[str, Any]


@runtime_checkable
class Table(Protocol):
    """A data frame of pandas or polars, or an Arrow table; none of them is imported for it."""

    @property
    def columns(self) -> Any: ...


def frame_rows(table: Table, paths: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Number, from 1, and cells of each row by column; a pandas index that is called one of `paths` is a column too.

    Raises `SourceError` where it is no such table.
    """
    return ((number, dict(row)) for number, row in enumerate(_rows(table, paths), 1))


def parquet_rows(file: Path) -> Iterator[tuple[int, Row]]:
    """The same of a Parquet file, a batch at a time; raises `SourceError` where it cannot be read."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise SourceError(f"{file}: Parquet needs pyarrow: pip install 'imgvec[parquet]'") from exc
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_ROWS, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: cell for name, cell in row.items() if not name.startswith(_INDEX_COLUMN)}
    except (pa.ArrowException, OSError) as exc:
        raise SourceError(f"{file}: not Parquet, or broken: {exc}") from exc


def _rows(table: Any, paths: Sequence[str]) -> Iterator[Row]:
    if hasattr(table, "iter_rows"):  # polars
        yield from table.iter_rows(named=True)
    elif hasattr(table, "to_batches"):  # Arrow
        for batch in table.to_batches(_ROWS):
            yield from batch.to_pylist()
    elif hasattr(table, "itertuples"):  # pandas
        index = [str(name) for name in table.index.names if name is not None]
        named = table.reset_index() if column_of(index, paths) else table
        columns = [str(name) for name in named.columns]
        for cells in named.itertuples(index=False, name=None):
            yield dict(zip(columns, cells, strict=True))
    else:
        raise SourceError(f"a {type(table).__name__} is no table: give a data frame, a file or a mapping by path")
