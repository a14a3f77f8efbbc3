"""Stored pictures as an agent sees them: a few thumbnails of bounded bytes, and links to the others."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from mcp_types import ImageContent, ResourceLink

from imgvec import Explanation, Hit, ImageCollection
from imgvec.errors import ImgvecError, UnreadableImage
from imgvec.images import DecodePolicy, decode
from imgvec.images.edits import thumbnail

MOST_INLINE = 4
"""Thumbnails in one answer."""
INLINE_BYTES = 48 * 1024
"""Of each, before base64; one that is larger is made smaller."""
LINKED_BYTES = 1024 * 1024
"""Of a picture that a link leads to."""
_INLINE_SIDES, _LINKED_SIDES = (320, 224, 128, 64), (1024, 768, 512, 256)
"""Pixels of the longer side: the first that is small enough."""
_NAME = 100
"""Characters of the name of a link."""
_SECONDS = 10.0
"""After that no further thumbnail is made: uris may lead to servers that are slow."""


class Pictures:
    """The pictures of a collection; they are opened as `ImageCollection.reopen` does, within its roots.

    Without `fetch` only those in files and archives on this machine are.
    """

    def __init__(self, collection: ImageCollection, *, fetch: bool = True) -> None:
        self._collection, self._fetch = collection, fetch
        self._host = collection.alias or collection.name

    @property
    def template(self) -> str:
        """Of the uris of pictures."""
        return f"imgvec://{self._host}/pictures/{{id}}"

    def uri(self, id_: str) -> str:
        """By which an agent reads the picture of a row."""
        return f"imgvec://{self._host}/pictures/{quote(id_, safe='')}"

    def check(self, ids: Sequence[str]) -> None:
        """Raises `UnreadableImage` if a picture of these rows, which is to be compared, would have to be fetched."""
        if not self._fetch:
            for row in self._collection.get(ids).values():
                self._check(str(row["uri"]))

    def linked(self, hit: Hit) -> bytes:
        """A JPEG file within 1,024 by 1,024 pixels and 1 MiB; raises `UnreadableImage`."""
        return self._jpeg(hit, _LINKED_SIDES, LINKED_BYTES)

    def link(self, id_: str, name: str = "") -> ResourceLink:
        """By which an agent's program reads the picture of a row, if it wants to."""
        return ResourceLink(uri=self.uri(id_), name=name or id_, mime_type="image/jpeg")

    def shown(self, hits: Sequence[Hit], inline: int) -> tuple[list[ImageContent | ResourceLink], list[str]]:
        """Thumbnails of the first `inline` hits that can be opened, in order, and links to all others; and the ids of
        those that the thumbnails are of.
        """
        end = time.monotonic() + _SECONDS
        images: list[ImageContent | ResourceLink] = []
        links: list[ImageContent | ResourceLink] = []
        ids: list[str] = []
        for hit in {each.id: each for each in hits}.values():
            data = self._inline(hit) if len(ids) < inline and time.monotonic() < end else None
            if data is None:
                links.append(self.link(hit.id, _name(hit.uri)))
            else:
                images.append(ImageContent(data=b64encode(data).decode(), mime_type="image/jpeg"))
                ids.append(hit.id)
        return [*images, *links], ids

    def _inline(self, hit: Hit) -> bytes | None:
        try:
            return self._jpeg(hit, _INLINE_SIDES, INLINE_BYTES)
        except (ImgvecError, OSError):  # it is gone, or was never kept: its row is an answer all the same
            return None

    def _check(self, uri: str) -> None:
        if not self._fetch and "://" in uri and not uri.startswith("file://"):
            raise UnreadableImage(uri, "permission denied", "only files on this machine are opened")

    def _jpeg(self, hit: Hit, sides: Sequence[int], most: int) -> bytes:
        self._check(hit.uri)
        data, settings = self._collection.reopen(hit), self._collection.settings
        decoded = decode(
            data,
            uri=hit.uri,
            max_pixels=settings.max_pixels,
            min_side=None if hit.box else sides[0],  # a box is in pixels of the whole picture
            policy=DecodePolicy(settings.formats, self._collection.definition.images.sixteen_bit),
        )
        for side in sides:
            made = thumbnail(decoded.image, side, hit.box)
            if len(made) <= most:
                return made
        raise UnreadableImage(hit.uri, "too large", "no small picture of it is small enough to be sent")


def _name(uri: str) -> str:
    """What a picture is called, for a person: whoever named the file may have meant a terminal, or a reader."""
    name = uri.rstrip("/").rpartition("/")[2]
    return "".join(each if each.isprintable() else "\ufffd" for each in name[:_NAME])


def hit_of(id_: str, row: Mapping[str, Any]) -> Hit:
    """A stored row as a hit, to open its picture by."""
    view = row.get("view", "whole")
    box = None if view == "whole" else (row["box"][0], row["box"][1], row["box"][2], row["box"][3])
    return Hit(id_, 1.0, str(row["uri"]), row, 1.0, image_id=str(row.get("image_id") or ""), view=view, box=box)


def drawn(explanation: Explanation) -> bytes:
    """An explanation as a JPEG file within 1,024 by 1,024 pixels and 192 KiB."""
    image = explanation.image()
    for side in _LINKED_SIDES:
        made = thumbnail(image, side)
        if len(made) <= MOST_INLINE * INLINE_BYTES:
            break
    return made
