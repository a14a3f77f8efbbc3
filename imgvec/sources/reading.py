"""How to read a source and turn what is found into records: shared by every kind of source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imgvec.errors import Reason, SourceError, UnreadableImage
from imgvec.images.connections import Connections
from imgvec.images.readers import Reader
from imgvec.rows import MAX_ID_BYTES, MAX_URI_BYTES
from imgvec.sources.columns import Columns, Fields, Row, some
from imgvec.sources.guards import Guards
from imgvec.sources.keeping import Keeper
from imgvec.sources.metadata import Metadata
from imgvec.sources.passing import Excludes
from imgvec.sources.records import Found, Notice, PassedOver, Record, record_id

Item = Record | UnreadableImage

_MOST_NOTICES = 5
"""Notices about columns; sidecars may have others in every image."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One pass over a source: what to yield, and what has turned up so far."""

    root: str | None = None
    """Absolute."""
    recursive: bool = True
    metadata: Metadata | None = None
    columns: Columns = field(default_factory=Columns)
    fields: Fields = field(default_factory=lambda: Fields(Columns()))
    guards: Guards = field(default_factory=Guards)
    connections: Connections = field(default_factory=Connections)
    """What fetches of this source share; closed at its end."""
    part: tuple[int, int] | None = None
    """Rank and number of the parts that the source is split into; None for all of it."""
    follow_links: bool = False
    excludes: Excludes = field(default_factory=Excludes)
    keeper: Keeper | None = None
    """Where images that have no place of their own are kept."""
    name_encoding: str | None = None
    """Of names in archives that do not say theirs."""

    def uri(self, path: str) -> str:
        """The uri for the absolute `path`; raises `SourceError` if it is outside the root."""
        if self.root is None:
            return path
        prefix = self.root.rstrip("/") + "/"
        if path == self.root:
            return "."
        if not path.startswith(prefix):
            raise SourceError(
                f"{printable(path)}: outside the root {printable(self.root)}; choose a root that contains all sources"
            )
        return path.removeprefix(prefix)

    def image(
        self,
        uri: str,
        reader: Reader,
        path: str,
        *,
        folder: str | None = None,
        member: str | None = None,
        fields: Row | None = None,
        row: Row | None = None,
    ) -> Item:
        """A record, or its refusal: `fields` from `row`, and over them what the metadata file says of `path`."""
        if self.metadata is None:
            return self.record(uri, reader, fields or {}, row)
        try:
            known = self.metadata.lookup(path, uri, folder=folder, member=member)
        except ValueError as exc:
            return UnreadableImage(printable(uri), "metadata refused", str(exc))
        used = frozenset({self.columns.id})
        return self.record(uri, reader, {**(fields or {}), **self.fields.of(known, used)}, row)

    def record(self, uri: str, reader: Reader, fields: Row, row: Row | None = None) -> Item:
        """A record, or the refusal of its name or id; the id is taken from `row` where a column is named for it."""
        if trouble := name_trouble(uri):
            return UnreadableImage(printable(uri), *trouble)
        if row is None or self.columns.id is None:
            return Record(record_id(uri), uri, reader, fields)
        given = row.get(self.columns.id)
        if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
            return UnreadableImage(uri, "metadata refused", f"`{self.columns.id}` must be a string or an integer")
        if problem := id_trouble(str(given)):
            return UnreadableImage(uri, "metadata refused", problem)
        return Record(str(given), uri, reader, fields)

    def is_mine(self, key: str) -> bool:
        """Whether the image of this id belongs to the part that is read; the order of the source plays no role."""
        return self.part is None or int(record_id(key), 16) % self.part[1] == self.part[0]

    def may_skip(self, uri: str) -> bool:
        """Whether the image is another part's, said before its bytes are read."""
        return self.part is not None and self.columns.id is None and not self.is_mine(record_id(uri))

    def own(self, items: Iterator[Found]) -> Iterator[Found]:
        """Those items that belong to the part; what has no id goes by its uri, and notices are everybody's."""
        if self.part is None:
            return items
        return (one for one in items if isinstance(one, Notice) or self.is_mine(_key(one)))

    def told(self, items: Iterator[Found]) -> Iterator[Found]:
        """The items, and notices about the columns as they turn up."""
        judged, told, notices = self.fields, 0, 0
        if self.metadata is not None:
            judged.look_at(self.metadata.columns, frozenset({self.columns.id}))
        for item in items:
            if judged.problems > told and notices < _MOST_NOTICES:
                if text := judged.passed_over(told):
                    yield Notice(text)
                told, notices = judged.problems, notices + 1
            yield item
        if judged.never_seen:
            names = some([repr(name) for name in judged.never_seen])
            yield Notice(f"no row has a value in {names}, given by --map (mapping= in Python): check the spelling")


def _key(item: Record | UnreadableImage | PassedOver) -> str:
    return item.id if isinstance(item, Record) else record_id(item.uri)


def id_trouble(id_: str) -> str | None:
    """Why no row can have the id; None if one can."""
    try:
        size = len(id_.encode())
    except UnicodeEncodeError:
        return f"its id {printable(id_)} is not Unicode text"
    if not size:
        return "its id is empty"
    return f"its id has {size} bytes, the limit is {MAX_ID_BYTES}" if size > MAX_ID_BYTES else None


def name_trouble(uri: str) -> tuple[Reason, str] | None:
    """Reason and detail where `uri` cannot be stored."""
    try:
        size = len(uri.encode())
    except UnicodeEncodeError:
        hint = ", or give its encoding (--name-encoding)" if "!" in uri else ""
        return "unusable name", f"it is not UTF-8; rename it{hint}"
    if size > MAX_URI_BYTES:
        return "unusable name", f"its path has {size:,} bytes, the limit is {MAX_URI_BYTES:,}"
    return None


def absolute(path: str | Path) -> str:
    """The path from the root of the file system, with `~` expanded and links as they are."""
    text = os.path.expanduser(os.fspath(path))  # noqa: PTH111
    if not text:
        raise SourceError("the path of the source is empty; use `.` for the working directory")
    return os.path.abspath(text)  # noqa: PTH100 - resolve() would follow links


def printable(text: str) -> str:
    r"""Bytes of a name that are not UTF-8 as `\xNN`, other halves of a pair as `\uNNNN`: printed and stored as such."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # of JSON, whose escapes are no bytes
        return text.encode("utf-8", "backslashreplace").decode()
