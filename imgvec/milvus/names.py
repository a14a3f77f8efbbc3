"""What a collection, or an alias, may be called."""

from __future__ import annotations

import re

from imgvec.errors import BackendError

MAX_NEW_NAME = 240
"""Bytes, and characters: Milvus takes 255, and companions are called like their collection with a suffix."""
KINDS = ("pictures", "learned", "people")
"""The kinds of companions; the name of one ends in `__KIND` or, where that is taken, `__KIND2`, …"""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")
_RESERVED = re.compile(rf"__(?:{'|'.join(KINDS)})\d*\Z")


def is_reserved(name: str) -> bool:
    """Whether the name ends as a companion's does."""
    return bool(_RESERVED.search(name))


def check(name: str) -> None:
    """Raise `BackendError` for what Milvus, or Milvus Lite, would not take as a name or hold under another."""
    if not _NAME.match(name):
        raise BackendError(
            f"{name!r} is not a valid collection name: use a letter or _, then letters, digits and _, at most "
            f"{MAX_NEW_NAME} characters"
        )


def check_new(name: str) -> None:
    """`check`, for a collection or an alias that is to be made."""
    check(name)
    if len(name) > MAX_NEW_NAME:
        raise BackendError(f"a collection name has at most {MAX_NEW_NAME} characters, but {name!r} has {len(name)}")
    if is_reserved(name):
        *most, last = (f"__{kind}" for kind in KINDS)
        endings = f"{', '.join(most)} and {last}"
        raise BackendError(f"{name!r} is not a valid collection name: names ending in {endings} are imgvec's own")


def companion(owner: str, kind: str, number: int) -> str:
    """The `number`th name, from 1, that a collection's companion of that kind may have."""
    return f"{owner[:MAX_NEW_NAME]}__{kind}{number if number > 1 else ''}"
