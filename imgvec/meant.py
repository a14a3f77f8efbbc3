"""What was probably meant by a mistyped name, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, in upper or lower case; None if none is like it."""
    lowered = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), lowered, n=1)
    return lowered[close[0]] if close else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'album'?`, or nothing."""
    close = closest(name, known)
    return "" if close is None else f", did you mean {close!r}?"
