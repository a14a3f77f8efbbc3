"""What a person should know about a source once it was gone through."""

from __future__ import annotations

from collections.abc import Iterator

from imgvec.report import IngestReport
from imgvec.sources import LINK


def hints(report: IngestReport) -> Iterator[str]:
    """Links that were passed over, and that there was no image at all."""
    if links := report.passed_over[LINK]:
        yield (
            f"symbolic links that were passed over: {links:,} (the first: {report.first_passed_over[LINK]}); "
            "--follow-links, in Python follow_links=True, follows them"
        )
    if not report.seen:
        others = report.passed_over.total() - links
        yield "the source holds no image" + (f"; {others:,} things in it were passed over" if others else "")
