"""Progress: a line on stderr, and only on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from imgvec.errors import ImgvecError

if TYPE_CHECKING:
    from imgvec.report import IngestReport


class Tell(Protocol):
    """Is told how much is done, of how much, and what."""

    def __call__(self, done: int, total: int | None = None, doing: str | None = None, /) -> None: ...


@contextmanager
def bar(doing: str, total: int | None = None) -> Iterator[Tell]:
    """A bar while the block runs; gives what moves it."""
    if not sys.stderr.isatty():
        yield lambda _done, _total=None, _doing=None, /: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(doing, total=total)

        def tell(done: int, total: int | None = None, doing: str | None = None, /) -> None:
            shown.update(task, completed=done, total=total, description=doing)

        yield tell


@contextmanager
def progress(listed: Callable[[], Iterable[object]] | None) -> Iterator[Callable[[IngestReport], None] | None]:
    """The bar of an ingest: gives what `ingest` calls with its report; None where stderr is no terminal.

    The images that `listed` gives are counted beside the work, so that the time left appears as soon as their number is
    known; None is not counted.
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
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("Ingesting", total=None, rate="")

        def count() -> None:
            total = 0
            try:
                for _ in listed() if listed else ():
                    total += 1
                    if done.is_set():
                        return
            except ImgvecError:  # the ingest itself says it
                return
            shown.update(task, total=total)

        def on_progress(report: IngestReport) -> None:
            handled = report.written + report.updated + report.unchanged + report.duplicates + report.refused.total()
            rate = f"{handled / report.seconds:.1f} images/s" if report.seconds else ""
            shown.update(task, completed=handled, rate=rate)

        counter = threading.Thread(target=count, name="imgvec-count", daemon=True)
        if listed is not None:
            counter.start()
        try:
            yield on_progress
        finally:
            done.set()
            if listed is not None:
                counter.join(timeout=1)
