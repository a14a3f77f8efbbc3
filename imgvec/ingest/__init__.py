"""Images into a collection: read, decode, encode, write; restartable, in bounded memory.

    records ─▶ read and hash ─▶ look up what is stored ─▶ decode and resize ─▶ encode ─▶ upsert
               └───────── reader thread ────────────┘     └ decode threads ┘   caller    writer thread

The database is the journal. For each chunk of records the stored `content_hash` is looked up: unchanged images are
skipped before decoding, new and changed ones are upserted under the id made from their uri. So repeating the call after
a crash resumes it, and repeating it after success writes nothing. This requires that each id belongs to one image: the
first one in the source that has it; others are refused (`claims`).
"""

from __future__ import annotations

from imgvec.ingest.claims import claimed
from imgvec.ingest.items import RowFields
from imgvec.ingest.options import Engine, IngestOptions, Job, Resources, RunOptions
from imgvec.ingest.pipeline import ingest
from imgvec.ingest.prune import prune

__all__ = [
    "Engine",
    "IngestOptions",
    "Job",
    "Resources",
    "RowFields",
    "RunOptions",
    "claimed",
    "ingest",
    "prune",
]
