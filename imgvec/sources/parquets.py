"""Parquet manifests: rows that name images, or hold their bytes as Hugging Face data sets do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images.readers import BytesReader
from imgvec.sources.frames import arrow_rows
from imgvec.sources.manifests import URI_COLUMNS
from imgvec.sources.named import read_named
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading
from imgvec.sources.records import EXCLUDED, Found, PassedOver, record_id
from imgvec.sources.tables import column_of

_ROWS = 16
"""Rows held at a time, whose images are all in memory."""


def read_parquet(place: Place, reading: Reading) -> Iterator[Found]:
    """The images of a Parquet file; raises `SourceError` where it cannot be read, or has no column of images.

    An image column holds bytes, or `{bytes, path}` as Hugging Face writes it; the uri of such an image is
    `file.parquet!KEY`: its value in the uri column or else its path, if every row has one of its own, or else the
    row's number from 0. A row whose image has a path and no bytes names a file.
    """
    with _opened(place) as file:
        names = file.schema_arrow.names
        image = _image_column(place, reading, names)
        if image is not None:
            _check_type(place, file, image)
        uri = column_of(names, (reading.columns.uri,) if reading.columns.uri else URI_COLUMNS)
        used = frozenset({uri, reading.columns.id})
        reading.columns.look_at(names, used | {image})
        keyed = image is not None and _keys_are_unique(file, image, reading.columns.uri)
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
            images = batch.column(image) if image is not None else None
            others = [name for name in names if name != image]
            for index, row in enumerate(arrow_rows(batch.select(others))):
                if isinstance(row, str):
                    yield UnreadableImage(f"{place.uri}!{number}", "metadata refused", row)
                    number += 1
                    continue
                fields = reading.columns.fields(row, used)
                if images is None:
                    yield _named(row.get(uri or ""), number, place, reading, fields, row)
                else:
                    try:
                        path, value = _cell(images[index])
                    except UnicodeDecodeError:
                        yield UnreadableImage(f"{place.uri}!{number}", "unusable name", "its path is not UTF-8")
                        number += 1
                        continue
                    name = row[reading.columns.uri] if reading.columns.uri else path
                    key = str(name) if keyed else str(number)
                    if value is None and path:
                        yield _named(path, number, place, reading, fields, row)
                    else:
                        yield from _held(value, key, place, reading, fields, row)
                number += 1


def _held(
    value: Any, key: str, place: Place, reading: Reading, fields: Mapping[str, Any], row: Mapping[str, Any]
) -> Iterator[Found]:
    """The image whose bytes the row holds; nothing where it is another part's."""
    uri = f"{place.uri}!{key}"
    if reading.may_skip(uri):
        return
    if reading.excludes.match(key):
        yield PassedOver(uri, EXCLUDED)
        return
    data = b"" if value is None else value.as_buffer()
    size = len(data)
    if size > reading.max_bytes:
        yield UnreadableImage(uri, "too large", f"{size:,} bytes, the limit is {reading.max_bytes:,}")
        return
    yield reading.image(uri, BytesReader(bytes(data), uri), f"{place.where}!{key}", member=key, fields=fields, row=row)


def _named(
    text: Any, number: int, place: Place, reading: Reading, fields: Mapping[str, Any], row: Mapping[str, Any]
) -> Found:
    if not isinstance(text, str) or not text.strip():
        return UnreadableImage(f"{place.uri}!{number}", "unusable name", "the row does not say where its image is")
    return read_named(text, place, reading, fields, row)


def _cell(cell: Any) -> tuple[str | None, Any]:
    """Path and bytes, as Arrow scalars' values, of one image."""
    if not cell.is_valid:
        return None, None
    if not hasattr(cell, "keys"):
        return None, cell
    path, data = (cell["path"].as_py() if "path" in cell.keys() else None), cell["bytes"]  # noqa: SIM118
    return path, data if data.is_valid else None


def _image_column(place: Place, reading: Reading, names: list[str]) -> str | None:
    """The column with the images' bytes, None where another one says where they are."""
    columns = reading.columns
    if columns.image is not None:
        if columns.image not in names:
            raise SourceError(f"{place}: there is no column `{columns.image}`; it has {', '.join(names)}")
        return columns.image
    if columns.uri is not None:
        if columns.uri not in names:
            raise SourceError(f"{place}: there is no column `{columns.uri}`; it has {', '.join(names)}")
        return None
    if "image" in names:
        return "image"
    if column_of(names, URI_COLUMNS) is None:
        raise SourceError(
            f"{place}: which column has the images? It has {', '.join(names)}; name it with --image-column, or with "
            "--uri-column where it says where they are"
        )
    return None


def _keys_are_unique(file: Any, image: str, uri_column: str | None) -> bool:
    """Whether every row has a path of its own; of the file only the paths are read."""
    seen: set[int] = set()
    leaf = uri_column or f"{image}.path"
    leaves = {file.schema.column(index).path for index in range(len(file.schema))}
    if leaf not in leaves:
        return False
    for batch in file.iter_batches(columns=[leaf], use_threads=False):
        column = batch.column(0) if uri_column else batch.column(0).field("path")
        try:
            paths = column.to_pylist()
        except UnicodeDecodeError:
            return False
        for path in paths:
            key = int(record_id(path)[:16], 16) if isinstance(path, str) and path else None
            if key is None or key in seen:
                return False
            seen.add(key)
    return True


@contextmanager
def _opened(place: Place) -> Iterator[Any]:
    """The file, opened by pyarrow; what pyarrow finds wrong with it becomes a `SourceError`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise SourceError(f"{place}: Parquet needs pyarrow: pip install 'imgvec[parquet]'") from exc
    with place.opened() as file:
        try:
            # row groups of images are large: pages are read as they are needed rather than a whole group
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as parquet:
                yield parquet
        except (pa.ArrowException, OSError) as exc:
            raise SourceError(f"{place}: not Parquet, or broken: {exc}; the rows before are taken") from exc


def _check_type(place: Place, file: Any, image: str) -> None:
    import pyarrow as pa

    kind = file.schema_arrow.field(image).type
    held = kind
    if pa.types.is_struct(kind):
        held = next(
            (kind.field(index).type for index in range(kind.num_fields) if kind.field(index).name == "bytes"), None
        )
    if held is None or not (pa.types.is_binary(held) or pa.types.is_large_binary(held)):
        raise SourceError(f"{place}: the column `{image}` is {kind}: images are bytes, or {{bytes, path}}")
