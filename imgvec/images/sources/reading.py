"""How a source is to be read, and how what is found becomes a record: shared by every kind of source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images.connections import Connections
from imgvec.images.fetch import FetchPolicy
from imgvec.images.metadata import Metadata
from imgvec.images.records import Reader, Record, record_id

#: Longest uri in UTF-8 bytes: the length of the collection's `uri` field, and of a path on Linux (PATH_MAX).
MAX_URI_BYTES = 4096
#: Longest id in UTF-8 bytes: the length of the collection's `id` field.
MAX_ID_BYTES = 64

Item = Record | UnreadableImage
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a manifest, or keys of a sidecar, mean what."""

    uri: str | None = None
    """Where the image is; None for the first of `manifests.URI_COLUMNS` that is there."""
    id: str | None = None
    """The image's id; None for one made from its uri."""
    image: str | None = None
    """A Parquet column of image bytes; None for `image`, where no column says where the image is."""
    mapping: Mapping[str, str] | None = None
    """Column to field; None for every other column under its own name, otherwise only these."""

    def fields(self, row: Row, used: frozenset[str | None] = frozenset()) -> dict[str, Any]:
        """The metadata that a row gives, without the columns `used` for the image itself."""
        if self.mapping is not None:
            return {name: row[column] for column, name in self.mapping.items() if row.get(column) is not None}
        return {name: value for name, value in row.items() if value is not None and name not in used}


@dataclass(frozen=True, slots=True)
class Reading:
    """The options of `read_source`."""

    root: str | None = None
    """Absolute."""
    recursive: bool = True
    metadata: Metadata | None = None
    columns: Columns = field(default_factory=Columns)
    max_bytes: int = 256 * 2**20
    policy: FetchPolicy = field(default_factory=FetchPolicy)
    connections: Connections = field(default_factory=Connections)
    """What fetches of this source share; closed at its end."""
    part: tuple[int, int] | None = None
    """Rank and number of the parts that the source is split into; None for all of it."""

    def uri(self, path: str) -> str:
        """What records call the absolute `path`; raises `SourceError` where it is outside the root."""
        if self.root is None:
            return path
        prefix = self.root.rstrip("/") + "/"
        if path == self.root:
            return "."
        if not path.startswith(prefix):
            raise SourceError(
                f"{printable(path)}: outside the root {printable(self.root)}; choose a root that holds every source"
            )
        return path.removeprefix(prefix)

    def known(self, path: str, uri: str, *, folder: str | None = None, member: str | None = None) -> Row:
        """What the metadata file says about an image."""
        return {} if self.metadata is None else self.metadata.lookup(path, uri, folder=folder, member=member)

    def record(self, uri: str, reader: Reader, fields: Row, row: Row | None = None) -> Item:
        """A record, or the refusal of its name or id; the id is taken from `row` where a column is named for it."""
        if trouble := name_trouble(uri):
            return UnreadableImage(printable(uri), *trouble)
        if row is None or self.columns.id is None:
            return Record(record_id(uri), uri, reader, fields)
        given = row.get(self.columns.id)
        if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
            return UnreadableImage(uri, "metadata refused", f"`{self.columns.id}` gives no id: a text or an integer")
        size = len(str(given).encode("utf-8", "surrogatepass"))
        if size > MAX_ID_BYTES:
            return UnreadableImage(uri, "metadata refused", f"its id takes {size} bytes, the limit is {MAX_ID_BYTES}")
        return Record(str(given), uri, reader, fields)

    def is_mine(self, key: str) -> bool:
        """Whether the image of this id belongs to the part that is read; the order of the source plays no role."""
        return self.part is None or int(record_id(key), 16) % self.part[1] == self.part[0]

    def may_skip(self, uri: str) -> bool:
        """Whether the image is another part's, said before its bytes are read."""
        return self.part is not None and self.columns.id is None and not self.is_mine(record_id(uri))

    def own(self, items: Iterator[Item]) -> Iterator[Item]:
        """Those items that belong to the part; a refusal, which has no id, goes by its uri."""
        if self.part is None:
            return items
        return (one for one in items if self.is_mine(one.id if isinstance(one, Record) else record_id(one.uri)))


def name_trouble(uri: str) -> tuple[str, str] | None:
    """Reason and detail where `uri` cannot be stored."""
    try:
        size = len(uri.encode())
    except UnicodeEncodeError:
        return "unusable name", "it is not UTF-8; rename it"
    if size > MAX_URI_BYTES:
        return "unusable name", f"its path takes {size:,} bytes, the limit is {MAX_URI_BYTES:,}"
    return None


def absolute(path: str | Path) -> str:
    """The path from the root of the file system, with `~` expanded and links as they are."""
    text = os.path.expanduser(os.fspath(path))  # noqa: PTH111
    if not text:
        raise SourceError("the path of a source is empty; `.` is the working directory")
    return os.path.abspath(text)  # noqa: PTH100 - resolve() would follow links


def printable(text: str) -> str:
    r"""Bytes of a name that are no UTF-8 as `\xNN`, so that it can be printed and stored."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
