"""imgvec: the image search layer for Milvus.

    from imgvec import ImageCollection, field

    photos = ImageCollection.create("photos", definition="photos", uri="./photos.db")
    photos.ingest("~/Pictures")
    answer = photos.search("query.jpg", where=field("width") >= 800)

Names are loaded when first used: `import imgvec` imports neither torch nor pymilvus.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgvec import errors as errors
    from imgvec.collection import ImageCollection
    from imgvec.definition import Definition
    from imgvec.encoders.callables import CallableEncoder
    from imgvec.errors import ImgvecError
    from imgvec.filters import dynamic, field
    from imgvec.ingest import IngestOptions
    from imgvec.report import IngestReport
    from imgvec.search.answer import Answer, Hit
    from imgvec.search.forms import Crop, ImageBytes, ImageFile, Like, Pixels, StoredId, Text, VectorQuery
    from imgvec.search.request import SearchOptions
    from imgvec.settings import Settings
    from imgvec.sources import Source, SourceOptions

__version__ = "0.1.0"

_HOMES = {
    "Answer": "imgvec.search.answer",
    "CallableEncoder": "imgvec.encoders.callables",
    "Crop": "imgvec.search.forms",
    "Definition": "imgvec.definition",
    "Hit": "imgvec.search.answer",
    "ImageBytes": "imgvec.search.forms",
    "ImageCollection": "imgvec.collection",
    "ImageFile": "imgvec.search.forms",
    "ImgvecError": "imgvec.errors",
    "IngestOptions": "imgvec.ingest",
    "IngestReport": "imgvec.report",
    "Like": "imgvec.search.forms",
    "Pixels": "imgvec.search.forms",
    "SearchOptions": "imgvec.search.request",
    "Settings": "imgvec.settings",
    "Source": "imgvec.sources",
    "SourceOptions": "imgvec.sources",
    "StoredId": "imgvec.search.forms",
    "Text": "imgvec.search.forms",
    "VectorQuery": "imgvec.search.forms",
    "dynamic": "imgvec.filters",
    "errors": "imgvec",
    "field": "imgvec.filters",
}

__all__ = [
    "Answer",
    "CallableEncoder",
    "Crop",
    "Definition",
    "Hit",
    "ImageBytes",
    "ImageCollection",
    "ImageFile",
    "ImgvecError",
    "IngestOptions",
    "IngestReport",
    "Like",
    "Pixels",
    "SearchOptions",
    "Settings",
    "Source",
    "SourceOptions",
    "StoredId",
    "Text",
    "VectorQuery",
    "__version__",
    "dynamic",
    "errors",
    "field",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imgvec' has no attribute {name!r}")
    if name == "errors":
        return importlib.import_module("imgvec.errors")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
