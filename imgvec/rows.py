"""The fields that every collection has, with their types and limits.

Definitions refuse these names, schemas declare them, an ingest and an import fill them in, and exports carry them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

ID, VECTOR, URI, CONTENT_HASH = "id", "vector", "uri", "content_hash"
WIDTH, HEIGHT, MEDIA_TYPE, INGESTED_AT = "width", "height", "media_type", "ingested_at"

FROM_IMAGE = "imgvec_from_image"
"""Where a row notes which of its fields the picture filled, by name, between spaces: these follow the picture when it
changes. What is not noted came from metadata, and stays. No search, export table or definition shows it."""

MAX_ID_BYTES = 64
MAX_URI_BYTES = 4096
"""As long as a path on Linux may be (PATH_MAX)."""
MAX_VARCHAR_BYTES = 65_535
"""Of a text, in UTF-8: the most that a VARCHAR may declare."""
MAX_ARRAY_ITEMS = 4096
MAX_JSON_BYTES = 65_536
"""Of a JSON field, and of the whole dynamic field."""


@dataclass(frozen=True, slots=True)
class RowField:
    """A field that every collection has; `type` is the Milvus data type, `max_bytes` that of a text in UTF-8."""

    type: Literal["VARCHAR", "INT32", "INT64", "ARRAY", "JSON"]
    max_bytes: int | None = None
    items: int | None = None
    """Of an ARRAY, which holds INT32."""
    format: Literal["unix_ms"] | None = None


KEY = RowField("VARCHAR", max_bytes=MAX_ID_BYTES)
"""`id`, the primary key."""

OWN_FIELDS: Mapping[str, RowField] = MappingProxyType(
    {
        URI: RowField("VARCHAR", max_bytes=MAX_URI_BYTES),
        CONTENT_HASH: RowField("VARCHAR", max_bytes=32),
        WIDTH: RowField("INT32"),
        HEIGHT: RowField("INT32"),
        MEDIA_TYPE: RowField("VARCHAR", max_bytes=32),
        INGESTED_AT: RowField("INT64", format="unix_ms"),
    }
)
"""What a row has beside `id`, `vector` and the fields of its definition, in the order of the schema."""

NOTE = RowField("VARCHAR", max_bytes=1024)
"""`FROM_IMAGE`, where a collection has a column for it; with a dynamic field it lies there."""

RESERVED_NAMES = (ID, VECTOR, *OWN_FIELDS, FROM_IMAGE)
"""Names that no definition may declare, and no metadata may fill: imgvec does. See `reserved_names`."""

IMAGE_ID, VIEW, BOX, AT_MS = "image_id", "view", "box", "at_ms"
PERSON = "person"
VIEWS = "views"
"""Of a picture in the journal: the counts of its views by kind."""

ViewKind: TypeAlias = Literal["whole", "region", "face", "frame"]
"""What a row shows of its picture."""

VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)

ViewCounts: TypeAlias = Mapping[str, int]
"""How many views of each kind a picture has."""

VIEW_FIELDS: Mapping[str, RowField] = MappingProxyType(
    {
        IMAGE_ID: RowField("VARCHAR", max_bytes=MAX_ID_BYTES),
        VIEW: RowField("VARCHAR", max_bytes=16),
        BOX: RowField("ARRAY", items=4),
        AT_MS: RowField("INT64"),
    }
)
"""What a row has besides in a collection of views: its picture's id, its `ViewKind`, x0, y0, x1, y1 in pixels of the
upright picture, and milliseconds into the video (0 where it is not a frame). A definition without views may declare
fields of these names, as those of 0.1.0 could."""

FACE_FIELDS: Mapping[str, RowField] = MappingProxyType({PERSON: RowField("VARCHAR", max_bytes=256)})
"""What a row has besides in a collection of faces: whose face it was identified as, empty where nobody's."""

JOURNAL_FIELDS: Mapping[str, RowField] = MappingProxyType(
    {
        URI: OWN_FIELDS[URI],
        CONTENT_HASH: OWN_FIELDS[CONTENT_HASH],
        VIEWS: RowField("JSON"),
    }
)
"""What a collection of views keeps of each picture in the one beside it, by the picture's id."""

PEOPLE_FIELDS: Mapping[str, RowField] = MappingProxyType(
    {
        PERSON: FACE_FIELDS[PERSON],
        URI: OWN_FIELDS[URI],
        BOX: VIEW_FIELDS[BOX],
        INGESTED_AT: OWN_FIELDS[INGESTED_AT],
    }
)
"""What a collection of faces keeps of each enrolled face in the one beside it: whose it is, and where it came from."""


def reserved_names(*, views: bool, faces: bool = False) -> tuple[str, ...]:
    """Names that a definition, with views (of faces) or without, may not declare, and no metadata may fill: imgvec
    does."""
    return (*RESERVED_NAMES, *(VIEW_FIELDS if views else ()), *(FACE_FIELDS if faces else ()))


_VIEW_ID = re.compile("view-[0-9a-f]{32}")


def view_id(image_id: str, kind: str, ordinal: int) -> str:
    """The id of a view's row: the picture's own for the whole of it, else `view-` and 32 hex digits over the three."""
    if kind == "whole":
        return image_id
    return "view-" + blake2b(f"{image_id}\0{kind}\0{ordinal}".encode(), digest_size=16).hexdigest()


def is_view_id(text: str) -> bool:
    """Whether it could be the id of a view: no picture beside views may have such a one, or it would replace theirs."""
    return _VIEW_ID.fullmatch(text) is not None


def view_ids(image_id: str, views: ViewCounts) -> Iterator[str]:
    """The ids of all rows of a picture with that many views of each kind, in the order of `VIEW_KINDS`."""
    return (view_id(image_id, kind, ordinal) for kind in VIEW_KINDS for ordinal in range(views.get(kind, 0)))


def view_counts(value: Any) -> dict[str, int]:
    """What a journal's `views` says, as it was read from the collection."""
    counts = value.items() if isinstance(value, Mapping) else ()
    return {str(kind): int(count) for kind, count in counts if isinstance(count, int | float)}
