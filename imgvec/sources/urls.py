"""Images at http(s) addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images.fetch import UrlReader, url_trouble, without_userinfo
from imgvec.sources.columns import Columns
from imgvec.sources.guards import Guards
from imgvec.sources.kinds import Kind
from imgvec.sources.places import Place
from imgvec.sources.reading import Item, Reading, printable
from imgvec.sources.records import Found


def read_url(
    url: str, reading: Reading, fields: Mapping[str, Any] | None = None, row: Mapping[str, Any] | None = None
) -> Item:
    """The image at an http(s) URL; nothing is fetched before it is read."""
    if problem := url_trouble(url):
        return UnreadableImage(without_userinfo(printable(url)), "unusable name", problem)
    return reading.image(url, UrlReader(url, reading.guards.fetch, reading.connections), url, fields=fields, row=row)


def _read(place: Place, reading: Reading) -> Iterator[Found]:
    return iter([read_url(place.where, reading)])


def _reopen(place: Place, _key: str, guards: Guards, _columns: Columns) -> bytes:
    if problem := url_trouble(place.where):
        raise UnreadableImage(without_userinfo(printable(place.where)), "unusable name", problem)
    return UrlReader(place.where, guards.fetch).read(guards.max_bytes)


def not_fetched(url: str) -> SourceError:
    """What to say of an archive, a manifest or a list at such an address."""
    shown = without_userinfo(printable(url))
    return SourceError(f"{shown}: archives, manifests and lists must be on disk or in an object store: download it")


KIND = Kind(name="url", read=_read, schemes=("http", "https"), reopen=_reopen)
