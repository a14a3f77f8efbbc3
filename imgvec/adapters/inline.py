"""Pictures that come within a text: base64, by itself or in a data: URL (RFC 2397)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from imgvec import ImageBytes
from imgvec.errors import QueryError

_DATA = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*;base64,", re.ASCII | re.IGNORECASE)


def inline_picture(text: str, *, most: int, name: str = "the picture") -> ImageBytes:
    """The bytes of a picture from base64 or a data: URL; `most` is how many there may be.

    Nothing is opened and nothing is fetched. Raises `QueryError` for what is neither, and for too much, which is not
    decoded; whether the bytes are a picture is seen when they are searched for.
    """
    found = _DATA.match(text)
    encoded = text[found.end() :] if found else text
    if not encoded or encoded.isspace():
        raise QueryError(f"{name} is empty: send its bytes as base64, or as a data: URL")
    if len(encoded) * 3 // 4 > most + 3:
        raise QueryError(f"{name} has more than {most:,} bytes: send a smaller one, such as 1,024 pixels wide")
    try:
        data = b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise QueryError(
            f"{name} is neither base64 nor a data: URL with base64: send the bytes of the file so"
        ) from None
    if len(data) > most:
        raise QueryError(f"{name} has more than {most:,} bytes: send a smaller one, such as 1,024 pixels wide")
    return ImageBytes(data, name)
