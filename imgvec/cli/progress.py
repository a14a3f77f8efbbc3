"""Progress: a line on stderr, only if it is a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgvec.errors import ImgvecError

if TYPE_CHECKING:
    from imgvec.progress import OnProgress, Progress


@contextmanager
def bar(listed: Callable[[], Iterable[object]] | None = None) -> Iterator[OnProgress | None]:
    """A bar while the block runs: gives what a long work calls with its events; None if stderr is not a terminal.

    `listed` gives what there is to do: it is counted beside the work, so that the time left appears as soon as the
    number is known, where the events do not say it.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(),
    )
    over = threading.Event()
    counted: list[int] = []
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None, amount="")
        stage = ""

        def count(listed: Callable[[], Iterable[object]]) -> None:
            total = 0
            try:
                for _ in listed():
                    total += 1
                    if over.is_set():
                        return
            except ImgvecError:  # the work itself says it
                return
            counted.append(total)

        def tell(event: Progress) -> None:
            nonlocal stage
            total = event.total if event.total is not None else counted[0] if counted else None
            if event.stage != stage:  # the time left is of a stage
                stage = event.stage
                shown.reset(task)
            shown.update(
                task, completed=event.done, total=total, description=escape(_said(event)), amount=_amount(event, total)
            )

        counter = threading.Thread(target=count, args=(listed,), name="imgvec-count", daemon=True)
        if listed is not None:
            counter.start()
        try:
            yield tell
        finally:
            over.set()
            if listed is not None:
                counter.join(timeout=1)


def _said(event: Progress) -> str:
    return f"{event.work}: {event.message or event.stage}"


def _amount(event: Progress, total: int | None) -> str:
    if not event.done and total is None:
        return ""
    done = f"{event.done:,}" + ("" if total is None else f"/{total:,}")
    return f"{done}, {event.done / event.seconds:,.1f}/s" if event.work == "ingest" and event.seconds else done
