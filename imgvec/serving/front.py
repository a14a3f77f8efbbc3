"""The page at /: its files, which lie in the folder `page` beside this module and hold no secret.

They are the page's own, without a build step. The page asks the routes under /v1 as any client does, with the token
that its visitor gives it where the server wants one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from imgvec.serving.pictures import is_known
from imgvec.serving.problems import Problem

router = APIRouter(include_in_schema=False)

FIRST = "index.html"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do: ask this server. It runs no script but its own files, and no form leads away from it."""
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    type: str
    tag: str


@cache
def _files() -> Mapping[str, _File]:
    """The files by name, read once."""
    found = {}
    for each in (files("imgvec.serving") / "page").iterdir():
        kind = _TYPES.get(each.name.rpartition(".")[2])
        if kind is not None:
            data = each.read_bytes()
            found[each.name] = _File(data, kind, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
    return found


@router.get("/")
async def page(request: Request) -> Response:
    """The page itself."""
    return _sent(request, FIRST)


@router.get("/page/{name}")
async def part(request: Request, name: str) -> Response:
    """A script or style of the page, or its icon."""
    return _sent(request, name)


def _sent(request: Request, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise Problem(404, "not-found", "the page has no file of this name")
    headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if is_known(request, headers):
        return Response(status_code=304, headers=headers)
    return Response(file.data, headers=headers, media_type=file.type)
