"""What a definition says of its vectors: `vector`, which every collection has, and further ones with other names.

vectors:
  texture:
    encoder: {model: facebook/dinov2-small, layer: 6, pooling: mean}
    vector: {metric_type: COSINE}
    index: {cpu: {type: HNSW, params: {M: 16, efConstruction: 200}}}
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from imgvec.catalog.vector_types import MAX_VECTORS
from imgvec.definition.field_names import IDENTIFIER, MILVUS_WORDS
from imgvec.definition.problems import MisplacedError
from imgvec.definition.sections import EncoderSection, IndexChoice, IndexSection, Section, VectorSection
from imgvec.errors import DefinitionError


class VectorFieldSection(Section):
    """One vector of every row: which encoder makes it, how it is stored, and its index."""

    encoder: EncoderSection
    vector: VectorSection = VectorSection()
    index: IndexChoice = IndexChoice()

    def check(self, *place: str) -> None:
        """Raise `MisplacedError`, below `place`, where the index does not suit the vector."""
        for device, section in (("cpu", self.index.cpu), ("gpu", self.index.gpu)):
            if section is not None:
                self._check_index(device, section, (*place, "index", device))

    def _check_index(self, device: str, section: IndexSection, place: tuple[str, ...]) -> None:
        kind, vector = section.kind, self.vector
        if (kind.device == "gpu") != (device == "gpu"):
            raise MisplacedError(f"{kind.name} is a {kind.device.upper()} index", *place, "type")
        if vector.type not in kind.vector_types:
            takes = ", ".join(kind.vector_types)
            raise MisplacedError(f"{kind.name} takes {takes}, not {vector.type}", *place, "type")
        if vector.metric_type not in kind.metrics:
            takes = ", ".join(kind.metrics)
            raise MisplacedError(f"{kind.name} takes {takes}, not {vector.metric_type}", *place, "type")
        try:
            kind.check_build(section.params)
            kind.check_search(section.search)
        except DefinitionError as exc:
            raise MisplacedError(exc.problem, *place, *exc.where.split(".")) from exc


def check_names(
    vectors: Mapping[str, VectorFieldSection], declared: Mapping[str, object], reserved: Collection[str]
) -> None:
    """Raise `MisplacedError` where a further vector cannot be called so beside those fields, or there are too many."""
    for name in vectors:
        if not IDENTIFIER.match(name):
            raise MisplacedError("a vector's name is a letter or _ and then letters, digits and _", "vectors", name)
        if name.lower() in reserved:
            raise MisplacedError(f"is reserved: imgvec has fields {', '.join(reserved)} of its own", "vectors", name)
        if name.lower() in MILVUS_WORDS:
            raise MisplacedError("is a word of Milvus's own", "vectors", name)
        if name in declared:
            raise MisplacedError("is declared under fields too", "vectors", name)
    if len(vectors) >= MAX_VECTORS:
        raise MisplacedError(
            f"{len(vectors)} beside `vector` are too many: Milvus takes {MAX_VECTORS} in one collection", "vectors"
        )
