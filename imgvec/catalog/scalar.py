"""The index types of scalar fields: what filters on a field can use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from imgvec.catalog.entries import Parameter, ScalarIndex

_INTEGERS = ("INT8", "INT16", "INT32", "INT64")
_NUMBERS = (*_INTEGERS, "FLOAT", "DOUBLE")

LATER_TYPES: Mapping[str, tuple[int, ...]] = MappingProxyType({"GEOMETRY": (2, 6, 4), "TIMESTAMPTZ": (2, 6, 6)})
"""Types of fields that not every server has, and since when (milvus.io/docs: geometry-field, timestamptz-field)."""

_SCALARS = (
    ScalarIndex("INVERTED", "general", (2, 4), ("BOOL", *_NUMBERS, "VARCHAR", "JSON", "ARRAY")),
    ScalarIndex("BITMAP", "few distinct values (below about 500)", (2, 5), ("BOOL", *_INTEGERS, "VARCHAR", "ARRAY")),
    ScalarIndex("STL_SORT", "numbers and times, sorted", (2, 0), (*_NUMBERS, "TIMESTAMPTZ")),
    ScalarIndex("RTREE", "shapes, by the boxes around them", (2, 6, 4), ("GEOMETRY",)),
    ScalarIndex("Trie", "strings by prefix", (2, 0), ("VARCHAR",)),
    ScalarIndex(
        "NGRAM",
        "LIKE on strings",
        (2, 6, 2),
        ("VARCHAR",),
        params=(
            Parameter("min_gram", "shortest piece", low=1, high=65_535, default=2),
            Parameter("max_gram", "longest piece", low=1, high=65_535, default=3),
        ),
    ),
)

SCALAR_INDEXES: Mapping[str, ScalarIndex] = MappingProxyType({index.name: index for index in _SCALARS})
