"""A self-contained HTML page of searches: each query and its hits as pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from imgvec.errors import UnreadableImage
from imgvec.images import FileReader, decode
from imgvec.images.edits import thumbnail

Box = tuple[int, int, int, int]

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .25rem }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem 1rem .2rem 0; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.row { display: flex; flex-wrap: wrap; gap: .75rem; align-items: flex-start; margin: .75rem 0 }
figure { margin: 0; width: 132px }
figure img { width: 132px; height: 132px; object-fit: contain; background: #8882; border-radius: 6px; display: block }
figcaption { font-size: 12px; line-height: 1.35; overflow-wrap: anywhere; margin-top: .25rem }
figure.query { margin-right: 1rem }
figure.query img { outline: 2px solid #888; outline-offset: 2px }
figure.right img { outline: 3px solid #2a9d5c; outline-offset: 2px }
""".strip()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what stands below it; `right` marks the one that was looked for, and `box` is drawn on it."""

    path: str
    caption: str
    right: bool = False
    box: Box | None = None
    """x0, y0, x1, y1 in pixels of the upright picture."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and rows of a query with its hits."""

    heading: str
    rows: Sequence[tuple[Picture, Sequence[Picture]]]


def page(title: str, summary: str, table: Sequence[tuple[str, str]], sections: Iterable[Section]) -> str:
    """The page, pictures inside; `summary` and all else is text, not HTML."""
    seen: dict[tuple[str, Box | None], str] = {}
    parts = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1><p>{escape(summary)}</p>",
        "<table>",
        *(f'<tr><th>{escape(name)}</th><td class="n">{escape(value)}</td></tr>' for name, value in table),
        "</table>",
    ]
    for section in sections:
        parts.append(f"<h2>{escape(section.heading)}</h2>")
        for query, hits in section.rows:
            figures = [
                _figure(query, "query", seen),
                *(_figure(hit, "right" if hit.right else "", seen) for hit in hits),
            ]
            parts.append(f'<div class="row">{"".join(figures)}</div>')
    return "\n".join([*parts, "</html>", ""])


def _figure(picture: Picture, kind: str, seen: dict[tuple[str, Box | None], str]) -> str:
    shown = (picture.path, picture.box)
    if shown not in seen:
        seen[shown] = _data_uri(*shown)
    image = f'<img loading="lazy" alt="{escape(Path(picture.path).name)}" src="{seen[shown]}">'
    return f'<figure class="{kind}">{image}<figcaption>{escape(picture.caption)}</figcaption></figure>'


def _data_uri(path: str, box: Box | None) -> str:
    try:
        data = FileReader(path, path).read(256 * 2**20)
        found = decode(data, uri=path, min_side=160)
    except UnreadableImage:  # moved away since it was found: the caption still says which it was
        return "data:,"
    image = found.image
    if box is not None:  # the picture may have been decoded smaller
        across, down = image.width / found.width, image.height / found.height
        box = round(box[0] * across), round(box[1] * down), round(box[2] * across), round(box[3] * down)
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail(image, box=box)).decode()
