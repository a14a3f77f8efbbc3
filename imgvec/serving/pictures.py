"""Routes of stored pictures: the row, a thumbnail, the file. Which file is opened only a stored row says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from imgvec.collection import ImageCollection
from imgvec.errors import UnreadableImage
from imgvec.filling import reopened
from imgvec.images import DecodePolicy, decode
from imgvec.images.edits import thumbnail
from imgvec.images.recognise import recognised
from imgvec.rows import CONTENT_HASH, URI
from imgvec.serving.problems import Problem
from imgvec.serving.served import KNOWN_ONLY, MAY_READ, Json, Served, served_of
from imgvec.sources.named import scheme_of

T = TypeVar("T")


class _Whole(APIRoute):
    """A route that ends in a word of its own, as it was written: in an id, a slash before such a word is `%2F`."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        word, last = self.path.rpartition("/")[2], scope.get("raw_path", b"").rpartition(b"/")[2]
        if last and "{" not in word and unquote_to_bytes(last) != word.encode():
            return Match.NONE, {}
        return super().matches(scope)


router = APIRouter(
    prefix="/v1/collections/{collection}/images",
    tags=["images"],
    dependencies=[MAY_READ, KNOWN_ONLY],
    route_class=_Whole,
)

_SIDES = (64, 128, 256, 512, 1024)
"""Of thumbnails, in pixels: few, so that caches are used."""
_FOREVER = "private, max-age=31536000, immutable"
_ASK_AGAIN = "private, no-cache"
_MEDIA_TYPES = {
    "JPEG": "jpeg", "PNG": "png", "GIF": "gif", "WEBP": "webp", "BMP": "bmp", "TIFF": "tiff", "AVIF": "avif",
    "HEIF": "heif", "JXL": "jxl", "JPEG2000": "jp2",
}  # fmt: skip
"""What a file is sent as, by its first bytes, whatever its row says. Any other is sent as bytes to be saved."""

Side = Annotated[int, Query(ge=1, le=_SIDES[-1], description="Pixels of the longer side, at most; rounded up.")]
Version = Annotated[
    str | None,
    Query(alias="v", max_length=128, description="The row's content_hash; if it is, caches keep the answer."),
]
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}, 304: {"description": "As it was."}}


@router.get("/{id:path}/thumbnail", responses=_JPEG, response_class=Response, summary="Thumbnail")
async def small(request: Request, collection: str, id: str, size: Side = 256, version: Version = None) -> Response:
    """A stored picture as a JPEG file within `size` by `size` pixels."""
    served = served_of(request)
    photos = served.collection(collection)
    row = await _row(request, served, photos, id)
    side = _side(size)
    headers = _caching(row, f"thumbnail {side}", version)
    if is_known(request, headers):
        return Response(status_code=304, headers=headers)

    made = await _opened(request, served, lambda: thumbnail_of(photos, row, side))
    return Response(made, headers=headers, media_type="image/jpeg")


@router.get("/{id:path}/original", response_class=Response, summary="Original")
async def whole(request: Request, collection: str, id: str, version: Version = None) -> Response:
    """The file of a stored picture, as it is, if it lies below an allowed root and is still the one that was stored."""
    served = served_of(request)
    photos = served.collection(collection)
    row = await _row(request, served, photos, id)
    headers = _caching(row, "original", version)
    if is_known(request, headers):
        return Response(status_code=304, headers=headers)

    data, format = await _opened(request, served, lambda: original_of(photos, row))
    kind = _MEDIA_TYPES.get(format)
    headers |= {"Content-Disposition": "inline" if kind else "attachment"}
    return Response(data, headers=headers, media_type=f"image/{kind}" if kind else "application/octet-stream")


@router.get("/{id:path}", summary="Row")
async def row(request: Request, collection: str, id: str) -> Response:
    """The stored row of an id: its fields, without its vectors."""
    served = served_of(request)
    return Json({"id": id, "fields": await _row(request, served, served.collection(collection), id)})


def thumbnail_of(photos: ImageCollection, row: Mapping[str, Any], size: int) -> bytes:
    """A JPEG file of the picture that the row names; raises `UnreadableImage` where it cannot be opened here."""
    side, settings = _side(size), photos.settings
    policy = DecodePolicy(settings.formats, photos.definition.images.sixteen_bit)
    data = _data(photos, row)
    decoded = decode(data, uri="the picture", max_pixels=settings.max_pixels, min_side=side // 2, policy=policy)
    return thumbnail(decoded.image, side)


def original_of(photos: ImageCollection, row: Mapping[str, Any]) -> tuple[bytes, str]:
    """The file that the row names, and its format as Pillow calls it; raises as `thumbnail_of`, and for other files."""
    data = _data(photos, row)
    return data, recognised(data, "the picture", photos.settings.formats)


def _side(size: int) -> int:
    return next(each for each in _SIDES if each >= size)


async def _row(request: Request, served: Served, photos: ImageCollection, id: str) -> dict[str, Any]:
    found = await served.stored.run(request, lambda: photos.get([id]))
    if id not in found:
        raise Problem(404, "row-not-found", "no row has this id")
    return found[id]


def _data(photos: ImageCollection, row: Mapping[str, Any]) -> bytes:
    """The file that the row names: one on this machine, or in an archive that lies here."""
    uri = str(row[URI])
    if scheme_of(uri) not in (None, "file"):
        raise UnreadableImage("the picture", "permission denied", "only files below an allowed root are opened")
    return reopened(photos.settings, uri, row.get(CONTENT_HASH) or None, None, None)


async def _opened(request: Request, served: Served, work: Callable[[], T]) -> T:
    try:
        return await served.opening.run(request, work)
    except UnreadableImage as exc:
        served.metrics.refused_picture(exc.reason)
        # the detail may name folders of this machine
        raise Problem(404, "picture-not-there", "the picture cannot be opened here", reason=exc.reason) from None


def _caching(row: dict[str, Any], what: str, version: str | None) -> dict[str, str]:
    content = str(row.get(CONTENT_HASH) or "")
    if not content:
        return {"Cache-Control": _ASK_AGAIN}
    tag = hashlib.sha256(f"{what} {content}".encode()).hexdigest()[:32]
    return {"ETag": f'"{tag}"', "Cache-Control": _FOREVER if version == content else _ASK_AGAIN}


def is_known(request: Request, headers: dict[str, str]) -> bool:
    """Whether the client has it already (RFC 9110, section 13.1.2)."""
    given = request.headers.get("if-none-match")
    if given is None or "ETag" not in headers:
        return False
    tags = {each.strip().removeprefix("W/") for each in given.split(",")}
    return "*" in tags or headers["ETag"] in tags
