"""Every Milvus index type, as frozen data: the one place that definitions, command help and errors derive from.

Ranges and defaults are those of zilliztech/knowhere (August 2026) where the code and the Milvus documentation (2.6)
disagree. Memory formulas are the documentation's, checked against a server's process where it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from imgvec.catalog.disk import DISK
from imgvec.catalog.entries import MAX_LIMIT, IndexType, Parameter, ParameterValue, ScalarIndex, Version
from imgvec.catalog.flat import BIN_FLAT, FLAT
from imgvec.catalog.gpu import GPU
from imgvec.catalog.hnsw import AUTOINDEX, HNSW
from imgvec.catalog.ivf import BIN_IVF_FLAT, IVF
from imgvec.catalog.scalar import LATER_TYPES, SCALAR_INDEXES
from imgvec.catalog.vector_types import MAX_DIM, VECTOR_TYPES
from imgvec.errors import DefinitionError
from imgvec.meant import suggestion

__all__ = [
    "INDEX_TYPES",
    "LATER_PARAMETERS",
    "LATER_TYPES",
    "MAX_DIM",
    "MAX_LIMIT",
    "SCALAR_INDEXES",
    "VECTOR_TYPES",
    "IndexType",
    "Parameter",
    "ParameterValue",
    "ScalarIndex",
    "index_type",
]

INDEX_TYPES: Mapping[str, IndexType] = MappingProxyType(
    {each.name: each for each in (FLAT, *IVF, *HNSW, *DISK, *GPU, AUTOINDEX, BIN_FLAT, BIN_IVF_FLAT)}
)
"""Of vectors, by name, in the order in which they are shown."""

LATER_PARAMETERS: Mapping[str, Version] = MappingProxyType(
    {each.name: each.since for kind in INDEX_TYPES.values() for each in (*kind.build, *kind.search) if each.since}
)
"""Parameters that came later than their index type, and the first Milvus version that has them."""


def index_type(name: str) -> IndexType:
    """The index type of that name; raises `DefinitionError` that names those there are."""
    try:
        return INDEX_TYPES[name]
    except KeyError:
        said = f"{name!r} is not an index type{suggestion(name, INDEX_TYPES)} (known: {', '.join(INDEX_TYPES)})"
        raise DefinitionError(said, where="type") from None
