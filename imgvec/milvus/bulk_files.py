"""One Parquet file in Milvus's bulk-import format: written by pymilvus, read by pyarrow."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymilvus import CollectionSchema, DataType

from imgvec.errors import SourceError
from imgvec.milvus.answers import DYNAMIC
from imgvec.milvus.store import Store
from imgvec.rows import FROM_IMAGE
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    import pyarrow as pa

READ_ROWS = 512
"""Rows read from a file at once."""
_NO_LIMIT = 2**62

Row = dict[str, Any]


def row_count(file: Path) -> int:
    """The rows of a file by its head alone; 0 where that cannot be read, which `rows_of` tells."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: int = pq.read_metadata(file).num_rows
    except (OSError, pa.ArrowException):
        return 0
    return rows


def rows_of(file: Path, store: Store) -> Iterator[tuple[list[Row], dict[str, Vectors]]]:
    """The rows of a file, a few hundred at once, and their (n, dim) float32 vectors by name."""
    as_json = {name for name, kind in store.fields.items() if kind.type == "JSON"}
    apart = [FROM_IMAGE] if store.link.schema.noted else []
    names = [*store.fields, *store.vectors, *apart, *([DYNAMIC] if store.dynamic else [])]
    for table in tables(file, names):
        vectors = {
            name: np.asarray(table.column(name).combine_chunks().flatten(), np.float32).reshape(table.num_rows, -1)
            for name in store.vectors
        }
        rows = table.drop_columns(list(vectors)).to_pylist()
        for row in rows:
            row.update({name: json.loads(row[name]) for name in as_json if row[name] is not None})
            row.update(json.loads(row.pop(DYNAMIC, None) or "{}"))
        yield rows, vectors


def tables(file: Path, names: Sequence[str]) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            if missing := set(names) - set(opened.schema_arrow.names):
                raise SourceError(f"{file} has no {', '.join(sorted(missing))}: it was written for another collection")
            for batch in opened.iter_batches(READ_ROWS, columns=list(names)):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as exc:
        raise SourceError(f"{file} cannot be read as Parquet: {exc}") from exc


def write(
    schema: CollectionSchema, folder: Path, rows: Sequence[tuple[Row, Mapping[str, Vectors]]]
) -> tuple[Path, Exception | None]:
    """One Parquet file of those rows, or why there is none: pymilvus writes in a thread, whose errors get lost."""
    import pandas as pd

    with _hosts_logging():
        from pymilvus.bulk_writer import BulkFileType, LocalBulkWriter

    class Writer(LocalBulkWriter):  # type: ignore[misc]  # pymilvus has no types
        failure: Exception | None = None

        def _flush(self, call_back: Any = None) -> None:
            # pandas would make floats of a column of integers with nulls, and lose digits past 2**53
            columns = self._buffer._buffer
            for field in schema.fields:
                if field.nullable and field.dtype == DataType.INT64:
                    columns[field.name] = pd.array(columns[field.name], dtype="Int64")
            try:
                super()._flush(call_back)
            except Exception as exc:  # noqa: BLE001  handed to the caller
                self.failure = exc

    written: list[str] = []
    with Writer(schema, str(folder), chunk_size=_NO_LIMIT, file_type=BulkFileType.PARQUET) as writer:
        for row, vectors in rows:
            writer.append_row({**row, **vectors})
        writer.commit(call_back=written.extend)
    if not written:
        return folder, writer.failure or OSError("pymilvus wrote no file")
    return Path(written[0]), None


@contextmanager
def _hosts_logging() -> Iterator[None]:
    """Import pymilvus's bulk writer without what it does to the host's logging.

    It calls `logging.basicConfig(level=INFO)`, which gives a program that configures nothing a handler on stderr, and
    takes the later call away from one that does. Where the root logger has a handler that call does nothing.
    """
    held = logging.NullHandler()
    logging.getLogger().addHandler(held)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(held)
    # it logs each failure besides raising it
    for name in ("bulk_writer", "pymilvus.bulk_writer.local_bulk_writer", "pymilvus.bulk_writer.buffer"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
