"""Routes of collections of faces: whose they are, whether two are one person's, who is enrolled.

What a collection lacks for that, its kind or an extra, is told in the library's words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from imgvec.collection import ImageCollection
from imgvec.faces.options import IdentifyOptions, VerifyFacesOptions
from imgvec.options import json_model
from imgvec.search.forms import Crop, Form, ImageBytes, StoredId
from imgvec.serving import bodies, questions
from imgvec.serving.asked import fetched, lane_of, worked
from imgvec.serving.problems import Problem
from imgvec.serving.served import KNOWN_ONLY, MAY_ADMIN, MAY_READ, MAY_WRITE, Json, Served, served_of
from imgvec.verbs.faces import enrol_person, enrolled_people, forget_person, identify_faces, verify_faces

T = TypeVar("T")

router = APIRouter(prefix="/v1/collections/{collection}", tags=["faces"], dependencies=[MAY_READ, KNOWN_ONLY])

MOST_PICTURES = 32
"""In one request."""
_SOME_ID = {"id": "0b1f6c1e4f0a4d3b8c2e9a7d5f6b1c2d"}


def _no_stored_crop(query: Any) -> Any:
    """Refuses parts of stored pictures: a stored face has its row, and no file is opened for it."""
    leaf = query
    while isinstance(leaf, questions.CropQuery):
        leaf = leaf.crop
    if leaf is not query and isinstance(leaf, questions.IdQuery):
        raise PydanticCustomError("crop", "a stored face is asked for by its id; a crop is of a picture that is sent")
    return query


_Face = Annotated[questions.Cropped, AfterValidator(_no_stored_crop)]
_Faces = Annotated[list[_Face], AfterValidator(questions.few)]
_PICTURES = (_Faces, Field(min_length=1, max_length=MOST_PICTURES, description="Pictures, or stored faces by id."))
_WHO = (str, Field(min_length=1, max_length=1024, description="Who it is."))
_SECOND_ID: tuple[Any, Any] = (
    str | None,
    Field(None, min_length=1, max_length=1024, description="A stored face to compare one uploaded picture with."),
)

IdentifyUpload: type[BaseModel] = json_model(IdentifyOptions)
"""The options of an identification whose pictures are uploaded."""
IdentifyBody: type[BaseModel] = create_model(
    "IdentifyBody",
    __base__=IdentifyUpload,
    __cls_kwargs__={"json_schema_extra": {"examples": [{"pictures": [_SOME_ID], "rate": 0.01}]}},
    pictures=_PICTURES,
)
_Verify: type[BaseModel] = json_model(VerifyFacesOptions)
VerifyUpload: type[BaseModel] = create_model("VerifyUpload", __base__=_Verify, id=_SECOND_ID)
VerifyBody: type[BaseModel] = create_model(
    "VerifyBody",
    __base__=_Verify,
    __cls_kwargs__={"json_schema_extra": {"examples": [{"first": _SOME_ID, "person": "Ann"}]}},
    first=(_Face, Field(description="A picture with one face, or a stored face by id.")),
    second=(_Face | None, Field(None, description="Another one, unless a person is named.")),
)
_Strict = ConfigDict(extra="forbid", frozen=True)
EnrolUpload: type[BaseModel] = create_model("EnrolUpload", __config__=_Strict, person=_WHO)
EnrolBody: type[BaseModel] = create_model(
    "EnrolBody",
    __base__=EnrolUpload,
    __cls_kwargs__={"json_schema_extra": {"examples": [{"person": "Ann", "pictures": [_SOME_ID]}]}},
    pictures=_PICTURES,
)


@router.post(
    "/faces/identify",
    openapi_extra=bodies.described(IdentifyBody, upload=IdentifyUpload, example='{"candidates": 1}'),
    summary="Identify faces",
)
async def identify(request: Request, collection: str) -> Response:
    """Whose the faces in pictures are, of the people who are enrolled, or that they are nobody's known.

    Pictures are called `pictures[0]`, `pictures[1]`, … in the answer, in the order in which they came.
    """
    served = served_of(request)
    photos = served.collection(collection)
    forms, asked = await _pictures(request, served, photos, IdentifyBody, IdentifyUpload)
    given = asked.model_dump(exclude_unset=True, exclude={"pictures"})
    return Json(await _work(request, served, forms, lambda: identify_faces(photos, forms, **given).to_dict()))


@router.post(
    "/faces/verify",
    openapi_extra=bodies.described(VerifyBody, upload=VerifyUpload, example='{"person": "Ann"}'),
    summary="Verify faces",
)
async def verify(request: Request, collection: str) -> Response:
    """Whether two faces, or a face and an enrolled person's, are one person's: two pictures, or one and a `person`.

    Either may be a stored face; beside one uploaded picture, by the option `id`.
    """
    served = served_of(request)
    photos = served.collection(collection)
    if bodies.is_upload(request):
        sent, asked = await bodies.uploaded(request, VerifyUpload)
        forms = [*sent, *([StoredId(asked.id)] if asked.id else [])]
        if len(forms) > 2:
            raise Problem(422, "invalid", "two faces are compared: send two pictures, or one and an id or a person")
    else:
        asked = await bodies.json_body(request, VerifyBody)
        both = [asked.first, *([] if asked.second is None else [asked.second])]
        pictures = await fetched(request, served, photos, both)
        forms = [questions.form_of(each, pictures) for each in both]
    faces = _named(forms)
    given = asked.model_dump(exclude_unset=True, exclude={"first", "second", "id"})
    return Json(await _work(request, served, faces, lambda: verify_faces(photos, *faces, **given).to_dict()))


@router.get("/people", summary="Enrolled people")
async def people(request: Request, collection: str) -> Response:
    """How many faces each enrolled person is known by."""
    served = served_of(request)
    photos = served.collection(collection)
    return Json({"people": await served.stored.run(request, lambda: enrolled_people(photos))})


@router.post(
    "/people",
    openapi_extra=bodies.described(EnrolBody, upload=EnrolUpload, example='{"person": "Ann"}'),
    summary="Enrol a person",
    dependencies=[MAY_WRITE],
)
async def enrol(request: Request, collection: str) -> Response:
    """Keep faces by which a person is known from now on; takes a token with the scope `write`.

    Each picture shows one face, from the front; why others were refused is in the answer, with what `notices` there
    are. Nothing is kept of the pictures but the faces' vectors.
    """
    served = served_of(request)
    photos = served.collection(collection)
    forms, asked = await _pictures(request, served, photos, EnrolBody, EnrolUpload)

    def work() -> dict[str, Any]:
        notices: list[str] = []
        done = enrol_person(photos, asked.person, forms, on_notice=notices.append)
        return {**done.to_dict(), "notices": notices}

    return Json(await _work(request, served, forms, work))


@router.delete("/people", summary="Forget a person", dependencies=[MAY_ADMIN])
async def forget(
    request: Request,
    collection: str,
    person: Annotated[str, Query(min_length=1, max_length=1024, description="Who is forgotten.")],
) -> Response:
    """Delete every face that is kept of a person, enrolled or stored; takes a token with the scope `admin`."""
    served = served_of(request)
    photos = served.collection(collection)
    return Json(await served.stored.run(request, lambda: forget_person(photos, person).to_dict()))


async def _pictures(
    request: Request, served: Served, photos: ImageCollection, kind: type[BaseModel], upload: type[BaseModel]
) -> tuple[list[Any], Any]:
    """The pictures of a request with the names that answers call them by, and its options."""
    if bodies.is_upload(request):
        forms, asked = await bodies.uploaded(request, upload)
        if len(forms) > MOST_PICTURES:
            raise Problem(422, "invalid", f"at most {MOST_PICTURES} pictures in one request")
        return _named(forms), asked
    body: Any = await bodies.json_body(request, kind)
    found = await fetched(request, served, photos, body.pictures)
    return _named([questions.form_of(each, found) for each in body.pictures]), body


def _named(forms: Sequence[Form]) -> list[Any]:
    return [_with_name(form, _name(number)) for number, form in enumerate(forms)]


def _with_name(form: Any, name: str) -> Any:
    if isinstance(form, Crop):
        return replace(form, form=_with_name(form.form, name))
    return replace(form, name=name) if isinstance(form, ImageBytes) else form


def _name(number: int) -> str:
    return f"pictures[{number}]"


async def _work(request: Request, served: Served, forms: Sequence[Form], work: Callable[[], T]) -> T:
    names = {_name(number) for number in range(len(forms))}
    return await worked(request, served, lane_of(served, forms), work, sent=names)
