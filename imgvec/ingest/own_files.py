"""A source without the database's own files, which may be in the ingested folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imgvec.sources import Found, Notice


def read_but_for(own: str | None, read: Callable[[], Iterator[Found]]) -> Iterator[Found]:
    """The records of a source but for those whose uri begins with `own`."""
    return (one for one in read() if own is None or isinstance(one, Notice) or not one.uri.startswith(own))
