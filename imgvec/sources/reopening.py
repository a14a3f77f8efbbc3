"""Reopens one picture by its stored uri, with the same safeguards as during ingest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from imgvec.errors import MissingExtra, NotKept, SourceError, UnreadableImage
from imgvec.images.fetch import without_userinfo
from imgvec.images.readers import FileReader, content_hash
from imgvec.sources import registry, remote
from imgvec.sources.columns import Columns
from imgvec.sources.guards import Guards
from imgvec.sources.named import path_of, scheme_of
from imgvec.sources.places import Place
from imgvec.sources.reading import absolute, printable
from imgvec.sources.records import is_given
from imgvec.sources.remote import ObjectReader

Roots = str | Path | Iterable[str | Path]


def reopen(
    uri: str,
    roots: Roots | None,
    *,
    guards: Guards | None = None,
    columns: Columns | None = None,
    hashed: str | None = None,
) -> bytes:
    """The bytes of the picture that is stored as `uri`: a file, a member of an archive, a row, a URL.

    `roots` are the folders that files are opened below, wherever links on the way lead; relative uris start from them,
    and none at all opens no file. None opens whatever this process may read, by its absolute path: for a person at
    their own machine, never for a server's strangers. Of a URL the `guards` say what may be reached; of object stores
    those are opened that a list may name. `columns` are those of the source, where a table's differ from the usual
    ones. With `hashed`, its stored `content_hash`, another picture of that name is refused.

    Raises `NotKept` if the picture was ingested from bytes that were not kept, else `UnreadableImage`: `missing`,
    `permission denied` outside the roots, `too large`, `read failed` and the rest. The bytes are not decoded:
    `images.decode` has the cap of pixels.
    """
    if is_given(uri):
        raise NotKept(uri)
    try:
        data = _reopened(uri, roots, guards or Guards(), columns or Columns())
    except (SourceError, MissingExtra) as exc:
        raise UnreadableImage(_shown(uri), "read failed", str(exc)) from exc
    if hashed is not None and content_hash(data) != hashed:
        raise UnreadableImage(_shown(uri), "missing", "a different picture is there now; ingest the source again")
    return data


def _reopened(uri: str, roots: Roots | None, guards: Guards, columns: Columns) -> bytes:
    scheme = scheme_of(uri)
    if scheme is not None and (kind := registry.by_scheme(scheme)) is not None:
        if kind.reopen is None:
            raise SourceError(f"{_shown(uri)}: the kind {kind.name} does not support reopening")
        return kind.reopen(Place(uri, uri), "", guards, columns)
    member = registry.split_member(uri)
    if scheme not in (None, "file"):
        if scheme not in remote.OBJECT_STORES:
            raise UnreadableImage(_shown(uri), "unusable name", f"{scheme}:// cannot be reopened")
        if member is None:
            return ObjectReader(uri).read(guards.max_bytes)
        return _of_place(Place(member[0], member[0]), member[1], guards, columns)
    path = path_of(uri) if scheme else uri
    found = _located(path, uri, roots)
    if member is None or os.path.lexists(found):  # a file may be called like an archive's member
        return FileReader(found, uri).read(guards.max_bytes)
    archive = _located(member[0], uri, roots)
    if not os.path.lexists(archive):
        raise UnreadableImage(_shown(uri), "missing", f"{printable(member[0])} does not exist")
    if not os.path.isfile(archive):  # noqa: PTH113 - opening a FIFO would wait
        raise UnreadableImage(_shown(uri), "not a regular file", printable(member[0]))
    return _of_place(Place(archive, member[0]), member[1], guards, columns)


def _of_place(place: Place, key: str, guards: Guards, columns: Columns) -> bytes:
    # by what it is called, not by what a link to it leads to
    kind = registry.by_ending(place.uri)
    if kind is None or kind.reopen is None:
        raise UnreadableImage(_shown(f"{place.uri}!{key}"), "missing", "members of such a file cannot be reopened")
    return kind.reopen(place, key, guards, columns)


def _located(path: str, uri: str, roots: Roots | None) -> str:
    """Where the path leads, links resolved; raises `UnreadableImage` for what lies outside the roots."""
    if "\0" in path:
        raise UnreadableImage(_shown(uri), "unusable name", "it contains NUL")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise UnreadableImage(_shown(uri), "unusable name", "it is not Unicode text") from None
    is_absolute = path.startswith("/")
    if roots is None:
        if not is_absolute:
            raise UnreadableImage(_shown(uri), "missing", "a relative path: give the root it belongs to")
        return os.path.realpath(path)
    bases = [absolute(root) for root in _each(roots)]
    candidates = [path] if is_absolute else [os.path.join(base, path) for base in bases]  # noqa: PTH118
    inside = [real for real in map(os.path.realpath, candidates) if _is_below(real, bases)]
    if not inside:
        raise UnreadableImage(
            _shown(uri), "permission denied", "it is outside the roots from which files may be reopened"
        )
    return next((real for real in inside if os.path.lexists(real)), inside[0])


def _is_below(real: str, bases: Sequence[str]) -> bool:
    return any(real.startswith(os.path.realpath(base).rstrip("/") + "/") for base in bases)


def _each(roots: Roots) -> Iterable[str | Path]:
    return [roots] if isinstance(roots, str | Path) else roots


def _shown(uri: str) -> str:
    return without_userinfo(printable(uri))
