"""Images into a collection: read, decode, encode, write; restartable, in bounded memory.

    records ─▶ read and hash ─▶ look up what is stored ─▶ decode, expand, resize ─▶ encode ─▶ upsert
               └───────── reader thread ────────────┘     └─── decode threads ──┘   caller    writer thread

What goes through it is a picture, with a row for each of its views: one, the whole picture, unless an `Expander` makes
more. A refusal costs the whole picture; batches are bounded in rows.

The database is the journal (`journal`). For each chunk of records the stored `content_hash` is looked up: unchanged
images are skipped before decoding, new and changed ones are upserted under the id made from their uri. So repeating the
call after a crash resumes it, and repeating it after success writes nothing. This requires that each id belongs to one
image: the first one in the source that has it; others are refused (`claims`).
"""

from __future__ import annotations

from imgvec.ingest.claims import claimed
from imgvec.ingest.expand import Expander, Grid, View
from imgvec.ingest.items import RowFields
from imgvec.ingest.journal import Journal
from imgvec.ingest.options import Engine, IngestOptions, Job, Resources, RunOptions, Views
from imgvec.ingest.pipeline import ingest
from imgvec.ingest.regions import Regions
from imgvec.ingest.repeated import Files
from imgvec.ingest.stored import StoredPictures, prune

__all__ = [
    "Engine",
    "Expander",
    "Files",
    "Grid",
    "IngestOptions",
    "Job",
    "Journal",
    "Regions",
    "Resources",
    "RowFields",
    "RunOptions",
    "StoredPictures",
    "View",
    "Views",
    "claimed",
    "ingest",
    "prune",
]
