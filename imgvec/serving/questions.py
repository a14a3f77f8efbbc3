"""Questions as JSON: what says how to ask, and the forms that are made of it. Nothing is guessed.

{"id": "0b1f…"}   {"vector": [0.1, …]}   {"text": "a red dress"}   {"image": "<base64>"}   {"url": "https://…"}
{"crop": {"image": "…"}, "box": [120, 40, 380, 300]}
{"like": [{"query": {"id": "0b1f…"}, "weight": 1}, {"query": {"text": "at night"}, "weight": 0.5}]}
{"hybrid": [{"query": {"id": "0b1f…"}}, {"words": "red dress", "field": "caption"}], "fusion": "rrf"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    Tag,
    create_model,
)
from pydantic_core import PydanticCustomError

from imgvec.options import json_model
from imgvec.rows import VECTOR
from imgvec.search.forms import Crop, Form, ImageBytes, Like, StoredId, Text, VectorQuery
from imgvec.search.hybrid import MOST_PARTS, Hybrid, K, Part, Words
from imgvec.search.request import SearchOptions
from imgvec.search.strategies import RecommendOptions

MOST_QUERIES = 256
"""Forms in one request, whatever they are parts of."""
MOST_DIM = 32_768
"""Of Milvus's vectors."""

Fetch: TypeAlias = Callable[[str], bytes]
"""Gives the bytes of the picture at a URL."""


class _Json(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IdQuery(_Json):
    id: str = Field(min_length=1, max_length=1024, description="The id of a stored row; needs no encoder.")


class VectorNumbers(_Json):
    vector: list[FiniteFloat] = Field(
        min_length=1, max_length=MOST_DIM, description="A vector of the collection's dimension."
    )


class TextQuery(_Json):
    text: str = Field(
        min_length=1, max_length=10_000, description="Words, for an encoder with a text side; never a path."
    )


class ImageQuery(_Json):
    image: Base64Bytes = Field(description="The bytes of an image file, in base64.")


class UrlQuery(_Json):
    url: str = Field(
        min_length=1, max_length=2048, description="An http or https address of an image, on a public host."
    )


class CropQuery(_Json):
    crop: Cropped
    box: tuple[int, int, int, int] = Field(description="Left, top, right and bottom in pixels of the upright picture.")


class Weighted(_Json):
    query: Query
    weight: FiniteFloat = 1.0


class LikeQuery(_Json):
    like: list[Weighted] = Field(min_length=1, max_length=MOST_QUERIES, description="A weighted mix of queries.")


class HybridPart(_Json):
    query: Query
    vector: str = Field(VECTOR, min_length=1)
    weight: FiniteFloat = 1.0


class HybridWords(_Json):
    words: str = Field(min_length=1, max_length=10_000)
    field: str = Field(min_length=1)
    weight: FiniteFloat = 1.0


class HybridQuery(_Json):
    hybrid: list[HybridPart | HybridWords] = Field(min_length=1, max_length=MOST_PARTS)
    fusion: Literal["rrf", "weights", "calibrated"] = "rrf"
    k: FiniteFloat = K


_WORDS = ("id", "vector", "text", "image", "url", "crop", "like", "hybrid")


def _key(value: Any) -> str | None:
    """Which form it is: the first word that says so."""
    words = value if isinstance(value, dict) else getattr(type(value), "model_fields", {})
    return next((word for word in _WORDS if word in words), None)


_BY_KEY = Discriminator(
    _key,
    custom_error_type="query",
    custom_error_message=f"a query is an object with one of these, where they can be asked: {', '.join(_WORDS)}",
)

_Pictures: TypeAlias = (
    Annotated[IdQuery, Tag("id")]
    | Annotated[ImageQuery, Tag("image")]
    | Annotated[UrlQuery, Tag("url")]
    | Annotated[CropQuery, Tag("crop")]
)
_Forms: TypeAlias = (
    _Pictures
    | Annotated[VectorNumbers, Tag("vector")]
    | Annotated[TextQuery, Tag("text")]
    | Annotated[LikeQuery, Tag("like")]
)
Cropped: TypeAlias = Annotated[_Pictures, _BY_KEY]
Query: TypeAlias = Annotated[_Forms, _BY_KEY]
Asked: TypeAlias = Annotated[_Forms | Annotated[HybridQuery, Tag("hybrid")], _BY_KEY]
for _model in (CropQuery, Weighted, LikeQuery, HybridPart, HybridQuery):
    _model.model_rebuild()


def few(value: Any) -> Any:
    """Refuses more forms than one request may hold, however they are nested."""
    for number, _ in enumerate(_leaves(value)):
        if number == MOST_QUERIES:
            raise PydanticCustomError("queries", "at most {most} queries in one request", {"most": MOST_QUERIES})
    return value


def _leaves(value: Any) -> Iterator[BaseModel]:
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, Weighted | HybridPart):
        yield from _leaves(value.query)
    elif isinstance(value, LikeQuery):
        yield from _leaves(value.like)
    elif isinstance(value, HybridQuery):
        yield from _leaves(value.hybrid)
    else:
        yield value


def urls(value: Any) -> list[str]:
    """The addresses in it that have to be fetched."""
    found = []
    for leaf in _leaves(value):
        while isinstance(leaf, CropQuery):
            leaf = leaf.crop
        if isinstance(leaf, UrlQuery):
            found.append(leaf.url)
    return list(dict.fromkeys(found))


def form_of(query: Any, fetched: Fetch) -> Form:
    """The form of a query; raises `QueryError`."""
    match query:
        case IdQuery():
            return StoredId(query.id)
        case VectorNumbers():
            return VectorQuery(query.vector)
        case TextQuery():
            return Text(query.text)
        case ImageQuery():
            return ImageBytes(query.image)
        case UrlQuery():
            return ImageBytes(fetched(query.url))
        case CropQuery():
            picture: Any = form_of(query.crop, fetched)
            return Crop(picture, query.box)
        case LikeQuery():
            return Like(weighted(query.like, fetched))
    raise AssertionError(f"{type(query).__name__} is not a query")


def question_of(query: Any, fetched: Fetch) -> Form | Hybrid:
    """The form of a query, or the hybrid question; raises `QueryError`."""
    if not isinstance(query, HybridQuery):
        return form_of(query, fetched)
    parts = [
        Words(part.words, part.field, part.weight)
        if isinstance(part, HybridWords)
        else Part(form_of(part.query, fetched), part.vector, part.weight)
        for part in query.hybrid
    ]
    return Hybrid(parts, query.fusion, query.k)


def weighted(given: Sequence[Weighted], fetched: Fetch) -> list[tuple[Form, float]]:
    return [(form_of(each.query, fetched), each.weight) for each in given]


_SOME_ID = {"id": "0b1f6c1e4f0a4d3b8c2e9a7d5f6b1c2d"}

SearchBody: type[BaseModel] = create_model(
    "SearchBody",
    __base__=json_model(SearchOptions),
    __cls_kwargs__={
        "json_schema_extra": {
            "examples": [
                {"query": _SOME_ID, "limit": 5},
                {"query": {"text": "a red dress"}, "where": "width >= 800", "group_by": ["album"], "group_size": 2},
                {"query": {"crop": {"url": "https://example.org/street.jpg"}, "box": [120, 40, 380, 300]}},
            ]
        }
    },
    query=(Annotated[Asked, AfterValidator(few)], Field(description="What is searched for.")),
)
SearchManyBody: type[BaseModel] = create_model(
    "SearchManyBody",
    __base__=json_model(SearchOptions),
    __cls_kwargs__={"json_schema_extra": {"examples": [{"queries": [_SOME_ID, {"text": "a red dress"}], "limit": 3}]}},
    queries=(
        Annotated[list[Query], AfterValidator(few)],
        Field(min_length=1, max_length=MOST_QUERIES, description="Each has an answer of its own, in this order."),
    ),
)
RecommendBody: type[BaseModel] = create_model(
    "RecommendBody",
    __base__=json_model(RecommendOptions),
    __cls_kwargs__={
        "json_schema_extra": {"examples": [{"positive": [{"query": _SOME_ID}], "strategy": "best", "limit": 5}]}
    },
    positive=(Annotated[list[Weighted], AfterValidator(few)], Field([], description="What is wanted.")),
    negative=(Annotated[list[Weighted], AfterValidator(few)], Field([], description="What is not.")),
)
UploadOptions: type[BaseModel] = json_model(SearchOptions)
"""The options of a search whose pictures are uploaded."""


def options_in(body: BaseModel) -> dict[str, Any]:
    """The options that a request gives, without what it asks."""
    return body.model_dump(exclude_unset=True, exclude={"query", "queries", "positive", "negative"})
