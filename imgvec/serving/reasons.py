"""The route that says why a hit was found: which parts of two pictures are alike, as numbers or drawn."""

from __future__ import annotations

import io
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from imgvec.explanation import Explanation, Side
from imgvec.rows import VECTOR
from imgvec.search.forms import StoredId
from imgvec.serving import bodies, questions
from imgvec.serving.asked import fetched, worked
from imgvec.serving.problems import Problem
from imgvec.serving.served import KNOWN_ONLY, MAY_READ, Json, served_of
from imgvec.verbs.explanation import explain

router = APIRouter(prefix="/v1/collections/{collection}", tags=["search"], dependencies=[MAY_READ, KNOWN_ONLY])

MOST_CELLS = 64
"""Rows and columns of an array that is sent: of a finer one, the parts of each cell are summed up."""
MOST_PAIRS = 1000
_PNG = "image/png"


class ExplainOptions(BaseModel):
    """Which hit is explained, beside a picture that is uploaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, max_length=1024, description="The id of the hit.")
    vector: str = Field(VECTOR, min_length=1, description="The vector whose encoder is asked.")
    pairs: int = Field(50, ge=0, le=MOST_PAIRS, description="Pairs of patches to list at most, the hottest first.")


class ExplainBody(ExplainOptions):
    """A query, and the hit that is explained."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"query": {"id": "0b1f6c1e4f0a4d3b8c2e9a7d5f6b1c2d"}, "id": "77aa0c5d7d9e4b6f8a1b2c3d4e5f6071"}
            ]
        },
    )

    query: Annotated[questions.Query, AfterValidator(questions.few)] = Field(
        description="One picture, as search takes it; a text, a vector and a mix show nothing to explain."
    )


_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The score, and which parts of the two pictures it is by.",
        "headers": {"Vary": {"schema": {"type": "string"}}},
        "content": {
            "application/json": {
                "example": {
                    "score": 0.93,
                    "method": "tokens",
                    "additive": False,
                    "mirrored": False,
                    "query": {
                        "name": "<bytes>",
                        "size": [640, 480],
                        "seen": [80.0, 0.0, 560.0, 480.0],
                        "heat": [[0.4, 0.1], [0.3, 0.2]],
                        "regions": [{"box": [80.0, 0.0, 320.0, 240.0], "share": 0.21}],
                    },
                    "hit": {
                        "name": "/pictures/77.jpg",
                        "size": [640, 480],
                        "seen": [80.0, 0.0, 560.0, 480.0],
                        "heat": [[0.4, 0.1], [0.3, 0.2]],
                        "regions": [{"box": [80.0, 0.0, 320.0, 240.0], "share": 0.21}],
                    },
                    "pairs": [
                        {
                            "query": [80.0, 0.0, 320.0, 240.0],
                            "hit": [80.0, 0.0, 320.0, 240.0],
                            "similarity": 0.87,
                        }
                    ],
                }
            },
            _PNG: {},
        },
    }
}


@router.post(
    "/explain",
    responses=_ANSWER,
    openapi_extra=bodies.described(ExplainBody, upload=ExplainOptions, example='{"id": "77aa0c5d7d9e4b6f8a1b2c3d"}'),
    summary="Explain",
)
async def explained(
    request: Request,
    collection: str,
    format: Annotated[
        Literal["json", "png"] | None, Query(description="Instead of what `Accept` prefers; JSON by default.")
    ] = None,
) -> Response:
    """Why a hit was found for a query: where each picture shows what the other one does (`heat`, which sums up to 1),
    what each region adds to the score (`regions`), and which patches show the same (`pairs`).

    Boxes are in pixels of the upright pictures. With `Accept: image/png`, both pictures with all that drawn on them.
    """
    served = served_of(request)
    photos = served.collection(collection)
    if bodies.is_upload(request):
        forms, asked = await bodies.uploaded(request, ExplainOptions)
        if len(forms) != 1:
            raise Problem(422, "invalid", "one picture is explained at a time")
        form = forms[0]
    else:
        asked = await bodies.json_body(request, ExplainBody)
        form = questions.form_of(asked.query, await fetched(request, served, photos, asked.query))
    is_drawn = format == "png" or (format is None and _prefers_png(request.headers.get("accept", "")))

    def work() -> dict[str, Any] | bytes:
        found = explain(photos, form, StoredId(asked.id), vector=asked.vector)
        return _drawn(found) if is_drawn else shown(found, asked.pairs)

    made = await worked(request, served, served.encoding, work)
    headers = {"Vary": "Accept"}
    return Response(made, headers=headers, media_type=_PNG) if isinstance(made, bytes) else Json(made, headers=headers)


def shown(found: Explanation, pairs: int) -> dict[str, Any]:
    """An explanation for JSON: arrays of at most `MOST_CELLS` rows and columns."""
    said = found.to_dict()
    return {**said, "query": _side(found.query), "hit": _side(found.hit), "pairs": said["pairs"][:pairs]}


def _side(side: Side) -> dict[str, Any]:
    said = side.to_dict()
    heat, shares = _bounded(side.heat), _bounded(side.shares)
    regions = [
        {"box": [round(each, 2) for each in side.box(row, column, shares.shape)], "share": round(float(share), 6)}
        for (row, column), share in np.ndenumerate(shares)
    ]
    return {
        **{name: said[name] for name in ("name", "size", "seen")},
        "heat": heat.round(6).tolist(),
        "regions": regions,
    }


def _bounded(array: NDArray[Any]) -> NDArray[np.float64]:
    """(rows, columns), as many as there are or `MOST_CELLS`, with the same sum."""
    down, across = (_shares(length) for length in array.shape)
    found: NDArray[np.float64] = down @ array.astype(np.float64) @ across.T
    return found


def _shares(length: int) -> NDArray[np.float64]:
    """(cells, length): which share of each of a row of cells lies in each of the fewer, wider ones."""
    edges = np.linspace(0, length, min(length, MOST_CELLS) + 1)[:, None]
    at = np.arange(length)
    found: NDArray[np.float64] = np.clip(np.minimum(at + 1, edges[1:]) - np.maximum(at, edges[:-1]), 0, 1)
    return found


def _drawn(found: Explanation) -> bytes:
    data = io.BytesIO()
    found.image().save(data, "PNG")
    return data.getvalue()


def _prefers_png(accept: str) -> bool:
    """RFC 9110, section 12.5.1; where both are as welcome, it is JSON."""
    return _welcome(_PNG, accept) > _welcome("application/json", accept)


def _welcome(kind: str, accept: str) -> float:
    """The weight of the most specific range that the type is in; 0 where it is in none."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            ranges[name] = float(weight)
        except ValueError:
            ranges[name] = 0.0
    for name in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0
