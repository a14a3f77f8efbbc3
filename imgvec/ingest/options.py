"""What an ingest can be told, each option stated once, and what an engine is given to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from typing_extensions import TypedDict, Unpack

from imgvec.images import DecodePolicy
from imgvec.ingest.expand import Expander
from imgvec.ingest.items import RowFields
from imgvec.ingest.journal import Journal
from imgvec.ingest.repeated import Files, OnDuplicate
from imgvec.options import Option, python_only
from imgvec.progress import Progress
from imgvec.report import IngestReport
from imgvec.sources import Item, Table
from imgvec.store import Writes

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder


class RunOptions(TypedDict, total=False):
    """What one run of the pipeline can be told."""

    on_duplicate: Annotated[
        OnDuplicate,
        Option("keep", help="A new image whose bytes another one has is written, skipped, or written and reported."),
    ]
    strict: Annotated[bool, Option(False, help="Stop at the first refused image.")]
    errors: Annotated[
        str | Path | None, Option(json=False, metavar="FILE", help="Write refused images to this file as JSON lines.")
    ]
    on_progress: Annotated[
        Callable[[Progress], None] | None, python_only(help="Receives a `Progress` at most ten times a second.")
    ]
    on_notice: Annotated[Callable[[str], None] | None, python_only(help="Receives notices about the source, as text.")]
    stop: Annotated[threading.Event | None, python_only(help="When set, the run ends after the current batch.")]


class IngestOptions(RunOptions, total=False):
    """What `ImageCollection.ingest` can be told besides its `Source`."""

    metadata: Annotated[
        str | Path | Mapping[str, Mapping[str, Any]] | Table | None,
        Option(
            json=False,
            metavar="FILE",
            help="Field values: CSV, JSON lines or Parquet with a `path` column (or --uri-column).",
        ),
    ]
    part: Annotated[
        tuple[int, int] | None,
        Option(shell=False, help="(rank, of): ingest only one of `of` disjoint parts, counted from 0."),
    ]
    engine: Annotated[Engine | None, python_only(help="Where to run; None for this process.")]
    via: Annotated[
        str | Path | None,
        Option(
            shell=False, json=False, help="Write bulk-import files to this folder, for `imgvec.import_vectors` to load."
        ),
    ]
    keep: Annotated[
        str | Path | None,
        Option(json=False, metavar="DIR", help="Store images given as bytes in DIR, named by content hash."),
    ]
    prune: Annotated[bool, Option(False, help="Afterwards, delete rows of this source whose file is gone; asks first.")]


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run may take of a machine, and of the files that it is given."""

    threads: int
    """Threads that read and decode."""
    max_pixels: int
    """Larger images are refused by their header."""
    max_bytes: int
    """Larger files are refused."""
    processes: int = 0
    """Decode in this many processes instead of threads."""
    decoding: DecodePolicy = field(default_factory=DecodePolicy)
    retry_seconds: float = 60.0
    """How long to retry when Milvus is temporarily unavailable."""


@dataclass(frozen=True, slots=True)
class Views:
    """How a collection has several rows a picture."""

    expand: Expander
    journal: Journal
    """Takes a row a picture: see `imgvec.ingest.journal`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One ingest, for whichever engine runs it."""

    records: Callable[[], Iterable[Item]]
    """The source; may be called in another process, and is then picklable."""
    row_fields: RowFields
    resources: Resources
    store: Writes
    """In this process."""
    encoders: Mapping[str, Callable[[], Encoder]]
    """By the vector's name, in this process."""
    views: Views | None = None
    """In this process; None for a row a picture."""
    files: Files | None = None
    """Of the collection, in this process, for `on_duplicate`."""
    store_factory: Callable[[], Writes] | None = None
    """Opens the store in another process; None if only this process may write to it."""
    journal_factory: Callable[[], Journal] | None = None
    """Opens the journal of the views in another process."""
    encoder_factories: Mapping[str, Callable[[], Encoder]] = field(default_factory=dict)
    """Load them in another process."""


@runtime_checkable
class Engine(Protocol):
    """Where an ingest runs. What a run does is the same everywhere; `engines` has the kinds."""

    def ingest(self, job: Job, **options: Unpack[RunOptions]) -> IngestReport:
        """Run it; returns what became of each image.

        A refused image is counted, written to the JSON-lines file `errors` (uri, reason, detail), and skipped; with
        `strict` the first one is raised, after everything encoded before it is written. If the source ends early,
        everything before that point is written before its `SourceError` is raised. Raises the store's and the encoder's
        errors; acknowledged rows stay.
        """
        ...
