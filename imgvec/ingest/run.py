"""One run of the pipeline: its report, counted from several threads."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from imgvec.errors import BackendError, UnreadableImage
from imgvec.progress import OnProgress
from imgvec.report import IngestReport
from imgvec.retry import Retry
from imgvec.sources import Notice, PassedOver
from imgvec.threads import ByteBudget

REPEATS = 1000
"""Pictures that repeat a file which a report names; any more are counted."""

_log = logging.getLogger(__name__)

DECODE_BYTES = 64 * 2**20
"""File bytes that wait for a decoder, or are with one."""


class Run:
    """The report of one run, counted from several threads."""

    def __init__(
        self,
        strict: bool,
        log: IO[str] | None,
        on_progress: OnProgress | None,
        retry_seconds: float,
        stopped: Callable[[], bool],
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self.report = IngestReport()
        self.retry = Retry(retry_seconds, on_retry=self._retrying, stopped=stopped)
        self.stopped = stopped
        self.decoding = ByteBudget(DECODE_BYTES)
        self.encoded = 0
        self.cut_short = False
        self._strict, self._log, self._on_progress, self._on_notice = strict, log, on_progress, on_notice
        self._lock = threading.Lock()
        self._start = time.perf_counter()
        self._told = 0.0

    def count(self, **counts: int) -> None:
        with self._lock:
            for name, number in counts.items():
                setattr(self.report, name, getattr(self.report, name) + number)
            now = time.perf_counter()
            if self._on_progress and now - self._told >= 0.1:
                self._told = now
                self.report.seconds = now - self._start
                self._on_progress(self.report.progress())

    def tell(self, item: PassedOver | Notice) -> None:
        """What a source says besides its images; told further the first time."""
        with self._lock:
            if isinstance(item, PassedOver):
                self.report.passed_over[item.why] += 1
                self.report.first_passed_over.setdefault(item.why, item.uri)
            elif item.text not in self.report.notices:
                self.report.notices.append(item.text)
                if self._on_notice:
                    self._on_notice(item.text)

    def _retrying(self, error: BackendError, wait: float) -> None:
        self.count(retries=1)
        _log.info("again in %.1f s: %s", wait, error)

    def repeat(self, uri: str, first: str, *, skipped: bool) -> None:
        """A picture whose file is there under another id."""
        with self._lock:
            self.report.repeated += 1
            self.report.skipped += skipped
            if len(self.report.repeats) < REPEATS:
                self.report.repeats[uri] = first

    def refuse(self, error: UnreadableImage) -> None:
        with self._lock:
            self.report.refused[error.reason] += 1
            if self._log:
                entry = {"uri": error.uri, "reason": error.reason, "detail": error.detail}
                print(json.dumps(entry, ensure_ascii=False), file=self._log, flush=True)
        if self._strict:
            raise error

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent(stage, time.perf_counter() - start)

    def spent(self, stage: str, seconds: float) -> None:
        with self._lock:
            self.report.stage_seconds[stage] += seconds

    def finish(self) -> IngestReport:
        self.report.seconds = time.perf_counter() - self._start
        if self._on_progress:
            self._on_progress(self.report.progress())
        return self.report
