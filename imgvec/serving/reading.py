"""Routes that read: which collections there are, how many rows match, how often values occur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from imgvec.search.facets import Facet
from imgvec.search.histogram import histogram
from imgvec.serving.served import KNOWN_ONLY, MAY_READ, Json, json_response, served_of
from imgvec.serving.tokens import SCOPES

router = APIRouter(prefix="/v1/collections", tags=["collections"], dependencies=[MAY_READ, KNOWN_ONLY])

Where = Annotated[
    str | None,
    Query(
        max_length=20_000,
        description="Only rows that match this Milvus boolean expression.",
        examples=['width >= 800 and album == "cats"'],
    ),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


@router.get("", summary="Collections")
async def listed(request: Request) -> Response:
    """The collections that are served, by the names that requests take; `scopes` is what whoever asks may do."""
    served = served_of(request)

    def about() -> list[dict[str, Any]]:
        return [{"name": name, "about": each.definition.about} for name, each in served.collections.items()]

    return Json({"collections": about(), "scopes": [each for each in SCOPES if each in request.auth.scopes]})


@router.get("/{collection}", summary="Collection")
async def described(request: Request, collection: str) -> Response:
    """What a collection is: its rows, fields, vectors, encoders and indexes.

    `schema` has the fields in parts, with `date` where a field holds dates; `takes` says whether pictures that are not
    stored and words can be searched for, null until its encoder is loaded, and whether uploads are kept.
    """
    served = served_of(request)
    photos = served.collection(collection)

    def describe() -> dict[str, Any]:
        target = photos.handle.reading()
        found, declared = target.describe(), target.remembered.definition.fields
        schema = [
            {
                "name": name,
                "type": kind.type,
                "element": kind.element,
                "date": kind.is_date,
                "nullable": kind.nullable,
                "about": declared[name].about if name in declared else "",
            }
            for name, kind in target.store.fields.items()
        ]
        about = {name: found[name] for name in found if name != "definition"}
        return {"served_as": collection, **about, "schema": schema, "takes": served.takes(collection)}

    return Json(await served.stored.run(request, describe))


@router.get("/{collection}/count", summary="Count")
async def counted(request: Request, collection: str, where: Where = None, pictures: bool = False) -> Response:
    """The number of rows, or of those that match; with `pictures`, of pictures."""
    served = served_of(request)
    photos = served.collection(collection)
    count = photos.count_pictures if pictures else photos.count
    return Json({"count": await served.stored.run(request, lambda: count(where))})


@router.get("/{collection}/facets", summary="Facets")
async def facets(
    request: Request,
    collection: str,
    field: Annotated[list[Name], Query(min_length=1, max_length=16, description="Repeatable.", examples=["album"])],
    where: Where = None,
    most: Annotated[int, Query(ge=1, le=10_000, description="Values of each field, the most frequent first.")] = 100,
) -> Response:
    """How often each value of some fields occurs among all rows, or those that match.

    Pictures are counted where rows are their views.
    """
    served = served_of(request)
    photos = served.collection(collection)

    def shown(found: Mapping[str, Facet]) -> bytes:
        every = {name: facet.to_dict() for name, facet in found.items()}
        cut = {
            name: {**each, "counts": each["counts"][:most], "values": len(each["counts"])}
            for name, each in every.items()
        }
        return bytes(Json({"facets": cut}).body)

    def read() -> bytes:
        return photos.handle.read(
            lambda target: served.remembered.of(
                (target.store.name, "facets", tuple(field), target.rendered(where), most),
                lambda: shown(target.facets(field, where)),
                len,
                version=target.store.version,
            )
        )

    return json_response(await served.stored.run(request, read))


@router.get("/{collection}/histogram", summary="Histogram")
async def spread(
    request: Request,
    collection: str,
    field: Annotated[str, Query(min_length=1, max_length=1024, examples=["width"])],
    where: Where = None,
    bins: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 40,
) -> Response:
    """How the numbers or dates of a field are spread among all rows, or those that match.

    `bins` go from the least value to the greatest, each with its `from`, `to` and `count`; dates are binned by day,
    month or year, in UTC. `without` is how many rows have no value.
    """
    served = served_of(request)
    photos = served.collection(collection)

    def read() -> bytes:
        return photos.handle.read(
            lambda target: served.remembered.of(
                (target.store.name, "histogram", field, expression := target.rendered(where), bins),
                lambda: bytes(Json(histogram(target.store, field, expression, bins).to_dict()).body),
                len,
                version=target.store.version,
            )
        )

    return json_response(await served.stored.run(request, read))
