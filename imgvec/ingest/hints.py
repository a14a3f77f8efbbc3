"""Hints for the user after a source has been read."""

from __future__ import annotations

from collections.abc import Iterator

from imgvec.plurals import counted
from imgvec.report import IngestReport
from imgvec.sources import LINK


def hints(report: IngestReport) -> Iterator[str]:
    """Mentions links that were passed over, and a source without any images."""
    if links := report.passed_over[LINK]:
        yield (
            f"passed over {counted(links, 'symbolic link')} (the first: {report.first_passed_over[LINK]}); use "
            f"--follow-links (follow_links=True in Python) to follow them"
        )
    if not report.seen:
        others = report.passed_over.total() - links
        yield "the source contains no images" + (
            f"; {counted(others, 'entry', 'entries')} passed over" if others else ""
        )
