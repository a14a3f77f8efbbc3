"""Routes that ask: search, search of many, recommend."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from imgvec.rows import CONTENT_HASH
from imgvec.search.answer import Answer
from imgvec.search.forms import Form
from imgvec.search.hybrid import Hybrid
from imgvec.serving import bodies, questions
from imgvec.serving.asked import error_told, fetched, lane_of, told, worked
from imgvec.serving.problems import Problem
from imgvec.serving.served import KNOWN_ONLY, MAY_READ, Json, served_of, thumbnail_at
from imgvec.verbs.recommendation import recommend

router = APIRouter(prefix="/v1/collections/{collection}", tags=["search"], dependencies=[MAY_READ, KNOWN_ONLY])

_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The hits, best first, and what the answer is worth.",
        "content": {
            "application/json": {
                "example": {
                    "request": {"query": {"id": "0b1f…"}, "limit": 1},
                    "collection": "photos",
                    "hits": [
                        {
                            "id": "77aa…",
                            "score": 0.93,
                            "uri": "/pictures/77.jpg",
                            "fields": {"album": "cats", "width": 1600},
                            "thumbnail": "/v1/collections/photos/images/77aa…/thumbnail?v=5d41…",
                        }
                    ],
                    "complete": True,
                    "shortfall": None,
                    "seconds": {"search": 0.002, "total": 0.003},
                }
            }
        },
    }
}


@router.post(
    "/search",
    responses=_ANSWER,
    openapi_extra=bodies.described(questions.SearchBody, upload=questions.UploadOptions),
    summary="Search",
)
async def search(request: Request, collection: str) -> Response:
    """Find the stored images most similar to a query: a form in JSON, or one picture that is uploaded."""
    served = served_of(request)
    photos = served.collection(collection)
    if bodies.is_upload(request):
        forms, options = await bodies.uploaded(request)
        if len(forms) != 1:
            raise Problem(422, "invalid", "a search takes one picture: send several to search_many")
        question: Form | Hybrid = forms[0]
    else:
        body: Any = await bodies.json_body(request, questions.SearchBody)
        options, pictures = body, await fetched(request, served, photos, body.query)
        question = questions.question_of(body.query, pictures)
    given: Any = questions.options_in(options)
    lane = lane_of(served, question.forms if isinstance(question, Hybrid) else [question])
    sharing = served.sharing(lane, collection)
    answer = await told(served, lane.wait(request, lambda hold: sharing.search(question, given, hold)))
    served.metrics.searched(answer.seconds)
    return Json(shown(collection, answer))


@router.post(
    "/search_many",
    openapi_extra=bodies.described(questions.SearchManyBody, upload=questions.UploadOptions),
    summary="Search for many",
)
async def search_many(request: Request, collection: str) -> Response:
    """Search for each of many queries, or uploaded pictures, in one pass of the encoder: `answers`, in their order.

    A query that cannot be asked has its `error` in its answer, and the others their hits.
    """
    served = served_of(request)
    photos = served.collection(collection)
    if bodies.is_upload(request):
        forms, options = await bodies.uploaded(request)
    else:
        body: Any = await bodies.json_body(request, questions.SearchManyBody)
        options, pictures = body, await fetched(request, served, photos, body.queries)
        forms = [questions.form_of(each, pictures) for each in body.queries]
    given = questions.options_in(options)

    def ask() -> dict[str, Any]:
        answers = list(photos.search_each(forms, **given))
        for answer in answers[:1]:  # the seconds of all
            served.metrics.searched(answer.seconds)
        return {"answers": [one_shown(answer) for answer in answers]}

    def one_shown(answer: Answer) -> dict[str, Any]:
        error = None if answer.error is None else error_told(served, answer.error)
        return {**shown(collection, answer), "error": error}

    return Json(await worked(request, served, lane_of(served, forms), ask))


@router.post(
    "/recommend", responses=_ANSWER, openapi_extra=bodies.described(questions.RecommendBody), summary="Recommend"
)
async def recommend_from(request: Request, collection: str) -> Response:
    """Find images like some examples and unlike others; none of the examples is in the answer."""
    served = served_of(request)
    photos = served.collection(collection)
    body: Any = await bodies.json_body(request, questions.RecommendBody)
    pictures = await fetched(request, served, photos, [*body.positive, *body.negative])
    positive = questions.weighted(body.positive, pictures)
    negative = questions.weighted(body.negative, pictures)
    given = questions.options_in(body)

    def ask() -> dict[str, Any]:
        answer = recommend(photos, positive, negative, **given)
        served.metrics.searched(answer.seconds)
        return {**shown(collection, answer), "certain": answer.certain, "compared": answer.compared}

    return Json(await worked(request, served, lane_of(served, [form for form, _ in (*positive, *negative)]), ask))


def shown(name: str, answer: Answer) -> dict[str, Any]:
    """An answer for JSON, where each hit says the address of its thumbnail."""
    found = answer.to_dict()
    for hit in found["hits"]:
        hit["thumbnail"] = thumbnail_at(name, hit["id"], hit["fields"].get(CONTENT_HASH))
    return found
