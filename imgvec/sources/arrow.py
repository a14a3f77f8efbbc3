"""Rows of Arrow data as images: they hold an image's bytes, as Hugging Face data sets do, or name it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgvec.errors import Reason, SourceError, UnreadableImage
from imgvec.images.readers import BytesReader
from imgvec.sources.columns import Columns
from imgvec.sources.frames import arrow_rows
from imgvec.sources.manifests import URI_COLUMNS
from imgvec.sources.named import read_named
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading
from imgvec.sources.records import EXCLUDED, Found, PassedOver, record_id
from imgvec.sources.tables import column_of

HELD_ROWS = 16
"""Rows held at a time, whose images are all in memory."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the columns of one file are."""

    place: Place
    names: Sequence[str]
    """Of all columns."""
    image: str | None
    """The column of images; None if each row names its image."""
    uri: str | None
    """The column that says where an image is, or what it is called."""
    keyed: bool = False
    """Whether images are called by a text of their own, rather than by the row's number from 0."""


def sheet_of(place: Place, columns: Columns, schema: Any, image: str | None, texts: Iterable[Any] | None) -> Sheet:
    """What the columns are, with the images in `image`; `texts` are those that rows could be called by.

    Raises `SourceError` if that column holds no images.
    """
    if image is not None:
        check_type(place, schema, image)
    return Sheet(
        place, schema.names, image, uri_column(columns, schema.names), keyed=texts is not None and are_unique(texts)
    )


def records(sheet: Sheet, batches: Iterable[Any], reading: Reading) -> Iterator[Found]:
    """The images of all rows; `batches` are Arrow's record batches of at most `HELD_ROWS`."""
    place = sheet.place
    used = frozenset({sheet.uri, reading.columns.id})
    reading.fields.look_at(sheet.names, used | {sheet.image})
    number = 0
    for batch in batches:
        images = batch.column(sheet.image) if sheet.image is not None else None
        others = [name for name in sheet.names if name != sheet.image]
        for index, row in enumerate(arrow_rows(batch.select(others))):
            if isinstance(row, str):
                yield UnreadableImage(f"{place.uri}!{number}", "metadata refused", row)
                number += 1
                continue
            fields = reading.fields.of(row, used)
            if images is None:
                yield _named(row.get(sheet.uri or ""), number, place, reading, fields, row)
            else:
                try:
                    path, value = cell(images[index])
                except UnicodeDecodeError:
                    yield UnreadableImage(f"{place.uri}!{number}", "unusable name", "its path is not UTF-8")
                    number += 1
                    continue
                name = row[reading.columns.uri] if reading.columns.uri else path
                key = str(name) if sheet.keyed else str(number)
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
    if trouble := _size_trouble(len(data), reading.guards.max_bytes):
        yield UnreadableImage(uri, *trouble)
        return
    yield reading.image(uri, BytesReader(bytes(data), uri), f"{place.where}!{key}", member=key, fields=fields, row=row)


def _size_trouble(size: int, limit: int) -> tuple[Reason, str] | None:
    return ("too large", f"{size:,} bytes, the limit is {limit:,}") if size > limit else None


def _named(
    text: Any, number: int, place: Place, reading: Reading, fields: Mapping[str, Any], row: Mapping[str, Any]
) -> Found:
    if not isinstance(text, str) or not text.strip():
        return UnreadableImage(f"{place.uri}!{number}", "unusable name", "the row does not say where the image is")
    return read_named(text, place, reading, fields, row)


def cell(value: Any) -> tuple[str | None, Any]:
    """Path and bytes, as Arrow scalars' values, of one image."""
    if not value.is_valid:
        return None, None
    if not hasattr(value, "keys"):
        return None, value
    path, data = (value["path"].as_py() if "path" in value.keys() else None), value["bytes"]  # noqa: SIM118 - not a dict
    return path, data if data.is_valid else None


def image_column(place: Place, columns: Columns, schema: Any) -> str | None:
    """The column with the images' bytes, None if another one says where they are; raises `SourceError`."""
    names = schema.names
    if columns.image is not None:
        if columns.image not in names:
            raise SourceError(f"{place}: no column `{columns.image}`; it has {', '.join(names)}")
        return columns.image
    if columns.uri is not None:
        if columns.uri not in names:
            raise SourceError(f"{place}: no column `{columns.uri}`; it has {', '.join(names)}")
        return None
    if "image" in names:
        return "image"
    if column_of(names, URI_COLUMNS) is None:
        raise SourceError(
            f"{place}: which column has the images? Choose from {', '.join(names)} with --image-column for image "
            f"bytes, or with --uri-column for paths or URLs"
        )
    return None


def uri_column(columns: Columns, names: Sequence[str]) -> str | None:
    """The column that says where an image is, or what it is called."""
    return column_of(names, (columns.uri,) if columns.uri else URI_COLUMNS)


def check_type(place: Place, schema: Any, image: str) -> None:
    """Raise `SourceError` if that column holds no images."""
    if not holds_images(kind := schema.field(image).type):
        raise SourceError(f"{place}: the column `{image}` is {kind}, but images must be bytes or {{bytes, path}}")


def holds_images(kind: Any) -> bool:
    """Whether values of this Arrow type can be images: bytes, or `{bytes, path}`."""
    import pyarrow as pa

    held = kind
    if pa.types.is_struct(kind):
        held = next(
            (kind.field(index).type for index in range(kind.num_fields) if kind.field(index).name == "bytes"), None
        )
    return held is not None and (pa.types.is_binary(held) or pa.types.is_large_binary(held))


def are_unique(columns: Iterable[Any]) -> bool:
    """Whether every row has a text of its own; `columns` are its arrays, batch by batch."""
    return _row_by_text(columns, None) is not None


def row_of(columns: Iterable[Any] | None, key: str) -> int | None:
    """The number of the row that is called `key`: by the texts of `columns` where each row has one of its own, or else
    by its number; None if there is none.
    """
    by_text = None if columns is None else _row_by_text(columns, key)
    if by_text is not None:
        return None if by_text < 0 else by_text
    return int(key) if key.isascii() and key.isdigit() else None


def _row_by_text(columns: Iterable[Any], key: str | None) -> int | None:
    """The row that has `key` as its text, -1 where none has; None if not every row has a text of its own."""
    seen: set[int] = set()
    found, number = -1, 0
    for column in columns:
        try:
            texts = column.to_pylist()
        except UnicodeDecodeError:
            return None
        for text in texts:
            mark = int(record_id(text)[:16], 16) if isinstance(text, str) and text else None
            if mark is None or mark in seen:
                return None
            seen.add(mark)
            if text == key:
                found = number
            number += 1
    return found


def only_image_column(place: Place, columns: Columns, schema: Any) -> str:
    """The column to open an image from again: the named one, `image`, or the only one that can hold any."""
    if columns.image is not None and columns.image in schema.names:
        return columns.image
    if "image" in schema.names:
        return "image"
    fitting = [name for name in schema.names if holds_images(schema.field(name).type)]
    if len(fitting) != 1:
        raise SourceError(f"{place}: which column has the images? Candidates: {', '.join(fitting) or 'none'}; name one")
    return str(fitting[0])


def bytes_of_row(batches: Iterable[Any], image: str, row: int, uri: str, max_bytes: int) -> bytes:
    """The image of the row of this number, counted over the batches; raises `UnreadableImage`."""
    for batch in batches:
        if row < batch.num_rows:
            return _bytes(batch.column(image)[row], uri, max_bytes)
        row -= batch.num_rows
    raise UnreadableImage(uri, "missing", "no such row")


def _bytes(value: Any, uri: str, max_bytes: int) -> bytes:
    _, data = cell(value)
    buffer = b"" if data is None else data.as_buffer()
    if trouble := _size_trouble(len(buffer), max_bytes):
        raise UnreadableImage(uri, *trouble)
    return BytesReader(bytes(buffer), uri).read(max_bytes)
