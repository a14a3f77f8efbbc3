"""The progress line of an ingest, on stderr and only on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgvec.errors import ImgvecError

if TYPE_CHECKING:
    from imgvec.report import IngestReport


@contextmanager
def progress(source: str | Sequence[str] | None) -> Iterator[Callable[[IngestReport], None] | None]:
    """Gives what `ingest` calls with its report; None where stderr is no terminal.

    The images of `source` are counted beside the work, so that the time left appears as soon as their number is known;
    None is not counted.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done = threading.Event()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Ingesting", total=None, rate="")

        def count() -> None:
            from imgvec.images import read_source

            total = 0
            try:
                for _ in read_source(source or []):
                    total += 1
                    if done.is_set():
                        return
            except ImgvecError:  # the ingest itself says it
                return
            bar.update(task, total=total)

        def on_progress(report: IngestReport) -> None:
            handled = report.written + report.updated + report.unchanged + report.duplicates + report.refused.total()
            rate = f"{handled / report.seconds:.1f} images/s" if report.seconds else ""
            bar.update(task, completed=handled, rate=rate)

        counter = threading.Thread(target=count, name="imgvec-count", daemon=True)
        if source is not None:
            counter.start()
        try:
            yield on_progress
        finally:
            done.set()
            if source is not None:
                counter.join(timeout=1)
