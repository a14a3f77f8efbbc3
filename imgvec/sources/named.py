"""An image as a line of a list or a manifest names it: a path, a URL, an object in a store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from imgvec.errors import UnreadableImage
from imgvec.images.fetch import without_userinfo
from imgvec.sources import files, remote
from imgvec.sources.names import is_windows, present
from imgvec.sources.places import Place
from imgvec.sources.reading import Item, Reading, printable
from imgvec.sources.records import EXCLUDED, PassedOver
from imgvec.sources.urls import read_url


def scheme_of(text: str) -> str | None:
    """The scheme of a URL, in lower case; None for a path."""
    scheme, slashes, _ = text.partition("://")
    return scheme.lower() if slashes and scheme.replace("+", "").replace("-", "").isalnum() else None


def path_of(url: str) -> str:
    """The path of a `file://` URL."""
    return unquote(urlsplit(url).path)


def read_named(
    text: str, place: Place, reading: Reading, fields: Mapping[str, Any], row: Mapping[str, Any] | None = None
) -> Item | PassedOver:
    """The image that `place` calls `text`, with `fields`; whether it is there shows when it is read."""
    name = text.strip()
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # JSON can write half of a pair of UTF-16
        return UnreadableImage(without_userinfo(printable(name)), "unusable name", "it is not Unicode text")
    scheme = scheme_of(name)
    if scheme in ("http", "https"):
        if reading.excludes.match(name.partition("://")[2].partition("?")[0]):
            return PassedOver(without_userinfo(printable(name)), EXCLUDED)
        return read_url(name, reading, fields, row)
    if scheme not in (None, "file", *remote.OBJECT_STORES):
        return UnreadableImage(
            without_userinfo(printable(name)), "unusable name", f"{scheme}:// is not supported in lists"
        )
    if "\0" in name:
        return UnreadableImage(printable(name), "unusable name", "it contains NUL")
    where = path_of(name) if scheme == "file" else place.beside(name)
    if "://" not in where:
        try:
            where = present(where)
        except ValueError as exc:
            return UnreadableImage(printable(name), "unusable name", f"{exc}: spell it exactly")
        if is_windows(name) and not os.path.lexists(where):
            detail = f"a Windows path; make it relative to the folder of {place}, or use its path on this machine"
            return UnreadableImage(printable(name), "missing", detail)
    if reading.excludes.match(place.below(where)):
        return PassedOver(printable(where if "://" in where else reading.uri(where)), EXCLUDED)
    return (remote.read_object if "://" in where else files.read_file)(where, reading, fields, row)
