"""A folder of Parquet files in Milvus's bulk-import format: rows written there instead of a collection, and read back.

    collection.json    the description of the collection that the rows are for: its definition, and its encoder
    projection.DIGEST.safetensors
                       a projection that the collection keeps
    000001.parquet …   finished files, in the order in which they were written; a later row goes before an earlier one

The files hold the collection's schema as `pymilvus.bulk_writer` writes it, the dynamic field as JSON text in `$meta`.
A file appears whole or not at all, so the finished files are the journal: what they hold is not made again. What a
crash costs is the rows of the file that was being gathered, at most `FILE_BYTES`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from pymilvus import CollectionSchema

from imgvec.errors import MissingExtra, SourceError, TargetError, UnsupportedByBackend, WriteFailed
from imgvec.home import at_home
from imgvec.milvus import bulk_files, writing
from imgvec.milvus.answers import EVERYTHING
from imgvec.milvus.errors import translated
from imgvec.milvus.store import Store
from imgvec.plurals import counted
from imgvec.rows import ID, MAX_VARCHAR_BYTES, VECTOR
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    pass

FILE_BYTES = 16 * 2**20
"""Of rows in one file, by an estimate; pymilvus takes some ten times as much memory to write them."""

Row = dict[str, Any]

DESCRIPTION = "collection.json"
"""What such a folder remembers of its collection, and is known by."""
_PROJECTION = "projection.{}.safetensors"


class BulkFolder:
    """A folder to ingest into: a context manager with a store's `get` and `upsert`.

    `get` finds what the folder holds, and else what the collection holds. Leaving the context writes what is gathered.
    One process at a time writes a folder. Raises `TargetError` if the folder is in use, or holds something else.
    """

    def __init__(self, folder: str | Path, store: Store, *, file_bytes: int = FILE_BYTES) -> None:
        for vector_type in (each.vector_type for each in store.vectors.values()):
            if vector_type != "FLOAT_VECTOR":
                raise UnsupportedByBackend(
                    f"bulk files support only FLOAT_VECTOR, but {store.name!r} has {vector_type}"
                )
        if store.words:
            raise UnsupportedByBackend(f"bulk files hold no words for BM25, which {store.name!r} has: ingest directly")
        _need_bulk_writer()
        self.folder = at_home(folder)
        self._store, self._schema, self._file_bytes = store, store.link.schema, file_bytes
        self._partial = self.folder / ".partial"
        self._rows: dict[str, tuple[Row, Mapping[str, Vectors]]] = {}
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
            raise TargetError(f"another process is writing to {self.folder}: use a separate folder for each") from exc
        if not (self.folder / DESCRIPTION).exists():
            if any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise TargetError(f"{self.folder} contains other files: use an empty folder, or one written with --via")
            _write_whole(self.folder / DESCRIPTION, self._store.description.encode())
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        self._pymilvus_schema = CollectionSchema.construct_from_dict(self._store.link.described())
        for field in self._pymilvus_schema.fields:
            field.params.setdefault("max_length", MAX_VARCHAR_BYTES)  # Milvus Lite has none for the texts of an array
        # which file holds a row's latest version; on disk, so that memory does not grow with the folder
        self._index = sqlite3.connect(self._partial / "index.sqlite", check_same_thread=False, isolation_level=None)
        self._index.execute("PRAGMA synchronous = OFF")  # made again by every run
        self._index.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, file INTEGER) WITHOUT ROWID")
        self._number = 0
        for file in files(self.folder):
            self._number = int(file.stem)
            for table in bulk_files.tables(file, [ID]):
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
                **{n: v for n, v in vectors.items() if n in output_fields or (with_vector and n == VECTOR)},
            }
            for id_, (row, vectors) in found.items()
        }
        if rest := [id_ for id_ in ids if id_ not in answer]:
            answer |= self._store.get(rest, output_fields=output_fields, with_vector=with_vector)
        return {id_: answer[id_] for id_ in ids if id_ in answer}

    def _stored(self, ids: Sequence[str]) -> dict[str, tuple[Row, Mapping[str, Vectors]]]:
        if not ids:
            return {}
        places = self._index.execute(
            "SELECT file, id FROM rows WHERE id IN (SELECT value FROM json_each(?)) ORDER BY file", [json.dumps(ids)]
        ).fetchall()
        found: dict[str, tuple[Row, Mapping[str, Vectors]]] = {}
        for number, group in groupby(places, key=lambda place: place[0]):
            wanted = {id_ for _, id_ in group}
            for rows, vectors in bulk_files.rows_of(self._file(number), self._store):
                found |= {
                    row[ID]: (row, {name: each[place] for name, each in vectors.items()})
                    for place, row in enumerate(rows)
                    if row[ID] in wanted
                }
        return found

    def discard(self, ids: Sequence[str]) -> None:
        """Refused: what a file holds stays in it."""
        raise UnsupportedByBackend(f"{self.folder} takes rows, and gives up none of them ({len(ids)} asked for)")

    def upsert(
        self, rows: Sequence[Mapping[str, Any]], vectors: Vectors, more: Mapping[str, Vectors] | None = None
    ) -> int:
        """`Store.upsert`, into the folder: checked alike; in a finished file once `flush` has returned."""
        every = {VECTOR: vectors, **(more or {})}
        wrong = writing.vectors_problem(len(rows), every, self._schema)
        try:
            sizes = writing.checked_sizes(rows, self._schema)
        except writing.RefusedRowError as exc:
            wrong = str(exc)
        if wrong:
            raise WriteFailed(f"nothing was written to {self.folder}: {wrong}", written=0, pending=len(rows))
        with self._lock:
            for place, (row, size) in enumerate(zip(rows, sizes, strict=True)):
                vectors_of = {name: each[place] for name, each in every.items()}
                self._rows[row[ID]] = (dict(writing.noted(row, self._schema)), vectors_of)
                self._bytes += size + 4 * sum(map(len, vectors_of.values()))
                if self._bytes >= self._file_bytes:
                    self._write()
        return len(rows)

    def keep(self, projections: Mapping[str, bytes]) -> None:
        """Lay beside the description the projections that the collection keeps: .safetensors, by their digests."""
        for digest, data in projections.items():
            _write_whole(self.folder / _PROJECTION.format(digest), data)

    def flush(self) -> None:
        """Write what is gathered as a file; raises `WriteFailed`."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if not self._rows:
            return
        with translated(f"write Parquet to {self.folder}"):
            written, failure = bulk_files.write(self._pymilvus_schema, self._partial, list(self._rows.values()))
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
                f"could not write {counted(pending, 'row')} to {self.folder}: {exc.strerror or exc}",
                written=0,
                pending=pending,
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
        (path for path in at_home(folder).glob("*.parquet") if path.stem.isdecimal()),
        key=lambda path: int(path.stem),
    )


def description(folder: str | Path) -> str:
    """What the folder remembers about its collection; raises `SourceError` if it was not written by imgvec."""
    try:
        return (at_home(folder) / DESCRIPTION).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"{folder} was not written by `imgvec ingest --via parquet`: no collection.json") from exc


def projections(folder: str | Path) -> dict[str, bytes]:
    """What `BulkFolder.keep` laid there, by the digests."""
    return {path.name.split(".")[1]: path.read_bytes() for path in at_home(folder).glob(_PROJECTION.format("*"))}


def row_count(folder: str | Path) -> int:
    """The rows of a folder, by the heads of its files."""
    return sum(map(bulk_files.row_count, files(folder)))


def read(folder: str | Path, store: Store) -> Iterator[tuple[list[Row], dict[str, Vectors]]]:
    """The rows of a folder with their (n, dim) float32 vectors by name, file after file, a few hundred at once.

    Raises `SourceError` for a file that is damaged or belongs to another collection.
    """
    for file in files(folder):
        yield from bulk_files.rows_of(file, store)


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(data)
    partial.replace(path)


def _need_bulk_writer() -> None:
    missing = [name for name in ("pyarrow", "minio", "azure") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra("bulk", f"writing bulk files needs {', '.join(missing)}")
