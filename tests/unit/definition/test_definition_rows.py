"""A row from metadata: which names it takes, what it leaves out, and the values that a definition has by itself."""

from __future__ import annotations

from typing import Any

import pytest

from imgvec.definition import Definition, field_problem
from imgvec.errors import DefinitionError

PLAIN = Definition.load({"encoder": {"model": "m"}, "fields": {"label": {"type": "VARCHAR", "default": "none"}}})
CLOSED = PLAIN.model_copy(update={"dynamic": False})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("like", "a reserved word in Milvus"),
        ("IN", "a reserved word in Milvus"),
        ("array_contains", "a reserved word in Milvus"),
        ("RowID", "a reserved word in Milvus"),
        ("timestamp", "a reserved word in Milvus"),
        ("two words", "a field name is a letter or _, then letters, digits and _"),
        ("1st", "a field name is a letter or _, then letters, digits and _"),
        ("", "a field name is a letter or _, then letters, digits and _"),
        ("größe", "a field name is a letter or _, then letters, digits and _"),
        ("a" * 256, "a field name is a letter or _, then letters, digits and _"),
        ("a\n", "a field name is a letter or _, then letters, digits and _"),
        ("uri", "filled in by imgvec"),
        ("a" * 255, None),
        ("_", None),
        ("Label2", None),
    ],
)
def test_the_names_of_fields(name: str, says: str | None) -> None:
    assert field_problem(name) == says
    if says is None:
        assert PLAIN.row_fields({name: "x"})[name] == "x"
        return
    with pytest.raises(ValueError, match=r"filled in by imgvec|is not a valid field name: use a letter or _, then"):
        PLAIN.row_fields({name: "x"})
    if name != "uri":
        with pytest.raises(DefinitionError):
            Definition.load({"encoder": {"model": "m"}, "fields": {name: {"type": "VARCHAR", "default": ""}}})


@pytest.mark.parametrize("value", [None, "", float("nan")])
def test_a_cell_that_says_nothing_is_left_out_whatever_its_name(value: Any) -> None:
    assert PLAIN.row_fields({"two words": value, "uri": value}) == {"label": "none"}


def test_a_closed_definition_takes_what_it_declares() -> None:
    assert CLOSED.row_fields({"label": "a"}) == {"label": "a"}
    with pytest.raises(ValueError, match=r"^note is not declared, and the definition says dynamic: false$"):
        CLOSED.row_fields({"label": "a", "note": 1})
    with pytest.raises(ValueError, match=r"^uri is filled in by imgvec$"):
        CLOSED.row_fields({"uri": "/a.jpg"})


def test_what_only_a_default_or_the_picture_would_fill() -> None:
    photos = Definition.load("photos")
    assert photos.row_fields({}, taken_at=5)["taken_at"] == 5
    assert photos.row_fields({"taken_at": "2024-06-01"}, taken_at=5)["taken_at"] == 1_717_200_000_000
    assert photos.row_fields({}) == {"album": "", "tags": [], "taken_at": 0}
    assert photos.row_fields({"album": "a"}, taken_at=5, only_given=True) == {"album": "a"}
    required = Definition.load({"encoder": {"model": "m"}, "fields": {"label": {"type": "VARCHAR", "required": True}}})
    assert required.row_fields({}, only_given=True) == {}
    with pytest.raises(ValueError, match=r"^label is missing, but the definition requires it$"):
        required.row_fields({})


def test_what_a_definition_is_without_a_word() -> None:
    plain = Definition.load({"encoder": {"model": "m"}})
    assert (plain.about, plain.fields, plain.dynamic) == ("", {}, True)
    assert (plain.partition_key, plain.num_partitions, plain.num_shards) == (None, None, 1)
    assert plain.index.gpu is None
    assert plain.index.cpu.model_dump() == {
        "type": "HNSW", "params": {"M": 16, "efConstruction": 200}, "search": {"ef": 64},
    }  # fmt: skip
    assert plain.encoder.model_dump() == {
        "model": "m", "revision": None, "fallback": None, "layer": None, "pooling": None, "image_size": None,
        "projection": None, "purpose": None,
    }  # fmt: skip
    assert plain.images.sixteen_bit == "auto"
    assert (plain.vector.type, plain.vector.metric_type) == ("FLOAT_VECTOR", "COSINE")


@pytest.mark.parametrize(
    ("section", "given", "good"),
    [
        ("encoder", {"model": "m", "image_size": 16}, True),
        ("encoder", {"model": "m", "image_size": 15}, False),
        ("encoder", {"model": "m", "image_size": 4096}, True),
        ("encoder", {"model": "m", "image_size": 4097}, False),
        ("encoder", {"model": ""}, False),
        ("encoder", {"model": "m", "pooling": "max"}, False),
        ("images", {"sixteen_bit": 8}, True),
        ("images", {"sixteen_bit": 16}, True),
        ("images", {"sixteen_bit": 7}, False),
        ("images", {"sixteen_bit": 17}, False),
        ("images", {"sixteen_bit": True}, False),
        ("images", {"sixteen_bit": "12"}, False),
        ("vector", {"type": "BINARY_VECTOR"}, False),
        ("num_shards", 16, True),
        ("num_shards", 17, False),
        ("num_shards", 0, False),
        ("num_partitions", 0, False),
        ("num_partitions", 1025, False),
        ("vector", {"metric_type": "HAMMING"}, False),
    ],
)
def test_bounds(section: str, given: Any, good: bool) -> None:
    data = {"encoder": {"model": "m"}, section: given}
    if good:
        found = getattr(Definition.load(data), section)
        assert found == given if isinstance(given, int) else given.items() <= found.model_dump().items()
        return
    with pytest.raises(DefinitionError) as raised:
        Definition.load(data)
    assert raised.value.where.startswith(section)


def test_every_problem_is_said_the_first_with_its_place() -> None:
    data = {"encoder": {"model": "m", "layers": 3}, "fields": {"a": {"type": "TEXT"}}, "more": 1}
    with pytest.raises(DefinitionError) as raised:
        Definition.load(data)
    assert raised.value.where == "encoder.layers"
    assert raised.value.problem.startswith("unknown key (did you mean 'layer'?); also more: unknown key (known: about")
    assert "; fields.a.type: must be 'BOOL', " in raised.value.problem
    assert raised.value.problem.endswith(", not 'TEXT'")
