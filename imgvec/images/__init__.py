"""Pixels: what to read (`sources`), what is known about it (`metadata`), and bytes to upright RGB (`decode`)."""

from imgvec.formats import FORMATS
from imgvec.images.decode import MAX_PIXELS, DecodePolicy, as_image, decode
from imgvec.images.fetch import FetchPolicy, UrlReader
from imgvec.images.frames import Table
from imgvec.images.metadata import Metadata, load_metadata
from imgvec.images.names import present
from imgvec.images.pixels import Decoded
from imgvec.images.records import (
    LINK,
    Again,
    BytesReader,
    FileReader,
    Found,
    Item,
    Notice,
    PassedOver,
    Reader,
    Record,
    content_hash,
    record_id,
)
from imgvec.images.sources import IMAGE_SUFFIXES, gone_from, is_listed_fast, read_source

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "LINK",
    "MAX_PIXELS",
    "Again",
    "BytesReader",
    "DecodePolicy",
    "Decoded",
    "FetchPolicy",
    "FileReader",
    "Found",
    "Item",
    "Metadata",
    "Notice",
    "PassedOver",
    "Reader",
    "Record",
    "Table",
    "UrlReader",
    "as_image",
    "content_hash",
    "decode",
    "gone_from",
    "is_listed_fast",
    "load_metadata",
    "present",
    "read_source",
    "record_id",
]
