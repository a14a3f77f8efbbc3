"""What to read, as a lazy stream of records and refusals; one file a kind of source, `source` for all of them."""

from imgvec.sources.files import IMAGE_SUFFIXES
from imgvec.sources.frames import Table
from imgvec.sources.gone import gone_from
from imgvec.sources.metadata import Metadata, load_metadata
from imgvec.sources.names import present
from imgvec.sources.records import LINK, Again, Found, Item, Notice, PassedOver, Record, record_id
from imgvec.sources.source import is_listed_fast, read_source

__all__ = [
    "IMAGE_SUFFIXES",
    "LINK",
    "Again",
    "Found",
    "Item",
    "Metadata",
    "Notice",
    "PassedOver",
    "Record",
    "Table",
    "gone_from",
    "is_listed_fast",
    "load_metadata",
    "present",
    "read_source",
    "record_id",
]
