"""The kinds of sources: those of this room, and those that installed distributions add.

A distribution adds one by an entry point of the group `imgvec.sources` that names a `Kind`:

    [project.entry-points."imgvec.sources"]
    sqlite = "imgvec_sqlite:KIND"

The kinds of this room go first, whatever a plug-in claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from itertools import chain

from imgvec.errors import SourceError
from imgvec.sources.foreign import translated
from imgvec.sources.kinds import Kind

GROUP = "imgvec.sources"

KINDS = ("urls", "tars", "zips", "parquets", "datasets", "manifests", "lists")
"""The files of this room that have a `KIND`."""


@cache
def built_in() -> tuple[Kind, ...]:
    """The kinds of this room."""
    return tuple(import_module(f"imgvec.sources.{name}").KIND for name in KINDS)


@cache
def plug_ins() -> tuple[Kind, ...]:
    """The kinds that entry points name, by their names; raises `SourceError` if one cannot be loaded."""
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        by = f"{entry.value}, which {entry.dist.name if entry.dist else 'a distribution'} adds as a kind of source,"
        try:
            kind = entry.load()
        except Exception as exc:
            raise SourceError(f"{by} cannot be loaded: {exc}; repair or uninstall it") from exc
        if not isinstance(kind, Kind):
            raise SourceError(f"{by} is a {type(kind).__name__}, not an imgvec.sources.Kind: repair or uninstall it")
        found.append(translated(kind, by))
    return tuple(found)


def by_ending(name: str) -> Kind | None:
    """The kind of a path or URL by its ending; None for what has none of theirs."""
    lower = name.lower()
    return next((kind for kind in _all() if lower.endswith(kind.endings)), None)


def by_scheme(scheme: str) -> Kind | None:
    """The kind that reads URLs of this scheme; None leaves them to fsspec."""
    return next((kind for kind in _all() if scheme in kind.schemes), None)


def by_folder(path: str) -> Kind | None:
    """The kind of what the folder at this absolute path holds; None for a folder of images."""
    return next((kind for kind in _all() if kind.holds is not None and kind.holds(path)), None)


def split_member(uri: str) -> tuple[str, str] | None:
    """Place and key of a `PLACE!KEY` uri; None for a uri of another form."""
    found = _member_pattern().fullmatch(uri)
    return None if found is None else (found[1], found[2])


def _all() -> Iterator[Kind]:
    yield from built_in()
    yield from plug_ins()


@cache
def _member_pattern() -> re.Pattern[str]:
    endings = chain.from_iterable(kind.endings for kind in _all())
    return re.compile(r"(?s)(.*?(?:" + "|".join(map(re.escape, endings)) + r"))!(.+)", re.IGNORECASE)
