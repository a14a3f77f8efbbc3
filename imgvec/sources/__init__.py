"""Where images live: a `Source`, read as a lazy stream of records and refusals.

source.py    the value, and the way from its text to a kind
registry.py  the kinds: by scheme, file extension or folder content; one file per kind, and plug-ins
reading.py   makes the records, for every kind
records.py   what comes out
"""

from imgvec.sources.columns import Columns
from imgvec.sources.files import IMAGE_SUFFIXES
from imgvec.sources.frames import Table
from imgvec.sources.given import Given, read_given
from imgvec.sources.guards import Guards
from imgvec.sources.keeping import Keeper
from imgvec.sources.kinds import Kind
from imgvec.sources.metadata import PATH_COLUMNS, Metadata, load_metadata, table_rows
from imgvec.sources.name_words import name_words
from imgvec.sources.names import present
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading
from imgvec.sources.records import LINK, Again, Found, Item, Notice, PassedOver, Record, record_id
from imgvec.sources.reopening import reopen
from imgvec.sources.source import Source, SourceOptions, Spec

__all__ = [
    "IMAGE_SUFFIXES",
    "LINK",
    "PATH_COLUMNS",
    "Again",
    "Columns",
    "Found",
    "Given",
    "Guards",
    "Item",
    "Keeper",
    "Kind",
    "Metadata",
    "Notice",
    "PassedOver",
    "Place",
    "Reading",
    "Record",
    "Source",
    "SourceOptions",
    "Spec",
    "Table",
    "load_metadata",
    "name_words",
    "present",
    "read_given",
    "record_id",
    "reopen",
    "table_rows",
]
