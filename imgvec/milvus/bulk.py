"""A folder of Parquet files in Milvus's bulk-import format: rows written there in place of a collection, and read back.

    collection.json    the description of the collection that the rows are for: its definition, and its encoder
    000001.parquet …   finished files, in the order in which they were written; a later row goes before an earlier one

The files hold the collection's schema as `pymilvus.bulk_writer` writes it, the dynamic field as JSON text in `$meta`.
A file appears whole or not at all, so the finished files are the journal: what they hold is not made again. What a
crash costs is the rows of the file that was being gathered, at most `FILE_BYTES`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from pymilvus import CollectionSchema, DataType

from imgvec.errors import MissingExtra, SourceError, TargetError, UnsupportedByBackend, WriteFailed
from imgvec.milvus import writing
from imgvec.milvus.errors import translated
from imgvec.milvus.reading import DYNAMIC, EVERYTHING
from imgvec.milvus.store import Store
from imgvec.rows import FROM_IMAGE, ID, MAX_VARCHAR_BYTES, VECTOR
from imgvec.vectors import Vectors, problem

if TYPE_CHECKING:
    import pyarrow as pa

FILE_BYTES = 16 * 2**20
"""Of rows in one file, by an estimate; pymilvus takes some ten times as much memory to write them."""
READ_ROWS = 512
"""Rows read from a file at once."""
_NO_LIMIT = 2**62

# pymilvus logs each failure besides raising it
for _name in ("bulk_writer", "pymilvus.bulk_writer.local_bulk_writer", "pymilvus.bulk_writer.buffer"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

Row = dict[str, Any]


class BulkFolder:
    """A folder to ingest into: a context manager with a store's `get` and `upsert`.

    `get` finds what the folder holds, and else what the collection holds. Leaving the context writes what is gathered.
    One process at a time writes a folder. Raises `TargetError` where the folder is in use, or holds something else.
    """

    def __init__(self, folder: str | Path, store: Store, *, file_bytes: int = FILE_BYTES) -> None:
        if store.vector_type != "FLOAT_VECTOR":
            raise UnsupportedByBackend(f"bulk files hold FLOAT_VECTOR, and {store.name!r} has {store.vector_type}")
        _need_bulk_writer()
        self.folder = Path(folder).expanduser()
        self._store, self._schema, self._file_bytes = store, store._schema, file_bytes
        self._partial = self.folder / ".partial"
        self._rows: dict[str, tuple[Row, Vectors]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._guard: IO[bytes] = (self.folder / ".lock").open("wb")
        try:
            self._take_over()
        except BaseException:
            self._guard.close()
            raise
        return self

    def _take_over(self) -> None:
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise TargetError(f"{self.folder} is being written by another process: give each its own folder") from exc
        if not (self.folder / "collection.json").exists():
            if any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise TargetError(f"{self.folder} holds other things: give an empty folder, or one written with --via")
            _write_whole(self.folder / "collection.json", self._store.description)
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        with translated(f"read the schema of {self._store.name!r}"):
            described = self._store._client.describe_collection(self._store.name, timeout=self._store.timeout)
            self._pymilvus_schema = CollectionSchema.construct_from_dict(described)
        for field in self._pymilvus_schema.fields:
            field.params.setdefault("max_length", MAX_VARCHAR_BYTES)  # Milvus Lite has none for the texts of an array
        # which file holds a row's latest version; on disk, so that memory does not grow with the folder
        self._index = sqlite3.connect(self._partial / "index.sqlite", check_same_thread=False, isolation_level=None)
        self._index.execute("PRAGMA synchronous = OFF")  # made anew by every run
        self._index.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, file INTEGER) WITHOUT ROWID")
        self._number = 0
        for file in files(self.folder):
            self._number = int(file.stem)
            for table in _tables(file, [ID]):
                self._note(table.column(ID).to_pylist(), self._number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        except BaseException:
            if error is None:
                raise
        finally:
            self._index.close()
            shutil.rmtree(self._partial, ignore_errors=True)
            self._guard.close()

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]:
        """`Store.get`, of the folder before the collection."""
        with self._lock:
            found = {id_: self._rows[id_] for id_ in ids if id_ in self._rows}
            found |= self._stored([id_ for id_ in ids if id_ not in found])
        answer: dict[str, Mapping[str, Any]] = {
            id_: {
                **{name: value for name, value in row.items() if name in output_fields or EVERYTHING in output_fields},
                **({VECTOR: vector} if with_vector else {}),
            }
            for id_, (row, vector) in found.items()
        }
        if rest := [id_ for id_ in ids if id_ not in answer]:
            answer |= self._store.get(rest, output_fields=output_fields, with_vector=with_vector)
        return {id_: answer[id_] for id_ in ids if id_ in answer}

    def _stored(self, ids: Sequence[str]) -> dict[str, tuple[Row, Vectors]]:
        if not ids:
            return {}
        places = self._index.execute(
            "SELECT file, id FROM rows WHERE id IN (SELECT value FROM json_each(?)) ORDER BY file", [json.dumps(ids)]
        ).fetchall()
        found: dict[str, tuple[Row, Vectors]] = {}
        for number, group in groupby(places, key=lambda place: place[0]):
            wanted = {id_ for _, id_ in group}
            for rows, vectors in _rows(self._file(number), self._store):
                found |= {
                    row[ID]: (row, vector) for row, vector in zip(rows, vectors, strict=True) if row[ID] in wanted
                }
        return found

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors) -> int:
        """`Store.upsert`, into the folder: checked alike; in a finished file once `flush` has returned."""
        wrong = problem(vectors, self._store.dim, unit=self._store.metric_type != "L2")
        try:
            sizes = writing.checked_sizes(rows, self._schema)
        except writing.RefusedRowError as exc:
            wrong = str(exc)
        if wrong:
            raise WriteFailed(f"nothing was written to {self.folder}: {wrong}", written=0, pending=len(rows))
        with self._lock:
            for row, vector, size in zip(rows, vectors, sizes, strict=True):
                self._rows[row[ID]] = (dict(writing.noted(row, self._schema)), vector)
                self._bytes += size + 4 * self._store.dim
                if self._bytes >= self._file_bytes:
                    self._write()
        return len(rows)

    def flush(self) -> None:
        """Write what is gathered as a file; raises `WriteFailed`."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if not self._rows:
            return
        with translated(f"write Parquet to {self.folder}"):
            written, failure = _bulk_written(self._pymilvus_schema, self._partial, list(self._rows.values()))
        try:
            if failure is not None:
                raise failure
            with written.open("rb") as file:
                os.fsync(file.fileno())
            self._store.check_same()  # what `get` found may be another collection's by now
            written.replace(self._file(self._number + 1))
        except OSError as exc:
            pending = len(self._rows)
            raise WriteFailed(
                f"{pending} rows were not written to {self.folder}: {exc.strerror or exc}", written=0, pending=pending
            ) from exc
        self._number += 1
        self._note(self._rows, self._number)
        self._rows, self._bytes = {}, 0

    def _note(self, ids: Iterator[str] | Sequence[str] | Mapping[str, Any], number: int) -> None:
        self._index.execute("BEGIN")
        self._index.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", ((id_, number) for id_ in ids))
        self._index.execute("COMMIT")

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.parquet"


def files(folder: str | Path) -> list[Path]:
    """The finished files of a folder, in the order in which they were written."""
    return sorted(
        (path for path in Path(folder).expanduser().glob("*.parquet") if path.stem.isdecimal()),
        key=lambda path: int(path.stem),
    )


def description(folder: str | Path) -> str:
    """What the folder remembers of its collection; raises `SourceError` where it is none of ours."""
    try:
        return (Path(folder).expanduser() / "collection.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"{folder} was not written by `imgvec ingest --via parquet`: no collection.json") from exc


def read(folder: str | Path, store: Store) -> Iterator[tuple[list[Row], Vectors]]:
    """The rows of a folder with their (n, dim) float32 vectors, file after file, at most `READ_ROWS` at once.

    Raises `SourceError` for a file that is damaged, or that is no such collection's.
    """
    for file in files(folder):
        yield from _rows(file, store)


def _rows(file: Path, store: Store) -> Iterator[tuple[list[Row], Vectors]]:
    as_json = {name for name, kind in store.fields.items() if kind.type == "JSON"}
    apart = [FROM_IMAGE] if store._schema.noted else []
    names = [*store.fields, VECTOR, *apart, *([DYNAMIC] if store.dynamic else [])]
    for table in _tables(file, names):
        vectors = np.asarray(table.column(VECTOR).combine_chunks().flatten(), np.float32).reshape(table.num_rows, -1)
        rows = table.drop_columns([VECTOR]).to_pylist()
        for row in rows:
            row.update({name: json.loads(row[name]) for name in as_json if row[name] is not None})
            row.update(json.loads(row.pop(DYNAMIC, None) or "{}"))
        yield rows, vectors


def _tables(file: Path, names: Sequence[str]) -> Iterator[pa.Table]:
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


def _bulk_written(
    schema: CollectionSchema, folder: Path, rows: Sequence[tuple[Row, Vectors]]
) -> tuple[Path, Exception | None]:
    """One Parquet file of those rows, or why there is none: pymilvus writes in a thread, whose errors get lost."""
    import pandas as pd
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
        for row, vector in rows:
            writer.append_row({**row, VECTOR: vector})
        writer.commit(call_back=written.extend)
    if not written:
        return folder, writer.failure or OSError("pymilvus wrote no file")
    return Path(written[0]), None


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _need_bulk_writer() -> None:
    missing = [name for name in ("pyarrow", "minio", "azure") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra("bulk", f"writing bulk files needs {', '.join(missing)}")
