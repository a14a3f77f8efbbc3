"""The option that names one of a collection's vectors, for all that takes it."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from imgvec.options.statement import Option
from imgvec.rows import VECTOR

VectorName = Annotated[
    str, Option(VECTOR, metavar="NAME", help="Name of the vector to use, where the collection has several.")
]


class VectorOptions(TypedDict, total=False):
    """What is about one vector of a collection."""

    vector: VectorName
