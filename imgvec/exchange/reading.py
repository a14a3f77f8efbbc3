"""Detects the format of a file of vectors, and reads the ids and metadata beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from typing_extensions import Unpack

from imgvec.errors import SourceError, UsageError
from imgvec.exchange import annoy, beside, faiss, npy, parquet
from imgvec.exchange.options import FileOptions, FormatOptions
from imgvec.exchange.source import Chunk, Row, VectorSource
from imgvec.home import at_home
from imgvec.options import documented, settled
from imgvec.plurals import counted

IDS_SUFFIX = ".ids.csv"
"""What an export writes beside an .npy: `vectors.ids.csv` beside `vectors.npy`."""
_LOOKED_AT = 1000
"""Rows among which a column of ids must be."""


@documented(FileOptions)
def open_source(source: str | Path, **options: Unpack[FileOptions]) -> VectorSource:
    """Vectors from an .npy file, Parquet, a Faiss index or an Annoy file, told apart by what is in them.

    `ids` names a file (text of one a line, .npy, or a table with a column `id`), or a column of `metadata` or of the
    Parquet file. `metadata` is a CSV, JSON-lines or Parquet file whose row at a position belongs to the vector there;
    an export's `.ids.csv` beside an .npy is found by itself. `dim` and `metric` (angular, dot or euclidean) are
    what an Annoy file does not say. Raises `OptionError`, `SourceError`.
    """
    asked = settled(FileOptions, options)
    ids, metadata = asked["ids"], asked["metadata"]
    path = Path(os.path.abspath(at_home(source)))  # noqa: PTH100  resolve() would follow links
    found = _opened(path, asked)
    tables: list[Callable[[], Iterator[Row]]] = []
    exported = path.with_suffix(IDS_SUFFIX)
    if path.suffix == ".npy" and not ids and not metadata and exported.is_file():
        metadata = exported
        found = replace(found, notes=(*found.notes, f"ids and fields are those of {exported}"))
    if metadata is not None:
        table = at_home(metadata)
        tables.append(lambda: beside.open_rows(table))
    if ids is not None and (file := at_home(ids)).is_file():
        tables.append(lambda: beside.open_ids(file))
        ids = None
    for each in tables:
        if (rows := beside.count(each())) != found.rows:
            raise SourceError(
                f"{path} has {counted(found.rows, 'vector')}, but the file beside it has "
                f"{counted(rows, 'row')}: it needs one per vector"
            )
    if not tables and not ids:
        return found
    joined = replace(found, read=_joined(found, tables, None), copied=False)
    if ids is None:
        return joined
    if found.rows and not any(ids in row for row in next(iter(joined.read(_LOOKED_AT))).rows):
        raise SourceError(f"{ids} is neither a file nor a column of {path}")
    return replace(joined, read=_joined(found, tables, ids))


def _opened(path: Path, asked: FormatOptions) -> VectorSource:
    vector_column, dim, metric = asked["vector_column"] or "vector", asked["dim"], asked["metric"]
    if path.is_dir():
        return parquet.open_parquet(path, vector_column)
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as exc:
        raise SourceError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    if head.startswith(npy.MAGIC):
        return npy.open_npy(path)
    if head.startswith(parquet.MAGIC):
        return parquet.open_parquet(path, vector_column)
    if faiss.is_faiss(head):
        return faiss.open_faiss(path)
    if dim is not None and metric is not None:
        return annoy.open_annoy(path, dim, metric)
    if path.suffix.lower() in annoy.SUFFIXES or dim is not None or metric is not None:
        raise UsageError(
            f"{path}: an Annoy file does not record its dimension and metric: give --dim and --metric "
            "(--source-dim to `encoders fit-projection`)"
        )
    raise SourceError(
        f"{path} is not .npy, Parquet, a Faiss index or a folder of Parquet files; for an Annoy file give --dim "
        f"and --metric"
    )


def _joined(
    source: VectorSource, tables: list[Callable[[], Iterator[Row]]], id_column: str | None
) -> Callable[[int], Iterator[Chunk]]:
    """The source's chunks with the tables' rows added, a later table's values before an earlier one's."""

    def chunks(size: int) -> Iterator[Chunk]:
        opened = [table() for table in tables]
        for chunk in source.read(size):
            rows = chunk.rows
            for table in opened:
                more = list(islice(table, len(rows)))
                rows = [{**row, **added} for row, added in zip(rows, more, strict=True)]
            if id_column is not None:
                for row in rows:
                    row["id"] = row.pop(id_column, None)
            yield replace(chunk, rows=rows)

    return chunks
