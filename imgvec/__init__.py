"""imgvec: the image search layer for Milvus.

    from imgvec import ImageCollection, field

    photos = ImageCollection.create("photos", definition="photos", uri="./photos.db")
    photos.ingest("~/Pictures")
    hits = photos.search("query.jpg", where=field("width") >= 800)

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
    from imgvec.report import IngestReport
    from imgvec.search import Hit
    from imgvec.settings import Settings

__version__ = "0.1.0"

_HOMES = {
    "CallableEncoder": "imgvec.encoders.callables",
    "Definition": "imgvec.definition",
    "Hit": "imgvec.search",
    "ImageCollection": "imgvec.collection",
    "ImgvecError": "imgvec.errors",
    "IngestReport": "imgvec.report",
    "Settings": "imgvec.settings",
    "dynamic": "imgvec.filters",
    "errors": "imgvec",
    "field": "imgvec.filters",
}

__all__ = [
    "CallableEncoder",
    "Definition",
    "Hit",
    "ImageCollection",
    "ImgvecError",
    "IngestReport",
    "Settings",
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
