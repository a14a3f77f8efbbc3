"""The fields that every collection has, with their types and limits.

Definitions refuse these names, schemas declare them, an ingest and an import fill them in, and exports carry them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

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

    type: Literal["VARCHAR", "INT32", "INT64"]
    max_bytes: int | None = None
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
"""Names that no definition may declare, and no metadata may fill: imgvec does."""
