"""What a declared or dynamic field may be called."""

from __future__ import annotations

import re
from collections.abc import Collection

from imgvec.filters.fields import FUNCTIONS, KEYWORDS
from imgvec.rows import RESERVED_NAMES

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")
# Words of Milvus's expression grammar, without which a field could not be filtered, and names that its storage takes.
MILVUS_WORDS = KEYWORDS | FUNCTIONS | {"rowid", "timestamp"}


def field_problem(name: object, reserved: Collection[str] = RESERVED_NAMES) -> str | None:
    """Why metadata cannot be stored in a field of this name; None if it can."""
    if name in reserved:
        return "filled in by imgvec"
    if not isinstance(name, str) or not IDENTIFIER.match(name):
        return "a field name is a letter or _, then letters, digits and _"
    return "a reserved word in Milvus" if name.lower() in MILVUS_WORDS else None
