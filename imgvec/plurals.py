"""Numbers with their nouns, for messages: "1 row", "2,000 rows"."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str = "") -> str:
    """The number with thousands separators and its noun; give `plural` if it is not `singular` plus s."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
