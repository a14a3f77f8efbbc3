"""What a request asks for: the pictures that it names are fetched, and its work goes by the lane that it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from imgvec.collection import ImageCollection
from imgvec.errors import ImgvecError, QueryError, SourceError, UnreadableImage
from imgvec.filling import guards
from imgvec.images import UrlReader
from imgvec.images.fetch import url_trouble
from imgvec.search.encoding import needs_encoder
from imgvec.search.forms import Form
from imgvec.serving import questions
from imgvec.serving.lanes import Lane
from imgvec.serving.problems import Problem, problem_of
from imgvec.serving.served import Served

T = TypeVar("T")

_SENT = "<bytes>"
"""What the library calls a picture that came with the request, in its errors."""


def lane_of(served: Served, forms: Sequence[Form]) -> Lane:
    """The encoder's, where it is needed."""
    return served.encoding if needs_encoder(forms) else served.stored


async def worked(
    request: Request, served: Served, lane: Lane, work: Callable[[], T], *, sent: Collection[str] = (_SENT,)
) -> T:
    """What the work gives, by that lane; as `told`."""
    return await told(served, lane.run(request, work), sent=sent)


async def told(served: Served, answer: Awaitable[T], *, sent: Collection[str] = (_SENT,)) -> T:
    """What is awaited. Pictures that cannot be read are counted; `sent` are the names of those that came with the
    request, any other is a stored one."""
    try:
        return await answer
    except (UnreadableImage, SourceError) as exc:
        if (problem := _of_picture(served, exc, sent)) is None:
            raise
        raise problem from None


def error_told(served: Served, exc: ImgvecError) -> str:
    """What the answer to one of many queries says of its error: as `told`, where it is the only one."""
    return (_of_picture(served, exc, (_SENT,)) or problem_of(exc)).detail


def _of_picture(served: Served, exc: ImgvecError, sent: Collection[str]) -> Problem | None:
    """What is told of a stored picture that cannot be read; None where it is about something else."""
    more: dict[str, Any] = {}
    if isinstance(exc, UnreadableImage):
        served.metrics.refused_picture(exc.reason)
        if exc.uri in sent:
            return None
        more["reason"] = exc.reason
    elif not isinstance(exc, SourceError):
        return None
    # without the detail, which may name folders of this machine
    return Problem(404, "picture-not-there", "a stored picture that this takes cannot be opened here", **more)


async def fetched(request: Request, served: Served, photos: ImageCollection, asked: BaseModel | Any) -> questions.Fetch:
    """What gives the pictures at the addresses in it, all of which have been fetched when this returns."""
    found: dict[str, bytes] = {}
    for url in questions.urls(asked):
        found[url] = await _fetched(request, served, photos, url)
    return found.__getitem__


async def _fetched(request: Request, served: Served, photos: ImageCollection, url: str) -> bytes:
    if (trouble := url_trouble(url)) is not None:
        raise QueryError(f"the url cannot be fetched: {trouble}")
    limits = guards(photos.settings)
    try:
        return await served.opening.run(request, partial(UrlReader(url, limits.fetch).read, limits.max_bytes))
    except UnreadableImage as exc:
        served.metrics.refused_picture(exc.reason)
        # without the detail, which may name addresses behind the firewall
        raise Problem(422, "unreadable-image", "the picture at the url cannot be had", reason=exc.reason) from None
