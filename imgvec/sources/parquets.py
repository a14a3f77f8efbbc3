"""Parquet manifests: rows that name images, or hold their bytes as Hugging Face data sets do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from imgvec.errors import MissingExtra, SourceError, UnreadableImage
from imgvec.sources.arrow import (
    HELD_ROWS,
    bytes_of_row,
    check_type,
    image_column,
    only_image_column,
    records,
    row_of,
    sheet_of,
)
from imgvec.sources.columns import Columns
from imgvec.sources.guards import Guards
from imgvec.sources.kinds import Kind
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading
from imgvec.sources.records import Found


def read_parquet(place: Place, reading: Reading) -> Iterator[Found]:
    """The images of a Parquet file; raises `SourceError` if it cannot be read, or has no column of images.

    An image column holds bytes, or `{bytes, path}` as Hugging Face writes it; the uri of such an image is
    `file.parquet!KEY`: its value in the uri column or else its path, if every row has one of its own, or else the
    row's number from 0. A row whose image has a path and no bytes names a file.
    """
    with _opened(place) as file:
        schema, columns = file.schema_arrow, reading.columns
        image = image_column(place, columns, schema)
        texts = None if image is None else _texts(file, image, columns)
        sheet = sheet_of(place, columns, schema, image, texts)
        yield from records(sheet, file.iter_batches(batch_size=HELD_ROWS, use_threads=False), reading)


def _texts(file: Any, image: str, columns: Columns) -> Iterator[Any] | None:
    """The texts that rows could be called by, batch by batch; of the file only they are read. None without any."""
    leaf = columns.uri or f"{image}.path"
    leaves = {file.schema.column(index).path for index in range(len(file.schema))}
    if leaf not in leaves:
        return None
    batches = file.iter_batches(columns=[leaf], use_threads=False)
    return (batch.column(0) if columns.uri else batch.column(0).field("path") for batch in batches)


def _reopen(place: Place, key: str, guards: Guards, columns: Columns) -> bytes:
    uri = f"{place.uri}!{key}"
    with _opened(place) as file:
        image = only_image_column(place, columns, file.schema_arrow)
        check_type(place, file.schema_arrow, image)
        row = row_of(_texts(file, image, columns), key)
        group = 0
        while row is not None and group < file.num_row_groups:
            rows = file.metadata.row_group(group).num_rows
            if row < rows:
                batches = file.iter_batches(HELD_ROWS, row_groups=[group], columns=[image], use_threads=False)
                return bytes_of_row(batches, image, row, uri, guards.max_bytes)
            row, group = row - rows, group + 1
    raise UnreadableImage(uri, "missing", "no such row")


@contextmanager
def _opened(place: Place) -> Iterator[Any]:
    """The file, opened by pyarrow; what pyarrow finds wrong with it becomes a `SourceError`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtra("parquet", f"{place}: Parquet needs pyarrow") from exc
    with place.opened() as file:
        try:
            # row groups of images are large: pages are read as they are needed rather than a whole group
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as parquet:
                yield parquet
        except (pa.ArrowException, OSError) as exc:
            raise SourceError(
                f"{place}: not a Parquet file, or damaged: {exc}; all rows before this point were read"
            ) from exc


KIND = Kind(name="parquet", read=read_parquet, endings=(".parquet",), reopen=_reopen)
