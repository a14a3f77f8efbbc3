"""The finished parts of an export as one file: Parquet, or .npy with a CSV beside it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgvec.dates import iso
from imgvec.exchange.parquet import opened
from imgvec.exchange.reading import IDS_SUFFIX
from imgvec.rows import INGESTED_AT, VECTOR
from imgvec.store import Reads

if TYPE_CHECKING:
    import pyarrow as pa


def parts(folder: Path) -> list[Path]:
    """The finished parts, in order."""
    return sorted(folder.glob("[0-9]*.parquet"))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to; the file appears under its real name only once it is complete and on disk."""
    partial = path.with_name(f".{path.name}")
    yield partial
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _batches(folder: Path) -> Iterator[pa.RecordBatch]:
    for part in parts(folder):
        with opened(part) as file:
            yield from file.iter_batches(1000, use_threads=False)


def one_parquet(folder: Path, target: Path, _rows: int, _store: Reads) -> tuple[Path, ...]:
    """The parts as one Parquet file, row group by row group."""
    import pyarrow.parquet as pq

    with opened(parts(folder)[0]) as first:
        columns = first.schema_arrow
    with whole(target) as partial, pq.ParquetWriter(partial, columns) as writer:
        for part in parts(folder):
            with opened(part) as file:
                groups = file.num_row_groups
            for group in range(groups):
                with opened(part) as file:
                    table = file.read_row_group(group)
                writer.write_table(table)  # whose trouble is not the part's
    return (target,)


def npy(folder: Path, target: Path, rows: int, store: Reads) -> tuple[Path, ...]:
    """The vectors as (rows, dim) float32, and every other field beside them as CSV, row by row.

    Declared dates are ISO 8601 there: as bare numbers those of January 1970 would not be taken for milliseconds again.
    """
    dates = {name: kind for name, kind in store.fields.items() if kind.format and name != INGESTED_AT}
    table = target.with_suffix(IDS_SUFFIX)
    with (
        whole(target) as vectors_file,
        whole(table) as table_file,
        vectors_file.open("wb") as vectors,
        table_file.open("w", encoding="utf-8", newline="") as text,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, store.dim)}
        np.lib.format.write_array_header_1_0(vectors, header)
        writer = csv.writer(text)  # with its own line ends it quotes each of those in a text
        with opened(parts(folder)[0]) as first:
            writer.writerow([name for name in first.schema_arrow.names if name != VECTOR])
        for batch in _batches(folder):
            flat = batch.column(VECTOR).flatten().to_numpy(zero_copy_only=False)
            vectors.write(flat.astype("<f4").tobytes())
            for row in batch.drop_columns([VECTOR]).to_pylist():
                for name, kind in dates.items():
                    if row[name] is not None and row[name] != kind.unknown:
                        row[name] = iso(row[name])
                writer.writerow([_cell(value) for value in row.values()])
    return target, table


def _cell(value: Any) -> str:
    """A value as an import of the CSV reads it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
