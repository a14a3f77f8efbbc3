"""Images given one by one by the caller: records, or (id, picture, metadata)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeAlias
from urllib.parse import quote

from imgvec.errors import QueryError, UnreadableImage, UsageError
from imgvec.images.decode import Picture, as_png
from imgvec.images.readers import BytesReader, Reader, content_hash
from imgvec.sources.reading import Item, Reading, id_trouble, printable
from imgvec.sources.records import GIVEN, Record, record_id

Given: TypeAlias = tuple[str | int | None, Picture] | tuple[str | int | None, Picture, Mapping[str, Any]]
"""Id, picture and metadata; with None for the id it is made from the uri."""


def read_given(given: Record | Given, reading: Reading) -> Item:
    """A record of it, or its refusal; raises `UsageError` for what is neither.

    Where the source's images are kept (`Reading.keeper`), the uri is that of the kept file. Otherwise the uri only
    contains the id, and the picture cannot be reopened. A picture that is not kept becomes a PNG when it is read.
    """
    if isinstance(given, Record):
        if not isinstance(given.id, str | None) or not isinstance(given.uri, str):
            raise UsageError(f"the id and the uri of a record must be strings: {_short(given)}")
        if not isinstance(given.metadata, Mapping):
            raise UsageError(f"the metadata of a record must be a mapping: {_short(given)}")
        return _identified(given.id, given.uri, given.reader, given.metadata, reading)
    if not isinstance(given, tuple) or len(given) not in (2, 3):
        raise UsageError(f"a source must yield paths, records or (id, picture, metadata), not {_short(given)}")
    id_, picture, metadata = given if len(given) == 3 else (*given, {})
    if isinstance(id_, bool) or not isinstance(id_, str | Integral | None) or not isinstance(metadata, Mapping):
        raise UsageError(f"{_short(given)}: the id must be a string, an integer or None, and the metadata a mapping")
    name = None if id_ is None or id_ == "" else str(id_)
    uri = None if name is None else GIVEN + quote(name, safe="", errors="surrogatepass")
    if uri is not None and reading.keeper is None:
        return _identified(name, uri, _reader(picture, uri), metadata, reading)
    try:
        shown = uri or f"{GIVEN}?"
        data = _reader(picture, shown).read(reading.guards.max_bytes)
    except UnreadableImage as exc:
        return exc
    uri = GIVEN + content_hash(data) if reading.keeper is None else reading.uri(reading.keeper.keep(data))
    return _identified(name, uri, BytesReader(data, uri), metadata, reading)


def _identified(id_: str | None, uri: str, reader: Reader, metadata: Mapping[str, Any], reading: Reading) -> Item:
    if id_ is not None and (problem := id_trouble(id_)):
        return UnreadableImage(printable(uri), "metadata refused", problem)
    found = reading.image(uri, reader, uri, fields=reading.fields.of(metadata))
    if isinstance(found, UnreadableImage):
        return found
    return Record(record_id(uri) if id_ is None else id_, found.uri, found.reader, found.metadata)


@dataclass(frozen=True, slots=True)
class PictureReader:
    """A PIL image or an array, as the bytes of a PNG: no pixel changes."""

    picture: Any
    uri: str

    def read(self, max_bytes: int) -> bytes:
        """Raises `UnreadableImage`: not an image, broken, too large."""
        try:
            # the cap of pixels is that of the decoder, which comes by next
            data = as_png(self.picture, uri=self.uri, max_pixels=sys.maxsize)
        except QueryError as exc:
            raise UnreadableImage(self.uri, "not an image", str(exc)) from exc
        return BytesReader(data, self.uri).read(max_bytes)


def _reader(picture: Any, uri: str) -> Reader:
    if isinstance(picture, bytes | bytearray | memoryview):
        return BytesReader(bytes(picture), uri)
    if isinstance(picture, str) or hasattr(picture, "__fspath__"):
        raise UsageError(
            f"{_short(picture)}: a path is a source of its own; use a manifest to give it an id (id_column=)"
        )
    return PictureReader(picture, uri)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
