"""A contact sheet: one self-contained HTML page with the groups, the best of each first, and why it is."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from html import escape

from imgvec.curation.judging import Kind
from imgvec.curation.outcome import Duplicates, Group, Member
from imgvec.curation.subjects import Subject
from imgvec.dates import iso
from imgvec.plurals import counted

MOST_GROUPS = 500
"""On one page, the largest ones: some 6 kB a picture."""

_WORDS: dict[Kind, str] = {
    "file": "same file",
    "pixels": "same pixels",
    "copy": "edited copy",
    "burst": "burst",
    "vector": "by vectors alone",
}

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .25rem }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 1rem }
.row { display: flex; flex-wrap: wrap; gap: .75rem; align-items: flex-start; margin: .75rem 0 }
figure { margin: 0; width: 176px }
figure img, .none { width: 176px; height: 176px; object-fit: contain; background: #8882; border-radius: 6px }
.none { display: flex; align-items: center; justify-content: center; font-size: 12px; text-align: center }
figcaption { font-size: 12px; line-height: 1.4; overflow-wrap: anywhere; margin-top: .25rem }
figure.best img { outline: 3px solid #2a9d5c; outline-offset: 2px }
b.kind { font-weight: 600 }
""".strip()

Thumbnail = Callable[[Subject], bytes | None]
"""The bytes of a small JPEG file; None where the picture cannot be reopened."""


def parts(found: Duplicates, groups: list[Group], thumbnail: Thumbnail) -> Iterator[str]:
    """The page piece by piece, so that no more than one picture is in memory."""
    title = f"Duplicates in {found.collection}"
    yield (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n"
    )
    shown = groups[:MOST_GROUPS]
    said = f"{counted(len(groups), 'group')} in {counted(found.pictures, 'picture')}"
    if len(shown) < len(groups):
        said += f"; the largest {len(shown):,} are shown"
    if found.unseen:
        said += f"; {counted(found.unseen, 'picture')} could not be reopened and were not looked at"
    yield f"<p>{escape(said)}. The copy to keep is framed in green.</p>\n"
    for number, group in enumerate(shown, 1):
        yield f"<h2>{number}. {escape(_WORDS[group.kind])}, {counted(1 + len(group.others), 'picture')}</h2>\n"
        yield '<div class="row">\n'
        yield _figure(group.best, thumbnail, "keep", (), best=True)
        for each in group.others:
            yield _figure(each.subject, thumbnail, _what(each), each.reasons)
        yield "</div>\n"
    yield "</html>\n"


def _what(member: Member) -> str:
    words = [_WORDS[member.kind]]
    if member.mirrored:
        words.append("mirrored")
    if member.kind in ("copy", "burst"):
        words.append(f"agreement {member.agreement:.3f}")
    return ", ".join(words)


def _figure(subject: Subject, thumbnail: Thumbnail, what: str, reasons: tuple[str, ...], *, best: bool = False) -> str:
    data = thumbnail(subject)
    if data is None:
        picture = '<div class="none">cannot be reopened</div>'
    else:
        picture = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode("ascii")}">'
    told = [
        f'<b class="kind">{escape(what)}</b>',
        escape(subject.uri),
        escape(f"{subject.width} x {subject.height}, {subject.media_type.removeprefix('image/') or 'unknown'}"),
    ]
    if subject.taken_at is not None:
        told.append(escape(f"taken {iso(subject.taken_at)}"))
    if reasons:
        told.append("the best one: " + escape("; ".join(reasons)))
    caption = "<br>".join(told)
    return f'<figure class="{"best" if best else "other"}">{picture}<figcaption>{caption}</figcaption></figure>\n'
