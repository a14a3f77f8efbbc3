"""The body of a request: JSON, or pictures that are uploaded. It is read only once its content type is known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from imgvec.search.forms import Crop, Form, ImageBytes
from imgvec.serving.problems import Problem
from imgvec.serving.questions import MOST_QUERIES, UploadOptions

M = TypeVar("M", bound=BaseModel)

_SIDES: TypeAdapter[Any] = TypeAdapter(Annotated[tuple[int, int, int, int], Field()] | None)
_FIELD_BYTES = 64 * 2**10
"""Of a part that is not a file."""
_REF = "#/components/schemas/{model}"
_known: set[type[BaseModel]] = set()
"""The bodies of routes, as they were described."""
_CUT: Mapping[str, Any] = {
    "box": {"type": "string", "description": "Left, top, right, bottom, as JSON.", "example": "[0, 0, 64, 64]"}
}


async def json_body(request: Request, kind: type[M]) -> M:
    """The body, of type application/json: a browser asks before it sends that across origins."""
    if _media_type(request) != "application/json":
        raise Problem(415, "unsupported-media-type", "the body must be application/json")
    return validated(kind, await request.body())


def is_upload(request: Request) -> bool:
    return _media_type(request) == "multipart/form-data"


async def uploaded(request: Request, kind: type[BaseModel] = UploadOptions) -> tuple[list[Form], Any]:
    """The pictures in the parts `image`, cut out by `box` if that is given, and the `options` of that kind.

    The names of the files are not looked at.
    """
    async with form_of(request, ("options", "box")) as form:
        pictures = [await each.read() for each in files_in(form)]
        options = validated(kind, text_in(form, "options", "{}"))
        cut = json_part(form, "box", _SIDES, "null")
    forms: Sequence[ImageBytes | Crop] = [ImageBytes(each) for each in pictures]
    if cut is not None:
        forms = [Crop(each, cut) for each in forms]
    return list(forms), options


@asynccontextmanager
async def form_of(request: Request, texts: Collection[str]) -> AsyncIterator[FormData]:
    """The form, which has files called `image`, and these texts; raises `Problem` for one that has others, or none."""
    async with request.form(max_files=MOST_QUERIES, max_fields=8, max_part_size=_FIELD_BYTES) as form:
        for name, part in form.multi_items():
            if name not in ("image", *texts) or (name == "image") != isinstance(part, UploadFile):
                said = " and ".join(texts)
                raise Problem(422, "invalid", f"the parts of the form are files called image, and the texts {said}")
        if not files_in(form):
            raise Problem(422, "invalid", "the form has no file called image")
        yield form


def files_in(form: FormData) -> list[UploadFile]:
    return [each for each in form.getlist("image") if isinstance(each, UploadFile)]


def text_in(form: FormData, name: str, otherwise: str) -> str:
    value = form.get(name, otherwise)
    assert isinstance(value, str)
    return value


def json_part(form: FormData, name: str, kind: TypeAdapter[Any], otherwise: str) -> Any:
    """What a text of the form says in JSON."""
    try:
        return kind.validate_json(text_in(form, name, "") or otherwise)
    except ValidationError as exc:
        raise RequestValidationError(_errors(exc, name)) from exc


def described(
    kind: type[BaseModel],
    *,
    upload: type[BaseModel] | None = None,
    example: str = '{"limit": 5}',
    texts: Mapping[str, Any] = _CUT,
) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes such a body, or `upload`'s options, and `texts`, beside pictures."""
    _known.update({kind} if upload is None else {kind, upload})
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": _REF.format(model=kind.__name__)}}}
    if upload is not None:
        parts = {
            "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
            **texts,
            "options": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": f"The options as JSON: {upload.__name__}.",
                "example": example,
            },
        }
        schema = {"type": "object", "required": ["image"], "properties": parts, "additionalProperties": False}
        content["multipart/form-data"] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}


def schemas() -> dict[str, Any]:
    """The schemas that `described` refers to."""
    kinds = sorted(_known, key=lambda kind: kind.__name__)
    _, found = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_REF)
    known: dict[str, Any] = found["$defs"]
    return known


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def validated(kind: type[M], data: bytes | str) -> M:
    try:
        return kind.model_validate_json(data, strict=True)
    except ValidationError as exc:
        raise RequestValidationError(_errors(exc, "body")) from exc


def _errors(exc: ValidationError, place: str) -> list[Any]:
    found = exc.errors(include_url=False, include_context=False, include_input=False)
    return [{**each, "loc": (place, *each["loc"])} for each in found]
