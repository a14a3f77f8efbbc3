"""An ingest in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from typing_extensions import Unpack

from imgvec.ingest import Job, RunOptions, ingest
from imgvec.report import IngestReport
from imgvec.sources import Item


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Reads, decodes, encodes and writes in threads of this process."""

    def ingest(self, job: Job, **options: Unpack[RunOptions]) -> IngestReport:
        """`Engine.ingest`."""
        records = _UntilBroken(job.records())
        encoders = {name: encoder() for name, encoder in job.encoders.items()}
        report = ingest(records, job.store, encoders, job.row_fields, job.resources, job.views, job.files, **options)
        if records.error is not None:
            raise records.error
        return report


class _UntilBroken:
    """The records up to where the source ended early, and its error then: what came before is written first.

    Of whatever kind the error is: a source may be the caller's own generator, or a plug-in's.
    """

    def __init__(self, records: Iterable[Item]) -> None:
        self._records = records
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self._records
        except Exception as exc:  # noqa: BLE001  raised when the run is over
            self.error = exc
