"""A source as a collection brings it in: without the database's own files, and written up to where it breaks off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imgvec.errors import MissingExtra, SourceError
from imgvec.report import IngestReport
from imgvec.sources import LINK, Found, Notice


def read_but_for(own: str | None, read: Callable[[], Iterator[Found]]) -> Iterator[Found]:
    """The records of a source but for those whose uri begins with `own`."""
    return (one for one in read() if own is None or isinstance(one, Notice) or not one.uri.startswith(own))


class UntilBroken:
    """The records up to where the source broke off, and its error then: what came before is written first."""

    def __init__(self, records: Iterator[Found]) -> None:
        self._records = records
        self.error: SourceError | MissingExtra | None = None

    def __iter__(self) -> Iterator[Found]:
        try:
            yield from self._records
        except (SourceError, MissingExtra) as exc:
            self.error = exc


def hints(report: IngestReport) -> Iterator[str]:
    """What a person should know about a source once it was gone through."""
    if links := report.passed_over[LINK]:
        yield (
            f"symbolic links that were passed over: {links:,} (the first: {report.first_passed_over[LINK]}); "
            "--follow-links, in Python follow_links=True, follows them"
        )
    if not report.seen:
        others = report.passed_over.total() - links
        yield "the source holds no image" + (f"; {others:,} things in it were passed over" if others else "")
