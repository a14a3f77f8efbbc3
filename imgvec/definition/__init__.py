"""What a collection is: its fields, encoder, vector and index, read from a YAML file and checked.

    about: Family photos.
    encoder: {model: facebook/dinov2-small, fallback: "pypi:dinov2-small-11"}
    fields:
      album: {type: VARCHAR, max_length: 256, default: "", index: AUTO}
    index:
      cpu: {type: HNSW, params: {M: 16, efConstruction: 200}, search: {ef: 64}}

A definition is frozen; unknown keys are refused, with the place in the file. Those shipped with imgvec are named
without a path: `Definition.load("photos")`.
"""

from __future__ import annotations

from imgvec.definition.conversion import convert
from imgvec.definition.definition import Definition
from imgvec.definition.field_names import field_problem
from imgvec.definition.fields import FieldSection
from imgvec.definition.sections import (
    EncoderSection,
    ImagesSection,
    IndexChoice,
    IndexSection,
    VectorSection,
    ViewsSection,
)
from imgvec.definition.shipped import bundled
from imgvec.definition.vector_fields import VectorFieldSection

__all__ = [
    "Definition",
    "EncoderSection",
    "FieldSection",
    "ImagesSection",
    "IndexChoice",
    "IndexSection",
    "VectorFieldSection",
    "VectorSection",
    "ViewsSection",
    "bundled",
    "convert",
    "field_problem",
]
