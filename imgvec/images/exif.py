"""Reads the two things that imgvec needs from EXIF: which way is up, and when the photo was taken."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from PIL import ExifTags, Image

#: What turns an image of each EXIF orientation upright (EXIF 2.32, tag 0x0112); 1 is upright already.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")

# The oldest surviving photo is of 1826 or 1827; a clock that says 2100 is wrong.
_YEARS = range(1826, 2100)


def read_exif(image: Image.Image) -> tuple[int, int | None]:
    """Orientation (1 where it is missing or nonsense) and time taken of a loaded image.

    Unreadable EXIF is ignored and never costs the image, because cameras and editors often write broken EXIF.
    """
    try:
        exif = image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # noqa: BLE001 - Pillow's EXIF reader raises whatever its struct, index and type errors are
        return 1, None
    return (orientation if orientation in range(1, 9) else 1), taken_at(details)


def taken_at(details: dict[int, Any]) -> int | None:
    """DateTimeOriginal of an EXIF directory as Unix milliseconds, negative before 1970; UTC where no offset is given.

    None if it is missing, malformed (cameras without a clock write zeros or blanks) or outside 1826-2099.
    """
    time = _TIME.match(_text(details, ExifTags.Base.DateTimeOriginal))
    if time is None or int(time[1]) not in _YEARS:
        return None
    offset = _OFFSET.match(_text(details, ExifTags.Base.OffsetTimeOriginal))
    fraction = re.match(r"\d{1,3}", _text(details, ExifTags.Base.SubsecTimeOriginal))
    try:
        moment = datetime(*map(int, time.groups()), tzinfo=_zone(offset))  # type: ignore[misc,arg-type]
    except ValueError:
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1) + (int(fraction[0].ljust(3, "0")) if fraction else 0)


def _zone(offset: re.Match[str] | None) -> timezone:
    if offset is None:
        return UTC
    sign = -1 if offset[1] == "-" else 1
    return timezone(sign * timedelta(hours=int(offset[2]), minutes=int(offset[3])))


def _text(details: dict[int, Any], tag: int) -> str:
    value = details.get(tag, "")
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip("\0 ")
