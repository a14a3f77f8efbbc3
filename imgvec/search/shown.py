"""An answer as HTML, for a notebook or as a page: thumbnails of bounded bytes, each with its score and uri."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from imgvec.errors import ImgvecError
from imgvec.images.edits import thumbnail

if TYPE_CHECKING:
    from imgvec.search.answer import Answer, Hit

SHOWN = 24
"""Hits that are shown; a line says how many more there are."""
SIDE = 160
"""Pixels of the longer side of a thumbnail."""
MAX_BYTES = 512 * 1024
"""Of all thumbnails together: a notebook is saved with them."""
SECONDS = 10.0
"""After that no further picture is opened: uris may lead to servers that are slow."""

_PAGE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}"
)
_FIGURE = "margin:0;width:160px;font:12px/1.35 system-ui,sans-serif;overflow-wrap:anywhere"
_IMAGE = "width:160px;height:160px;object-fit:contain;background:#8882;border-radius:6px;display:block"


def html(answer: Answer) -> str:
    """What Jupyter shows for an answer; whatever a uri or field holds is text in it."""
    short = "" if answer.shortfall is None else f"; {answer.shortfall}"
    lacking = "" if answer.complete else "; rows may be missing, ask again in a minute"
    more = f"; showing the first {SHOWN}" if len(answer) > SHOWN else ""
    picture = _thumbnails(answer)
    figures = "".join(_figure(hit, picture(hit)) for hit in answer[:SHOWN])
    asked = _said(answer.request.form.to_dict())
    number = "1 hit" if len(answer) == 1 else f"{len(answer):,} hits"
    said = escape(f"{number} for {asked}{short}{lacking}{more}")
    return f'<div><p>{said}</p><div style="display:flex;flex-wrap:wrap;gap:12px">{figures}</div></div>'


def page(answer: Answer) -> str:
    """The same as a page of its own."""
    title = escape(f"{answer.collection}: imgvec search" if answer.collection else "imgvec search")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_PAGE}</style>'
        f"{html(answer)}</html>\n"
    )


def _said(form: Mapping[str, Any]) -> str:
    """A form in words: `crop image a.jpg, box [1, 2, 3, 4]`."""
    return ", ".join(f"{kind} {_said(value) if isinstance(value, Mapping) else value}" for kind, value in form.items())


def _figure(hit: Hit, image: str | None) -> str:
    shown = "" if image is None else f'<img style="{_IMAGE}" alt="" src="data:image/jpeg;base64,{image}">'
    chance = "" if hit.probability is None else f", {hit.probability:.0%}"
    name = escape(hit.uri.rstrip("/").rpartition("/")[2] or hit.uri)
    return (
        f'<figure style="{_FIGURE}" title="{escape(hit.uri)}">{shown}'
        f"<figcaption>{hit.score:.4f}{chance} {name}</figcaption></figure>"
    )


def _thumbnails(answer: Answer) -> Callable[[Hit], str | None]:
    """What gives a hit's thumbnail in base64; None if it cannot be opened, or enough was shown."""
    end, left = time.monotonic() + SECONDS, MAX_BYTES

    def made(hit: Hit) -> str | None:
        nonlocal left
        if answer.picture is None or time.monotonic() > end:
            return None
        try:
            image = answer.picture({**hit.fields, "uri": hit.uri}, SIDE if hit.box is None else None)
        except (ImgvecError, OSError):  # it is gone, or was never kept: its uri still says which it was
            return None
        text = base64.b64encode(thumbnail(image, SIDE, hit.box)).decode()
        if len(text) > left:
            return None
        left -= len(text)
        return text

    return made
