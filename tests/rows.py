"""Rows made on the spot."""

from __future__ import annotations

import hashlib
from typing import Any


def row(id_: str, **others: Any) -> dict[str, Any]:
    """A row with every field that a collection has by itself."""
    return {
        "id": id_,
        "uri": f"/photos/{id_}.jpg",
        "content_hash": hashlib.md5(id_.encode(), usedforsecurity=False).hexdigest(),
        "width": 640,
        "height": 480,
        "media_type": "image/jpeg",
        "ingested_at": 1_700_000_000_000,
        **others,
    }


def id_of(number: int) -> str:
    """An id that sorts as the number does."""
    return f"{number:032x}"


def numbered(number: int, **others: Any) -> dict[str, Any]:
    return row(id_of(number), **others)
