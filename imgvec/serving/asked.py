"""What a request asks for: the pictures that it names are fetched, and its work goes by the lane that it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from imgvec.collection import ImageCollection
from imgvec.errors import QueryError, SourceError, UnreadableImage
from imgvec.filling import guards
from imgvec.images import UrlReader
from imgvec.images.fetch import url_trouble
from imgvec.search.encoding import needs_encoder
from imgvec.search.forms import Form
from imgvec.serving import questions
from imgvec.serving.lanes import Lane
from imgvec.serving.problems import Problem
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
    except UnreadableImage as exc:
        served.metrics.refused_picture(exc.reason)
        if exc.uri in sent:
            raise
        raise _not_there(reason=exc.reason) from None
    except SourceError:
        raise _not_there() from None


def _not_there(**more: Any) -> Problem:
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
