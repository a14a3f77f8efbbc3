"""What to read, as a lazy stream of records and refusals; one file a kind of source, `source` for all of them."""

from imgvec.images.sources.files import IMAGE_SUFFIXES
from imgvec.images.sources.gone import gone_from
from imgvec.images.sources.source import is_listed_fast, read_source

__all__ = ["IMAGE_SUFFIXES", "gone_from", "is_listed_fast", "read_source"]
