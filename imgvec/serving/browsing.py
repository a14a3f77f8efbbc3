"""The route of rows that are looked at without a question."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from imgvec.rows import CONTENT_HASH, ID, URI
from imgvec.search.afterwork import Order
from imgvec.search.listing import Listed, Lists, listed, ordered
from imgvec.serving.reading import Name, Where
from imgvec.serving.served import KNOWN_ONLY, MAY_READ, Json, served_of, thumbnail_at

router = APIRouter(prefix="/v1/collections/{collection}/images", tags=["images"], dependencies=[MAY_READ, KNOWN_ONLY])

_EVERY = ("*",)
_ID_BYTES = 100
"""Of an id in a list."""


@router.get("", summary="Rows")
async def rows(
    request: Request,
    collection: str,
    where: Where = None,
    order_by: Annotated[
        str | None, Query(max_length=1024, description="A field, or -FIELD from the greatest; else they come by id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    after: Annotated[str | None, Query(max_length=1024, description="`next` of the rows before.")] = None,
    field: Annotated[list[Name] | None, Query(max_length=64, description="Repeatable; else all.")] = None,
) -> Response:
    """Stored rows that match, some at a time, without a question. `next` is null once there are no more."""
    served = served_of(request)
    photos = served.collection(collection)

    def find(store: Lists, expression: str, version: Callable[[], Hashable | None]) -> Listed:
        def in_order(order: Order) -> Sequence[str]:
            ask, key = partial(ordered, store, expression, order), (store.name, "order", order, expression)
            return served.remembered.of(key, ask, lambda ids: _ID_BYTES * len(ids), version=version)

        return listed(
            store,
            expression,
            _EVERY if field is None else [*{URI: 0, CONTENT_HASH: 0, **dict.fromkeys(field, 0)}],
            limit=limit,
            after=after,
            order_by=order_by or None,
            ids_in_order=in_order,
        )

    def read() -> dict[str, Any]:
        found = photos.handle.read(lambda target: find(target.store, target.rendered(where), target.store.version))
        shown = [_listed(collection, row, field) for row in found.rows]
        return {"images": shown, "next": found.rows[-1]["id"] if found.more and found.rows else None}

    return Json(await served.stored.run(request, read))


def _listed(name: str, row: Mapping[str, Any], asked: Sequence[str] | None) -> dict[str, Any]:
    fields = {each: value for each, value in row.items() if each not in (ID, URI) and (asked is None or each in asked)}
    thumbnail = thumbnail_at(name, row[ID], row.get(CONTENT_HASH))
    return {"id": row[ID], "uri": row[URI], "fields": fields, "thumbnail": thumbnail}
