"""Pixels: the bytes of one image (`readers`, `fetch`), and bytes to upright RGB (`decode`)."""

from imgvec.formats import FORMATS
from imgvec.images.decode import MAX_PIXELS, DecodePolicy, as_image, decode
from imgvec.images.fetch import FetchPolicy, UrlReader
from imgvec.images.pixels import Decoded
from imgvec.images.readers import BytesReader, FileReader, Reader, content_hash

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "BytesReader",
    "DecodePolicy",
    "Decoded",
    "FetchPolicy",
    "FileReader",
    "Reader",
    "UrlReader",
    "as_image",
    "content_hash",
    "decode",
]
