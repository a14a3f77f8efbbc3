"""Further vectors in a definition: what they may be, and where a mistake is said to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imgvec.definition import Definition, VectorFieldSection, description
from imgvec.encoders.protocol import Binding
from imgvec.errors import DefinitionError

TEXTURE: dict[str, Any] = {"encoder": {"model": "some/other", "layer": 6, "pooling": "mean"}}


def with_vectors(**vectors: Any) -> Definition:
    return Definition.load({"encoder": {"model": "m"}, "vectors": vectors})


def test_a_further_vector_has_what_the_first_has() -> None:
    definition = with_vectors(texture={**TEXTURE, "vector": {"metric_type": "L2"}, "index": {"cpu": {"type": "FLAT"}}})
    assert list(definition.vector_fields) == ["vector", "texture"]
    texture = definition.vector_fields["texture"]
    assert (texture.encoder.layer, texture.vector.metric_type, texture.index.cpu.type) == (6, "L2", "FLAT")
    first = definition.vector_fields["vector"]
    assert (first.encoder, first.vector, first.index) == (definition.encoder, definition.vector, definition.index)
    plain = with_vectors(texture=TEXTURE).vectors["texture"]
    assert plain == VectorFieldSection(encoder=plain.encoder, vector=definition.vector, index=definition.index)
    assert list(Definition.load("photos").vector_fields) == ["vector"]


def test_it_is_remembered() -> None:
    definition = with_vectors(texture=TEXTURE, colour={"encoder": {"model": "c"}})
    binding = Binding("m", None, "0" * 32, None, "cls", 224, 8)
    text = description.write(definition, binding, encoders={"texture": binding, "colour": binding})
    assert description.read("c", text).definition == definition
    assert description.is_made_from(definition, with_vectors(texture=TEXTURE, colour={"encoder": {"model": "c"}}))
    assert not description.is_made_from(definition, with_vectors(texture=TEXTURE))


@pytest.mark.parametrize(
    ("text", "where", "line", "says"),
    [
        ("  two words: {encoder: {model: m}}", "vectors.two words", 3, "a vector's name is a letter"),
        ("  Vector: {encoder: {model: m}}", "vectors.Vector", 3, "is reserved"),
        ("  content_hash: {encoder: {model: m}}", "vectors.content_hash", 3, "is reserved"),
        ("  like: {encoder: {model: m}}", "vectors.like", 3, "is a word of Milvus's own"),
        ("  album: {encoder: {model: m}}\nfields: {album: {type: BOOL, nullable: true}}", "vectors.album", 3, "under "),
        ("  t: {}", "vectors.t.encoder", 3, "is missing"),
        ("  t: {encoder: {model: m}, size: 3}", "vectors.t.size", 3, "unknown key"),
        ("  t: {encoder: {model: m, layer: x}}", "vectors.t.encoder.layer", 3, "integer"),
        ("  t:\n    encoder: {model: m}\n    vector: {metric_type: HAMMING}", "vectors.t.vector.metric_type", 5, "COS"),
        ("  t:\n    encoder: {model: m}\n    index: {cpu: {type: X}}", "vectors.t.index.cpu.type", 5, "X"),
        (
            "  t:\n    encoder: {model: m}\n    index:\n      cpu: {type: GPU_CAGRA}",
            "vectors.t.index.cpu.type", 6, "GPU_CAGRA is a GPU index",
        ),
        (
            "  t:\n    encoder: {model: m}\n    index:\n      cpu:\n        type: HNSW\n        params: {M: 1}",
            "vectors.t.index.cpu.params.M", 8, "M must be an integer from 2 to 2048, not 1",
        ),
        (
            "  t:\n    encoder: {model: m}\n    index:\n      cpu:\n        type: HNSW\n        search: {nprobe: 1}",
            "vectors.t.index.cpu.search", 8, "nprobe",
        ),
        (
            "  t:\n    encoder: {model: m}\n    vector: {type: INT8_VECTOR}\n    index: {cpu: {type: IVF_FLAT}}",
            "vectors.t.index.cpu.type", 6, "IVF_FLAT takes",
        ),
        (
            "".join(f"  v{n}: {{encoder: {{model: m}}}}\n" for n in range(4)),
            "vectors", 2, "4 beside `vector` are too many: Milvus takes 4 in one collection",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_said_with_their_place(tmp_path: Path, text: str, where: str, line: int, says: str) -> None:
    path = tmp_path / "things.yaml"
    path.write_text(f"encoder: {{model: m}}\nvectors:\n{text}\n", encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        Definition.load(path)
    assert (caught.value.where[: len(where)], caught.value.line) == (where, line)
    assert says in str(caught.value)


def test_three_beside_the_first_are_allowed() -> None:
    assert len(with_vectors(**{f"v{n}": TEXTURE for n in range(3)}).vector_fields) == 4


def test_metadata_does_not_fill_a_vector() -> None:
    definition = with_vectors(texture=TEXTURE)
    with pytest.raises(ValueError, match="texture is filled in by imgvec"):
        definition.row_fields({"texture": "rough"})
    assert definition.row_fields({"texture": ""}) == {}
    assert definition.field_problem("texture") == "filled in by imgvec"
    assert definition.field_problem("textures") is None
    assert definition.field_problem("uri") == "filled in by imgvec"
