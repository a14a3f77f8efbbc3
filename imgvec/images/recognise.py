"""Recognises a file by its first bytes: no decoder sees more of it before its format is known and allowed."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from importlib.util import find_spec

from PIL import (  # noqa: F401 - importing a plugin registers its format in Image.OPEN
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imgvec.errors import UnreadableImage
from imgvec.formats import EXTRAS, FORMATS, NEVER, TRUSTED, title
from imgvec.images.camera import raw_kind

# Pillow's plain PPM test lets any text through that begins with "Py".
_PNM = re.compile(rb"P([1-6f]|0CMYK)\s")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})

_LIBRARIES = {"HEIF": "pi_heif", "JXL": "pillow_jxl", "RAW": "rawpy"}

_SVG = rb"""(?isx) (\xef\xbb\xbf)? \s*
    # atomic, so that a file of nothing but comments is read once and not in every way to pair their ends
    (?> (?: <\?xml .*? \?> | <!-- .*? --> | <!doctype \s [^>\[]* (?: \[ .*? \] \s* )? > ) \s* )*+
    <(svg:)?svg[\s>]"""
_MEDIA = rb"(?s)RIFF....AVI |\x1a\x45\xdf\xa3|\x00\x00\x01[\xba\xb3]|FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf"

_OTHERS = (
    ("PDF", re.compile(rb"%PDF-")),
    ("SVG", re.compile(_SVG)),
    ("video", re.compile(_MEDIA)),
    ("video", re.compile(rb"(?s)....(moov|mdat|wide|pnot)")),
    ("video", re.compile(rb"(?s)....ftyp(qt  |isom|iso\d|mp4\d|M4V|avc1|3g[p2s]|MSNV|dash|mmp4|F4V|f4v)")),
    ("OpenEXR", re.compile(rb"\x76\x2f\x31\x01")),
    ("Radiance HDR", re.compile(rb"#\?(RADIANCE|RGBE)")),
    ("JPEG XR", re.compile(rb"II\xbc[\x00\x01]")),
    ("DjVu", re.compile(rb"AT&TFORM")),
    ("XCF (GIMP)", re.compile(rb"gimp xcf ")),
    ("BPG", re.compile(rb"BPG\xfb")),
    ("FLIF", re.compile(rb"FLIF")),
    ("farbfeld", re.compile(rb"farbfeld")),
    ("KTX", re.compile(rb"\xabKTX ")),
    ("DICOM", re.compile(rb"(?s).{128}DICM")),
)  # fmt: skip
"""Formats that no decoder here knows, by how they begin."""

_NO_PICTURES = (
    ("a web page", re.compile(rb"(?i)(\xef\xbb\xbf)?\s*(<!doctype html|<html|<head|<body)")),
    ("XML", re.compile(rb"(\xef\xbb\xbf)?\s*<\?xml")),
    ("JSON", re.compile(rb"(\xef\xbb\xbf)?\s*\{\s*\"")),
    ("a zip archive", re.compile(rb"PK\x03\x04")),
    ("a gzip file", re.compile(rb"\x1f\x8b")),
    ("a Git LFS pointer", re.compile(rb"version https://git-lfs")),
)
"""Other things often found under the names of images, named so that people do not look for damage in the picture."""


def recognised(data: bytes, uri: str, formats: Collection[str]) -> str:
    """The format of `data`, one of `formats`; raises `UnreadableImage` if it is none of them, or cannot be read."""
    name = _ours(data) or _pillow_s(data, FORMATS) or _other(data) or _unsigned(data, uri)
    if name is None:
        Image.init()  # registers every plugin
        name = _pillow_s(data, sorted(Image.OPEN.keys() - set(FORMATS)))
    if name is None:
        what = next((what for what, begins in _NO_PICTURES if begins.match(data[:4096])), "")
        raise UnreadableImage(uri, "not an image", what)
    if name not in formats:
        raise UnreadableImage(uri, "format not allowed", _why_not(name, data))
    if name in EXTRAS:
        if find_spec(_LIBRARIES[name]) is None:
            said = f"{_titled(name, data)}: pip install 'imgvec[{EXTRAS[name]}]' to read it"
            raise UnreadableImage(uri, "format not allowed", said)
        return name
    if name not in Image.OPEN:
        Image.init()
    if isinstance(_accepts(name, data), str):
        raise UnreadableImage(uri, "format not allowed", f"{name}; this Pillow was built without support for it")
    return name


def _ours(data: bytes) -> str | None:
    """Formats that Pillow does not know, or mistakes for others."""
    if raw_kind(data):
        return "RAW"
    if data[:2] == b"\xff\x0a" or data[:12] == b"\0\0\0\x0cJXL \r\n\x87\n":
        return "JXL"
    return "HEIF" if _is_heif(data) else None


def _is_heif(data: bytes) -> bool:
    """ISO base media with HEVC images and no AV1 (ISO/IEC 23008-12); Pillow's AVIF plugin takes `mif1` for its own."""
    if data[4:8] != b"ftyp":
        return False
    brands = set(re.findall(b"(?s)....", data[8 : min(int.from_bytes(data[:4]), 256)]))
    return not {b"avif", b"avis"} & brands and bool(_HEIF_BRANDS & brands)


def _pillow_s(data: bytes, names: Collection[str]) -> str | None:
    return next((name for name in names if _accepts(name, data)), None)


def _accepts(name: str, data: bytes) -> bool | str:
    """Pillow's own test of the first 16 bytes; a text says what this Pillow lacks."""
    _, accept = Image.OPEN.get(name, (None, None))
    prefix = data[:16]
    if accept is None or (name == "PPM" and not _PNM.match(prefix)):
        return False
    if name == "CUR" and prefix[4:6] == b"\0\0":  # no cursor in it: the header of a TGA
        return False
    try:
        return accept(prefix)
    except (IndexError, struct.error):  # fewer bytes than it looks at
        return False


def _other(data: bytes) -> str | None:
    return next((name for name, begins in _OTHERS if begins.match(data[:4096])), None)


def _unsigned(data: bytes, uri: str) -> str | None:
    """TGA, which has no signature: by its footer, or by a header that can be one under such a name."""
    if data[-18:-2] == b"TRUEVISION-XFILE":
        return "TGA"
    if uri.lower().endswith((".tga", ".vda", ".icb", ".vst")) and len(data) > 18:
        mapped, kind, depth = data[1], data[2], data[16]
        size = int.from_bytes(data[12:14], "little") * int.from_bytes(data[14:16], "little")
        if mapped <= 1 and kind in (1, 2, 3, 9, 10, 11) and depth in (8, 15, 16, 24, 32) and size:
            return "TGA"
    if uri.lower().endswith(".svgz") and data[:2] == b"\x1f\x8b":
        return "SVG"
    return None


def _why_not(name: str, data: bytes) -> str:
    if name in NEVER:
        return f"{'a video' if name == 'video' else name} {NEVER[name]}"
    if name in FORMATS or name in TRUSTED:
        extra = f" (and pip install 'imgvec[{EXTRAS[name]}]')" if name in EXTRAS else ""
        allow = f"IMGVEC_FORMATS=+{name} allows it, for files you trust" if name in TRUSTED else "IMGVEC_FORMATS"
        return f"{_titled(name, data)} is not on the allow-list: {allow}{extra}"
    return f"{name} is a format that imgvec does not read; convert it to PNG or JPEG"


def _titled(name: str, data: bytes) -> str:
    return f"{title(name)} ({raw_kind(data)})" if name == "RAW" else title(name)
