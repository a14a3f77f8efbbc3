"""Hits of a collection whose rows are views: which part of which picture each is."""

from __future__ import annotations

from collections.abc import Set

from imgvec.rows import AT_MS, BOX, IMAGE_ID, URI, VIEW
from imgvec.search.answer import Hit
from imgvec.store import Searches
from imgvec.stored import Found
from imgvec.views import MOST_ROWS

PLACE = (IMAGE_ID, VIEW, BOX, AT_MS)
"""The fields that say of which part of which picture a row is."""


def hit(found: Found, *, views: bool, hidden: Set[str] = frozenset()) -> Hit:
    """A row as a hit without its `hidden` fields; `views` says that rows are views."""
    fields = {**found.fields}
    for name in hidden:
        fields.pop(name, None)
    uri = fields.pop(URI, "")
    if not views:
        return Hit(found.id, found.score, uri, fields, found.distance, found.id)
    image_id, view, box, at_ms = (fields.pop(name) for name in PLACE)
    return Hit(
        found.id,
        found.score,
        uri,
        fields,
        found.distance,
        image_id,
        view,
        None if view == "whole" else (box[0], box[1], box[2], box[3]),
        at_ms=at_ms if view == "frame" else None,
    )


def count_pictures(store: Searches, expression: str, most_views: int) -> int:
    """How many pictures have a row that matches; of more rows than a search looks at, as many as there are at least."""
    rows = store.count(expression)
    if rows > MOST_ROWS:
        return -(-rows // most_views)
    return len({row[IMAGE_ID] for some in store.scan([IMAGE_ID], expression) for row in some})
