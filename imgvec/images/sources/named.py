"""An image as a line of a list or a manifest names it: a path, a URL, an object in a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from imgvec.errors import UnreadableImage
from imgvec.images.fetch import UrlReader, url_trouble, without_userinfo
from imgvec.images.records import Record
from imgvec.images.sources import files, remote
from imgvec.images.sources.places import Place
from imgvec.images.sources.reading import Item, Reading, printable


def scheme_of(text: str) -> str | None:
    """The scheme of a URL, in lower case; None for a path."""
    scheme, slashes, _ = text.partition("://")
    return scheme.lower() if slashes and scheme.replace("+", "").replace("-", "").isalnum() else None


def path_of(url: str) -> str:
    """The path of a `file://` URL."""
    return unquote(urlsplit(url).path)


def read_named(
    text: str, place: Place, reading: Reading, fields: Mapping[str, Any], row: Mapping[str, Any] | None = None
) -> Item:
    """The image that `place` calls `text`, with `fields`; whether it is there shows when it is read."""
    name = text.strip()
    scheme = scheme_of(name)
    if scheme in ("http", "https"):
        found = read_url(name, reading)
    elif scheme == "file":
        found = files.read_file(path_of(name), reading)
    elif scheme is not None and scheme not in remote.OBJECT_STORES:
        return UnreadableImage(
            without_userinfo(printable(name)), "unusable name", f"{scheme}:// is not read from lists"
        )
    elif "\0" in name:
        return UnreadableImage(printable(name), "unusable name", "it has a NUL")
    else:
        where = place.beside(name)
        found = remote.read_object(where, reading) if "://" in where else files.read_file(where, reading)
    if isinstance(found, UnreadableImage):
        return found
    return reading.record(found.uri, found.reader, {**fields, **found.metadata}, row)


def read_url(url: str, reading: Reading) -> Record | UnreadableImage:
    """The image at an http(s) URL; nothing is fetched before it is read."""
    if problem := url_trouble(url):
        return UnreadableImage(without_userinfo(printable(url)), "unusable name", problem)
    return reading.record(url, UrlReader(url, reading.policy, reading.connections), reading.known(url, url))
