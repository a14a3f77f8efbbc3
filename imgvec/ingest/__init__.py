"""Images into a collection: read, decode, encode, write; restartable, in bounded memory.

    records ─▶ read and hash ─▶ look up what is stored ─▶ decode and resize ─▶ encode ─▶ upsert
               └───────── reader thread ────────────┘     └ decode threads ┘   caller    writer thread

The database is the journal. For each chunk of records the stored `content_hash` is looked up: what is unchanged is
skipped before it is decoded, what is new or changed is upserted under the id made from its uri. So the same call after
a crash goes on where that one stopped, and a second one writes nothing. For that each id is one image's: the first of
the source that has it; others are refused (`claims`).
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
