"""Hits by picture: of a collection whose rows are views, the best one of each."""

from __future__ import annotations

from collections.abc import Sequence

from imgvec.errors import QueryError
from imgvec.rows import AT_MS, BOX, IMAGE_ID, URI, VIEW
from imgvec.search.answer import Hit
from imgvec.store import Found, Searches

MOST_ROWS = 16_384
"""That Milvus gives to one query."""

PLACE = (IMAGE_ID, VIEW, BOX, AT_MS)
"""The fields that say of which part of which picture a row is."""


def rows_to_ask(pictures: int, most_views: int) -> int:
    """How many rows hold that many pictures for certain; raises `QueryError` where Milvus does not give so many.

    Where each of n - 1 pictures has all of its views before the next, that is in the first (n - 1) x most + 1 rows.
    """
    rows = pictures * most_views
    if rows > MOST_ROWS:
        raise QueryError(
            f"limit + offset = {pictures:,} pictures of up to {most_views} views each are {rows:,} rows, and Milvus "
            f"gives {MOST_ROWS:,} to one query: ask for at most {MOST_ROWS // most_views:,}, or for views"
        )
    return rows


def best_views(found: Sequence[Found]) -> list[Found]:
    """The best row of each picture, best first, equal scores in the order of the pictures' ids."""
    best: dict[str, Found] = {}
    for row in found:
        best.setdefault(row.fields[IMAGE_ID], row)
    return sorted(best.values(), key=lambda row: (-row.score, row.fields[IMAGE_ID]))


def hit(found: Found, *, views: bool) -> Hit:
    """A row as a hit; `views` says that rows are views."""
    fields = dict(found.fields)
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
