"""What runs on the cluster: one task reads the source, actors bring its records in with `imgvec.ingest`.

What crosses between processes is pickled here and not by Ray, whose tables would take bytes and objects apart.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgvec.errors import EngineFailed, ImgvecError
from imgvec.ingest import Expander, Journal, Resources, RowFields, Views, claimed, ingest
from imgvec.report import IngestReport
from imgvec.sources import Item
from imgvec.store import Writes

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder

CHUNK_RECORDS = 256
"""Records that one call of an actor takes; a crash costs looking them up again."""
CHUNK_BYTES = 16 * 2**20
"""Of pickled records, which hold the image's bytes where an archive was read; a chunk ends earlier rather."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records of the source."""

    pickled: Sequence[bytes]
    broken: ImgvecError | None = None
    """The error that ended the source after them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a chunk."""

    report: IngestReport = field(default_factory=IngestReport)
    refused: str = ""
    """JSON lines, as `ingest` writes them."""
    error: ImgvecError | None = None
    """Why the chunk is not done."""
    broken: ImgvecError | None = None
    """The chunk's own: raised once all that came before is written."""


@dataclass(frozen=True, slots=True)
class Work:
    """Everything an actor needs; picklable."""

    encoders: Mapping[str, Callable[[], Encoder]]
    """Load those of an actor, by the vector's name."""
    store_factory: Callable[[], Writes]
    row_fields: RowFields
    resources: Resources
    strict: bool
    folder: str
    """The driver's working directory, which relative paths start from."""
    expand: Expander | None = None
    journal_factory: Callable[[], Journal] | None = None
    """These two where pictures have several rows."""


class Worker:
    """An actor of the pool: a chunk in, an outcome out. Several threads may call it.

    Its `Work` comes pickled, so that what fails in making it is an outcome too, and no tale of a dead actor.
    """

    def __init__(self, pickled_work: bytes) -> None:
        self._failed: ImgvecError | None = None
        try:
            self._work: Work = pickle.loads(pickled_work)  # noqa: S301  from our own driver
            with contextlib.suppress(OSError):  # absolute paths and URLs do without
                os.chdir(self._work.folder)
            self._store = self._work.store_factory()
            self._encoders = {name: load() for name, load in self._work.encoders.items()}
            expand, journal = self._work.expand, self._work.journal_factory
            self._views = Views(expand, journal()) if expand is not None and journal is not None else None
        except ImgvecError as exc:
            self._failed = exc
        except (ImportError, AttributeError) as exc:
            why = f"a worker lacks a package that the driver has: {exc}; install it on every node"
            self._failed = EngineFailed(why)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        chunk: Chunk = pickle.loads(row["chunk"])  # noqa: S301  from our own reader
        return {"outcome": pickle.dumps(self._outcome(chunk))}

    def _outcome(self, chunk: Chunk) -> Outcome:
        if self._failed:
            return Outcome(error=self._failed)
        work = self._work
        records: list[Item] = [pickle.loads(each) for each in chunk.pickled]  # noqa: S301  as the chunk
        report, error = IngestReport(), None
        with tempfile.TemporaryDirectory(prefix="imgvec-") as folder:
            refused = Path(folder) / "refused.jsonl"
            try:
                report = ingest(
                    records,
                    self._store,
                    self._encoders,
                    work.row_fields,
                    work.resources,
                    self._views,
                    strict=work.strict,
                    errors=refused,
                )
            except ImgvecError as exc:
                error = exc
            lines = refused.read_text(encoding="utf-8")
        return Outcome(report, lines, error, chunk.broken)


def read(records: Callable[[], Iterable[Item]], folder: str, dumps: Callable[[object], bytes]) -> Iterator[bytes]:
    """The source's records as pickled chunks; an error of the source ends them, and comes within the last.

    `folder` is the driver's working directory. `dumps` pickles one record.
    """
    pickled: list[bytes] = []
    size = 0
    broken = None
    with contextlib.chdir(folder):
        try:
            # here, where all of the source goes by: a worker sees chunks of it
            for item in claimed(records()):
                pickled.append(dumps(item))
                size += len(pickled[-1])
                if len(pickled) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
                    yield pickle.dumps(Chunk(pickled))
                    pickled, size = [], 0
        except ImgvecError as exc:
            broken = exc
        if pickled or broken:
            yield pickle.dumps(Chunk(pickled, broken))
