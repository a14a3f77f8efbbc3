"""The body of a request: JSON, or pictures that are uploaded. It is read only once its content type is known."""

from __future__ import annotations

from collections.abc import Sequence
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

_SIDES: TypeAdapter[Any] = TypeAdapter(Annotated[tuple[int, int, int, int], Field()])
_FIELD_BYTES = 64 * 2**10
"""Of a part that is not a file."""
_REF = "#/components/schemas/{model}"
_known: set[type[BaseModel]] = set()
"""The bodies of routes, as they were described."""


async def json_body(request: Request, kind: type[M]) -> M:
    """The body, of type application/json: a browser asks before it sends that across origins."""
    if _media_type(request) != "application/json":
        raise Problem(415, "unsupported-media-type", "the body must be application/json")
    return _validated(kind, await request.body())


def is_upload(request: Request) -> bool:
    return _media_type(request) == "multipart/form-data"


async def uploaded(request: Request, kind: type[BaseModel] = UploadOptions) -> tuple[list[Form], Any]:
    """The pictures in the parts `image`, cut out by `box` if that is given, and the `options` of that kind.

    The names of the files are not looked at.
    """
    async with request.form(max_files=MOST_QUERIES, max_fields=8, max_part_size=_FIELD_BYTES) as form:
        _check_names(form)
        pictures = [await each.read() for each in form.getlist("image") if isinstance(each, UploadFile)]
        options = _validated(kind, _text(form, "options", "{}").encode())
        box = _text(form, "box", "")
    if not pictures:
        raise Problem(422, "invalid", "the form has no file called image")
    forms: Sequence[ImageBytes | Crop] = [ImageBytes(each) for each in pictures]
    if box:
        try:
            cut = _SIDES.validate_json(box)
        except ValidationError as exc:
            raise RequestValidationError(_errors(exc, "box")) from exc
        forms = [Crop(each, cut) for each in forms]
    return list(forms), options


def described(
    kind: type[BaseModel], *, upload: type[BaseModel] | None = None, example: str = '{"limit": 5}'
) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes such a body, or `upload`'s options beside pictures."""
    _known.update({kind} if upload is None else {kind, upload})
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": _REF.format(model=kind.__name__)}}}
    if upload is not None:
        parts = {
            "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "box": {"type": "string", "description": "Left, top, right, bottom, as JSON.", "example": "[0, 0, 64, 64]"},
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


def _validated(kind: type[M], data: bytes) -> M:
    try:
        return kind.model_validate_json(data, strict=True)
    except ValidationError as exc:
        raise RequestValidationError(_errors(exc, "body")) from exc


def _errors(exc: ValidationError, place: str) -> list[Any]:
    found = exc.errors(include_url=False, include_context=False, include_input=False)
    return [{**each, "loc": (place, *each["loc"])} for each in found]


def _check_names(form: FormData) -> None:
    for name, part in form.multi_items():
        if name not in ("image", "options", "box") or (name == "image") != isinstance(part, UploadFile):
            raise Problem(422, "invalid", "the parts of the form are files called image, and the texts options and box")


def _text(form: FormData, name: str, otherwise: str) -> str:
    value = form.get(name, otherwise)
    assert isinstance(value, str)
    return value
