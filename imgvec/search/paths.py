"""Paths that people give: the files that they mean, and what is a URL instead."""

from __future__ import annotations

import os
import re
from pathlib import Path

from imgvec.errors import QueryError, UnreadableImage
from imgvec.home import at_home
from imgvec.images.fetch import without_userinfo
from imgvec.sources import present

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def as_present(path: Path) -> Path:
    """The path of the file that is called so, however the accents of its name are composed."""
    path = at_home(path)
    if os.path.exists(path):  # noqa: PTH110 - which knows no error, whatever the name
        return path
    there = absolute = str(path.absolute())
    try:
        there = present(absolute)
    except ValueError as exc:
        raise UnreadableImage(str(path), "unusable name", f"{exc}: spell it exactly") from exc
    return path if there == absolute else Path(there)


def is_url(text: str) -> bool:
    return _URL.match(text) is not None


def no_url(text: str) -> QueryError:
    """What to say of one: to fetch it for whoever asks would let him reach what only this machine can."""
    url = without_userinfo(text)
    return QueryError(f"{url!r} is a URL, and queries are not fetched: pass the path or the bytes of the image")
