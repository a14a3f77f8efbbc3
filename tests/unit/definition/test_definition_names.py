"""What a definition may not name, and what it says of a file that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgvec.definition import Definition
from imgvec.errors import DefinitionError

RESERVED = (
    "id", "vector", "uri", "content_hash", "width", "height", "media_type", "ingested_at", "imgvec_from_image",
)  # fmt: skip


@pytest.mark.parametrize("name", RESERVED)
def test_every_reserved_field_is_refused_however_it_is_written(name: str) -> None:
    for written in (name, name.upper(), name.title()):
        with pytest.raises(DefinitionError, match=f"is reserved: every collection has {', '.join(RESERVED)}") as raised:
            Definition.load({"encoder": {"model": "m"}, "fields": {written: {"type": "VARCHAR", "default": ""}}})
        assert raised.value.where == f"fields.{written}"


@pytest.mark.parametrize(
    "declared",
    [
        None,
        {"type": "DOUBLE", "default": 0.0},
        {"type": "BOOL", "default": False},
        {"type": "JSON", "nullable": True},
        {"type": "VARCHAR", "nullable": True},
        {"type": "INT64", "nullable": True},
        {"type": "INT32", "default": 0},
    ],
)
def test_what_cannot_be_a_partition_key(declared: dict[str, object] | None) -> None:
    fields = {} if declared is None else {"key": declared}
    says = "must be a declared VARCHAR or INT64 field that is not nullable"
    with pytest.raises(DefinitionError, match=says) as raised:
        Definition.load({"encoder": {"model": "m"}, "fields": fields, "partition_key": "key"})
    assert raised.value.where == "partition_key"


@pytest.mark.parametrize("kind", ["VARCHAR", "INT64"])
def test_what_can_be_a_partition_key(kind: str) -> None:
    fields = {"key": {"type": kind, "default": "" if kind == "VARCHAR" else 0}}
    definition = Definition.load({"encoder": {"model": "m"}, "fields": fields, "partition_key": "key"})
    assert definition.partition_key == "key"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 20_000, "things.yaml: is nested too deeply or refers to itself"),
        ("encoder: &a {model: m, more: *a}", "things.yaml: is nested too deeply or refers to itself"),
        ("", "things.yaml: is empty"),
        ("encoder: {model: \a}", "things.yaml: is not YAML: "),
        ("encoder: {model: m", "things.yaml:1: is not YAML: "),
        ("encoder: {model: m}\nencoder: {model: n}\n", "things.yaml:2: encoder: given twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "things.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as raised:
        Definition.load(path)
    assert says in str(raised.value)
    assert str(raised.value.source).endswith("things.yaml")


def test_a_file_below_ones_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "things.yaml").write_text("encoder: {model: some/model}")
    assert Definition.load("~/things.yaml").encoder.model == "some/model"
    with pytest.raises(DefinitionError, match=r"neither a file nor a bundled definition \(bundled: faces, "):
        Definition.load("~/others.yaml")


def test_a_directory_and_bytes_are_not_definitions(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("about: é".encode("latin-1"))
    for path, says in (
        (tmp_path, "neither a file nor a bundled definition"),
        (tmp_path / "latin.yaml", "cannot be read: 'utf-8' codec"),
    ):
        with pytest.raises(DefinitionError, match=says) as raised:
            Definition.load(path)
        assert raised.value.source == str(path)


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"type": "VARCHAR", "index": "NGRAM", "index_params": {"min_gram": 2, "max_gram": 4}}, None),
        ({"type": "VARCHAR", "index": "NGRAM", "index_params": {"min_gram": 3, "max_gram": 3}}, None),
        ({"type": "VARCHAR", "index": "NGRAM", "index_params": {"max_gram": 2}}, None),
        (
            {"type": "VARCHAR", "index": "NGRAM", "index_params": {"min_gram": 4}},
            "min_gram must be at most max_gram",
        ),
        (
            {"type": "VARCHAR", "index": "NGRAM", "index_params": {"max_gram": 1}},
            "min_gram must be at most max_gram",
        ),
        ({"type": "VARCHAR", "index": "NGRAM", "index_params": {"min_gram": 0}}, "min_gram"),
        ({"type": "VARCHAR", "index": "NGRAM", "index_params": {"min_gram": "two"}}, "min_gram"),
        ({"type": "VARCHAR", "index": "NGRAM", "index_params": {"grams": 2}}, "NGRAM has no parameter grams"),
        ({"type": "INT64", "index": "NGRAM"}, "index NGRAM takes VARCHAR.*, not INT64"),
        ({"type": "VARCHAR", "index": "AUTO", "index_params": {"min_gram": 2}}, "index_params need an index type"),
        ({"type": "VARCHAR", "index_params": {"min_gram": 2}}, "index_params need an index type"),
        ({"type": "VARCHAR", "index": "BTREE"}, "index 'BTREE' is not one of AUTO, "),
    ],
)
def test_the_index_of_a_field(declared: dict[str, object], says: str | None) -> None:
    given = {
        "encoder": {"model": "m"},
        "fields": {"note": {"default": "" if declared["type"] == "VARCHAR" else 0, **declared}},
    }
    if says is None:
        Definition.load(given)
        return
    with pytest.raises(DefinitionError, match=says) as raised:
        Definition.load(given)
    assert raised.value.where.startswith("fields.note")


@pytest.mark.parametrize(
    ("data", "where", "says"),
    [
        ({"vector": {"type": "INT8_VECTOR"}, "index": {"cpu": {"type": "IVF_FLAT"}}}, "index.cpu.type",
         "IVF_FLAT takes .*, not INT8_VECTOR"),
        ({"index": {"cpu": {"type": "BIN_FLAT"}}}, "index.cpu.type", "BIN_FLAT takes BINARY_VECTOR, not FLOAT_VECTOR"),
        ({"index": {"cpu": {"type": "GPU_CAGRA"}}}, "index.cpu.type", "GPU_CAGRA is a GPU index"),
        ({"index": {"cpu": {"type": "FLAT"}, "gpu": {"type": "HNSW"}}}, "index.gpu.type", "HNSW is a CPU index"),
        ({"index": {"cpu": {"type": "HNSW", "params": {"nlist": 3}}}}, "index.cpu", "nlist is not a build parameter"),
    ],
)  # fmt: skip
def test_a_vector_index_fits_its_vectors(data: dict[str, object], where: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says) as raised:
        Definition.load({"encoder": {"model": "m"}, **data})
    assert raised.value.where.startswith(where)
