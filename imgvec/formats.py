"""The formats of images as data: which are read, which may be allowed, what the others are; and the allow-list's words.

Names are Pillow's, with three of our own for what other libraries decode: HEIF, JXL and RAW.
"""

from __future__ import annotations

from collections.abc import Iterable

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000", "HEIF", "JXL", "RAW")
"""Read unless `IMGVEC_FORMATS` says otherwise. Each is known by its first bytes, says its size before any pixel is
decoded, and is decoded by a library that is fuzzed, or in a process of its own (`images/apart.py`)."""

TRUSTED = (
    "BLP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "ICNS", "ICO", "MSP", "PCX", "PSD", "QOI", "SGI",
    "SUN", "TGA", "XBM", "XPM",
)  # fmt: skip
"""Read where `IMGVEC_FORMATS` allows them: for files from people one trusts. TGA has no signature, so random bytes pass
for one; ICO, ICNS and PSD hold images inside images, of sizes that the header does not say; some of these decoders are
Python, a second a megapixel; none is fuzzed as those of the web are."""

EXTRAS = {"HEIF": "heif", "JXL": "jxl", "RAW": "raw"}
"""The extra that a format needs."""

TITLES = {
    "HEIF": "HEIF (HEIC)",
    "JXL": "JPEG XL",
    "JPEG2000": "JPEG 2000",
    "RAW": "camera RAW",
    "PPM": "PNM",
}
"""What people call a format, where that is not its name."""

NEVER = {
    "EPS": "is a printer program, and reading it would run another program",
    "WMF": "is a drawing, and reading it would run another program",
    "SVG": "is a drawing, not a photo format that imgvec reads; export it as PNG",
    "PDF": "is a document, not a photo format that imgvec reads; export its pages as PNG or JPEG",
    "video": "is not a picture; extract the frames that matter as JPEG",
}
"""What cannot be allowed, and why."""

_ALIASES = {
    "JPG": "JPEG", "JPE": "JPEG", "JFIF": "JPEG", "MPO": "JPEG", "APNG": "PNG", "TIF": "TIFF", "PNM": "PPM",
    "PGM": "PPM", "PBM": "PPM", "PFM": "PPM", "JP2": "JPEG2000", "J2K": "JPEG2000", "HEIC": "HEIF", "DNG": "RAW",
    "JPEGXL": "JXL",
}  # fmt: skip


def title(name: str) -> str:
    """What people call the format."""
    return TITLES.get(name, name)


def allow_list(given: str | Iterable[str]) -> tuple[str, ...]:
    """The allow-list that `given` says: names between commas, or `+NAME` and `-NAME` to change the usual list.

    Upper and lower case are the same, and usual names (`jpg`, `heic`, `dng`) are taken. Raises `ValueError`.
    """
    words = [word.strip() for word in (given.split(",") if isinstance(given, str) else given)]
    words = [word for word in words if word]
    if not words:
        return FORMATS
    signs = {word[0] if word[0] in "+-" else "" for word in words}
    if "" in signs and len(signs) > 1:
        raise ValueError("give either a whole list (JPEG,PNG) or changes to the usual one (+TGA,-GIF), not both")
    named = [(word[:1], _name(word.lstrip("+-"))) for word in words]
    if "" in signs:
        return tuple(dict.fromkeys(name for _, name in named))
    removed = {name for sign, name in named if sign == "-"}
    added = [name for sign, name in named if sign == "+"]
    kept = tuple(name for name in dict.fromkeys([*FORMATS, *added]) if name not in removed)
    if not kept:
        raise ValueError("no format is left to read")
    return kept


def _name(word: str) -> str:
    name = word.upper().replace(" ", "").replace("-", "").replace("_", "")
    name = _ALIASES.get(name, name)
    if name in FORMATS or name in TRUSTED:
        return name
    if name in NEVER:
        raise ValueError(f"{name} {NEVER[name]}; it cannot be allowed")
    raise ValueError(f"unknown format {word!r}; known: {', '.join(FORMATS)}, and on request {', '.join(TRUSTED)}")
