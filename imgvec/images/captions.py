"""What a picture's file says of it in words: title, description, comment and keywords, from EXIF, IPTC, XMP and PNG.

A text that several of them repeat is taken once. What cameras write by themselves is left out. Nothing here costs the
image: editors write broken metadata, which is passed over.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from PIL import ExifTags, Image

from imgvec.images.directories import DESCRIPTION, XMP, Tiff

LONGEST = 10_000
"""Characters of a caption; what comes after them is left out."""

_MOST_XMP, _MOST_KEYWORDS = 1 << 20, 64

_KINDS = ("title", "description", "comment", "keywords")
"""In the order in which they stand in a caption."""

_Text = tuple[str, str]
"""Its kind, and itself."""

_BY_CAMERA = re.compile(
    r"(?:[\w&.-]+ ){1,3}digital (?:still )?camera|sony dsc|exif[_ ]jpeg[_ ]picture|default|untitled|dcim|<?ce>?",
    re.IGNORECASE,
)
"""What cameras and editors fill in where nobody said anything."""

_EXIF_TEXTS = {
    ExifTags.Base.XPTitle: "title",
    ExifTags.Base.ImageDescription: "description",
    ExifTags.Base.XPSubject: "description",
    ExifTags.Base.XPComment: "comment",
    ExifTags.Base.XPKeywords: "keywords",
}
_IPTC_TEXTS = {(2, 5): "title", (2, 105): "title", (2, 120): "description", (2, 25): "keywords"}
"""Object name, headline, caption and keyword of the IPTC's Information Interchange Model 4.2."""
_XMP_TEXTS = {"dc:title": "title", "dc:description": "description", "dc:subject": "keywords"}
_PNG_TEXTS = {"Title": "title", "Description": "description", "Comment": "comment"}
"""Keywords of the PNG specification, 11.3.4.2."""

# both stop at the next angle bracket, so that no file makes them look at its text more than once
_XMP_ITEM = re.compile(r"<rdf:li\b[^<>]*>([^<]*)</rdf:li>")


def read_caption(image: Image.Image) -> str:
    """The caption of a loaded image; empty where its file says nothing."""

    def exif() -> Iterator[_Text]:
        found = image.getexif()
        details = found.get_ifd(ExifTags.IFD.Exif)
        yield from _exif(found, details, str(getattr(found, "endian", None) or "<"))

    info = image.info
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    blocks = info.get("photoshop")
    iptc = blocks.get(0x0404) if isinstance(blocks, Mapping) else None
    return _caption(exif, lambda: _iptc(iptc), lambda: _xmp(xmp), lambda: _png(image))


def tiff_caption(data: bytes) -> str:
    """That of the first directory of a TIFF, which speaks of the picture wherever in it that lies."""
    tiff = Tiff.of(data)
    first = tiff.first if tiff is not None else None
    if first is None:
        return ""
    return _caption(lambda: [("description", _decoded(first.blob(DESCRIPTION)))], lambda: _xmp(first.blob(XMP)))


def _caption(*readers: Callable[[], Iterable[_Text]]) -> str:
    found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for read in readers:
        with suppress(Exception):  # Pillow's readers raise whatever their struct, index and type errors are
            for kind, text in read():
                found[kind].append(_clean(text))
    texts = [text for kind in _KINDS for text in found[kind] if text and not _BY_CAMERA.fullmatch(text[:100])]
    once: dict[str, str] = {}
    for text in texts:
        once.setdefault(text.casefold(), text)
    return "; ".join(once.values())[:LONGEST].strip()


def _clean(text: str) -> str:
    """Without what cannot be printed, and with single spaces; joiners shape words of Persian and Hindi."""
    return " ".join(
        "".join(each if each.isprintable() or each in "\u200c\u200d" else " " for each in text[: 2 * LONGEST]).split()
    )


def _exif(base: Mapping[int, Any], details: Mapping[int, Any], endian: str) -> Iterator[_Text]:
    for tag, kind in _EXIF_TEXTS.items():
        value = base.get(tag)
        if tag == ExifTags.Base.ImageDescription:
            if isinstance(value, str | bytes):
                yield kind, _unmangled(value)
        elif isinstance(value, bytes):  # the others are Windows's
            text = value[: 4 * LONGEST].decode("utf-16-le", "ignore")
            yield from ((kind, part) for part in (_parts(text) if kind == "keywords" else [text]))
    comment = details.get(ExifTags.Base.UserComment)
    if isinstance(comment, bytes):
        yield "comment", _user_comment(comment, endian)
    elif isinstance(comment, str):
        yield "comment", _unmangled(comment)


def _parts(text: str) -> list[str]:
    return re.split("[;\0]", text)[:_MOST_KEYWORDS]


def _unmangled(value: str | bytes) -> str:
    """A text that Pillow read as Latin-1, as the standard's ASCII is; phones and editors write UTF-8."""
    if isinstance(value, bytes):
        return _decoded(value)
    with suppress(UnicodeError):
        return value.encode("latin-1").decode()
    return value


def _decoded(data: bytes) -> str:
    data = data.split(b"\0", 1)[0]
    with suppress(UnicodeError):
        return data.decode()
    return data.decode("latin-1")


def _user_comment(data: bytes, endian: str) -> str:
    """EXIF 2.32, tag 0x9286: eight bytes name the code, and of UNICODE nobody says in which order its bytes are."""
    code, text = data[:8].rstrip(b"\0 ").upper(), data[8:]
    if code == b"JIS":
        return text.decode("iso2022_jp", "ignore")
    if code != b"UNICODE":
        return _decoded(text if code in (b"ASCII", b"") else data)
    high, low = text[0::2].count(0), text[1::2].count(0)
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return text.decode("utf-16", "ignore")
    big = high > low or (high == low and endian == ">")
    return text.decode("utf-16-be" if big else "utf-16-le", "ignore")


def _iptc(data: Any) -> Iterator[_Text]:
    at = 0
    while isinstance(data, bytes) and at + 5 <= len(data) and data[at] == 0x1C:
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if size > 0x7FFF:  # an extended one, which no text needs
            return
        if kind := _IPTC_TEXTS.get((data[at + 1], data[at + 2])):
            yield kind, _decoded(data[at + 5 : at + 5 + size])
        at += 5 + size


def _xmp(packet: Any) -> Iterator[_Text]:
    """By the names that everybody writes; a whole reader of XML has much that a hostile file can do to it."""
    text = packet[:_MOST_XMP].decode("utf-8", "ignore") if isinstance(packet, bytes) else str(packet)[:_MOST_XMP]
    for name, kind in _XMP_TEXTS.items():
        start = text.find(f"<{name}")
        end = text.find(f"</{name}>", start)
        if start < 0 or end < 0:
            continue
        items = (html.unescape(item[1]) for item in _XMP_ITEM.finditer(text, start, end))
        # a title and a description stand there once for each language, the default first
        yield from ((kind, item) for item in islice(items, _MOST_KEYWORDS if kind == "keywords" else 1))


def _png(image: Image.Image) -> Iterator[_Text]:
    if image.format == "PNG":
        for name, kind in _PNG_TEXTS.items():
            yield kind, str(image.info.get(name, ""))
