"""A source as a collection brings it in: without the database's own files, and written up to where it breaks off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images import Record


def read_but_for(
    own: str | None, read: Callable[[], Iterator[Record | UnreadableImage]]
) -> Iterator[Record | UnreadableImage]:
    """The records of a source but for those whose uri begins with `own`."""
    return (record for record in read() if own is None or not record.uri.startswith(own))


class UntilBroken:
    """The records up to where the source broke off, and its error then: what came before is written first."""

    def __init__(self, records: Iterator[Record | UnreadableImage]) -> None:
        self._records = records
        self.error: SourceError | None = None

    def __iter__(self) -> Iterator[Record | UnreadableImage]:
        try:
            yield from self._records
        except SourceError as exc:
            self.error = exc
