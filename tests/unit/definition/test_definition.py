from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgvec.definition import Definition, bundled, description
from imgvec.encoders.protocol import Binding
from imgvec.errors import DefinitionError

MINIMAL = "encoder: {model: some/model}\n"


def load(tmp_path: Path, text: str) -> Definition:
    path = tmp_path / "things.yaml"
    path.write_text(text, encoding="utf-8")
    return Definition.load(path)


@pytest.mark.parametrize("name", ["photos", "products", "faces"])
def test_bundled_definitions_have_a_cpu_a_gpu_and_a_scalar_index(name: str) -> None:
    definition = Definition.load(name)
    assert definition.index.cpu.type == "HNSW"
    assert definition.index.gpu is not None
    assert definition.index.gpu.type in ("GPU_CAGRA", "GPU_IVF_FLAT")
    assert any(field.index for field in definition.fields.values())
    assert name in bundled()


def test_bundled_fields() -> None:
    assert list(Definition.load("photos").fields) == ["album", "tags", "taken_at"]
    assert list(Definition.load("products").fields) == ["category", "brand", "price", "stock"]
    assert Definition.load("products").partition_key == "category"
    assert list(Definition.load("faces").fields) == ["identity"]


@pytest.mark.parametrize(
    "text",
    ["about: 2024-02-30", f"num_shards: {'9' * 5000}", "about: !!binary é", "about: !!timestamp x"],
)
def test_a_value_that_yaml_cannot_make_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(DefinitionError, match=r"things\.yaml:2: ") as caught:
        load(tmp_path, f"{MINIMAL}{text}\n")
    assert caught.value.line == 2


def test_aliases_that_stand_for_millions_of_values_are_refused_at_once(tmp_path: Path) -> None:
    names = "abcdefgh"
    lines = ["a: &a [x, x, x, x, x, x, x, x]"]
    lines += [f"{here}: &{here} [{', '.join([f'*{before}'] * 8)}]" for before, here in pairwise(names)]
    with pytest.raises(DefinitionError, match="aliases"):
        load(tmp_path, MINIMAL + "\n".join(lines))


def test_a_default_is_kept_as_it_will_be_stored(tmp_path: Path) -> None:
    """Whatever it was given as: the description, which is JSON, reads back equal."""
    text = MINIMAL + "fields:\n  taken_at: {type: INT64, format: unix_ms, default: 2024-06-01}\n"
    assert load(tmp_path, text).fields["taken_at"].default == 1_717_200_000_000
    fields = {
        "n": {"type": "INT64", "default": np.int64(5)},
        "share": {"type": "FLOAT", "default": 0.1},
        "ok": {"type": "BOOL", "default": "yes"},
        "tags": {"type": "ARRAY", "element_type": "VARCHAR", "default": ("a", "b")},
        "exif": {"type": "JSON", "default": {"a": float("nan"), "b": [1]}},
    }
    definition = Definition.load({"encoder": {"model": "m"}, "fields": fields})
    assert {name: field.default for name, field in definition.fields.items()} == {
        "n": 5,
        "share": float(np.float32(0.1)),
        "ok": True,
        "tags": ["a", "b"],
        "exif": {"b": [1]},
    }
    binding = Binding("m", None, "0", None, "cls", 224, 8)
    assert description.read("c", description.write(definition, binding)) == description.Remembered(definition, binding)


@pytest.mark.parametrize(
    ("text", "where"),
    [('about: "\\ud800"', "about"), ('fields: {a: {type: BOOL, nullable: true, about: "\\udfff"}}', "fields.a.about")],
)
def test_a_text_that_is_not_unicode_is_refused_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(DefinitionError, match="is not Unicode text") as caught:
        load(tmp_path, f"{MINIMAL}{text}\n")
    assert (caught.value.where, caught.value.line) == (where, 2)


def test_an_empty_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"things\.yaml:2: '': unknown key"):
        load(tmp_path, MINIMAL + "'': 1\n")


@pytest.mark.parametrize(
    ("text", "where", "line", "problem"),
    [
        ("colour: red\n", "colour", 2, "unknown key (known: about, encoder, "),
        ("feilds: {}\n", "feilds", 2, "unknown key (did you mean 'fields'?)"),
        ("index:\n  cpu: {type: HNSW, parms: {}}\n", "index.cpu.parms", 3, "(did you mean 'params'?)"),
        (
            "vectors:\n t: {encoder: {model: m, projection: ''}}\n",
            "vectors.t.encoder.projection",
            3,
            "at least 1 character",
        ),
        ("views: {gird: 2}\n", "views.gird", 2, "(did you mean 'grid'?)"),
        ("fields:\n  a: {type: BOOL, defualt: true}\n", "fields.a.defualt", 3, "(did you mean 'default'?)"),
        ("vectors:\n  t: {encoder: {modle: m}}\n", "vectors.t.encoder.modle", 3, "(did you mean 'model'?)"),
        ("vector: {metric_type: cosine}\n", "vector.metric_type", 2, "must be 'COSINE', 'IP' or 'L2', not 'cosine'"),
        ("index:\n  cpu:\n    type: HNSW\n    params: {M: -5}\n", "index.cpu.params.M", 5, "from 2 to 2048"),
        ("index:\n  cpu: {type: HNSW, params: {nlist: 5}}\n", "index.cpu.params.nlist", 3, "not a build parameter"),
        ("index:\n  cpu: {type: HNSW, search: {nprobe: 5}}\n", "index.cpu.search.nprobe", 3, "not a search parameter"),
        ("index:\n  cpu: {type: HNWS}\n", "index.cpu.type", 3, "not an index type"),
        ("index:\n  cpu: {type: GPU_CAGRA}\n", "index.cpu.type", 3, "is a GPU index"),
        ("index:\n  gpu: {type: HNSW}\n", "index.gpu.type", 3, "is a CPU index"),
        (
            "index:\n  gpu: {type: GPU_CAGRA, params: {graph_degree: 256}}\n",
            "index.gpu.params.graph_degree",
            3,
            "must be at most intermediate_graph_degree",
        ),
        ("vector: {type: INT8_VECTOR}\nindex:\n  cpu: {type: IVF_FLAT}\n", "index.cpu.type", 4, "not INT8_VECTOR"),
        ("vector: {metric_type: HAMMING}\n", "vector.metric_type", 2, "COSINE"),
        ("fields:\n  uri: {type: VARCHAR, default: ''}\n", "fields.uri", 3, "is reserved"),
        ("fields:\n  Uri: {type: VARCHAR, default: ''}\n", "fields.Uri", 3, "is reserved"),
        ("fields:\n  IN: {type: VARCHAR, default: ''}\n", "fields.IN", 3, "a reserved word in Milvus"),
        ("fields:\n  in: {type: VARCHAR, default: ''}\n", "fields.in", 3, "a reserved word in Milvus"),
        ("fields:\n  a-b: {type: VARCHAR, default: ''}\n", "fields.a-b", 3, "a letter or _"),
        ("fields:\n  price: {type: MONEY, default: 0}\n", "fields.price.type", 3, "'INT8'"),
        ("fields:\n  price: {type: INT8, default: 300}\n", "fields.price.default", 3, "does not fit INT8"),
        ("fields:\n  price: {type: INT8}\n", "fields.price", 3, "required: true"),
        ("fields:\n  price: {type: INT8, required: true, default: 1}\n", "fields.price", 3, "cannot have a default"),
        ("fields:\n  tags: {type: ARRAY, default: []}\n", "fields.tags", 3, "element_type"),
        ("fields:\n  n: {type: INT8, default: 0, max_length: 5}\n", "fields.n", 3, "max_length is only for"),
        ("fields:\n  n: {type: DOUBLE, default: 0, index: Trie}\n", "fields.n", 3, "index Trie takes VARCHAR"),
        ("fields:\n  n: {type: DOUBLE, default: 0, index: BTREE}\n", "fields.n", 3, "not one of AUTO"),
        ("fields:\n  n: {type: DOUBLE, default: 0, max_length: '7'}\n", "fields.n.max_length", 3, "valid integer"),
        ("partition_key: nobody\n", "partition_key", 2, "declared VARCHAR or INT64"),
        ("num_partitions: 4\n", "num_partitions", 2, "needs a partition_key"),
        ("consistency_level: Eventual\n", "consistency_level", 2, "Eventually"),
    ],
)
def test_mistakes_are_refused_with_their_place(tmp_path: Path, text: str, where: str, line: int, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load(tmp_path, MINIMAL + text)
    assert caught.value.where == where
    assert caught.value.line == line
    assert problem in str(caught.value)
    assert f"things.yaml:{line}: {where}: " in str(caught.value)


def test_every_mistake_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r":2: first: unknown key \(.*\); also line 3: second: unknown key"):
        load(tmp_path, MINIMAL + "first: 1\nsecond: 2\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("encoder: [", "is not YAML"),
        ("encoder: {model: a, model: b}", "encoder.model: given twice"),
        ("- a\n- b\n", "must be a mapping"),
        ("about: x\n", "encoder: is missing"),
    ],
)
def test_files_that_are_no_definition(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        load(tmp_path, text)


def test_a_name_that_is_neither_file_nor_bundled_says_what_there_is() -> None:
    with pytest.raises(DefinitionError, match=r"bundled: faces, photos, products"):
        Definition.load("fotos")


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"about: \xff\n")
    with pytest.raises(DefinitionError, match="cannot be read"):
        Definition.load(tmp_path / "x.yaml")


def test_a_definition_survives_being_written_down(tmp_path: Path) -> None:
    for name in bundled():
        definition = Definition.load(name)
        assert Definition.load(definition.model_dump(exclude_defaults=True)) == definition


def definition(**fields: Any) -> Definition:
    return Definition.load({"encoder": {"model": "m"}, "fields": fields})


@pytest.mark.parametrize(
    ("declared", "given", "stored"),
    [
        ({"type": "INT64"}, "12", 12),
        ({"type": "INT64"}, 12.0, 12),
        ({"type": "DOUBLE"}, "1.5", 1.5),
        ({"type": "BOOL"}, "yes", True),
        ({"type": "BOOL"}, False, False),
        ({"type": "VARCHAR"}, "é", "é"),
        ({"type": "ARRAY", "element_type": "VARCHAR"}, "a; b;", ["a", "b"]),
        ({"type": "ARRAY", "element_type": "INT8"}, "[1, 2]", [1, 2]),
        ({"type": "ARRAY", "element_type": "INT8"}, " \n[1, 2] ", [1, 2]),
        ({"type": "JSON"}, '{"a": [1]}', {"a": [1]}),
        ({"type": "INT64", "format": "unix_ms"}, "1970-01-02", 86_400_000),
        ({"type": "INT64", "format": "unix_ms"}, "1970-01-01T01:00:00+01:00", 0),
        ({"type": "INT64", "format": "unix_ms"}, "1717200000000", 1_717_200_000_000),
    ],
)
def test_metadata_becomes_its_type(declared: dict[str, Any], given: Any, stored: Any) -> None:
    assert definition(x={**declared, "required": True}).row_fields({"x": given}) == {"x": stored}


@pytest.mark.parametrize(
    ("declared", "given", "problem"),
    [
        ({"type": "INT8"}, "128", "does not fit INT8"),
        ({"type": "INT8"}, "1.5", "not an integer"),
        ({"type": "INT8"}, True, "does not fit INT8"),
        ({"type": "DOUBLE"}, "inf", "not a finite"),
        ({"type": "FLOAT"}, 1e39, "not a finite FLOAT"),
        ({"type": "DOUBLE"}, "many", "not a number"),
        ({"type": "BOOL"}, "perhaps", "neither true nor false"),
        ({"type": "VARCHAR", "max_length": 3}, "ééé", "6 bytes long in UTF-8"),
        ({"type": "VARCHAR"}, 7.5, "not text"),
        ({"type": "VARCHAR"}, "\ud800", "not Unicode"),
        ({"type": "ARRAY", "element_type": "INT8", "max_capacity": 1}, [1, 2], "2 items"),
        ({"type": "ARRAY", "element_type": "INT8"}, [1, "x"], r"x\[1\] = 'x'"),
        ({"type": "ARRAY", "element_type": "INT8"}, 3, "not a list"),
        ({"type": "ARRAY", "element_type": "INT8"}, "[1", "not a JSON list"),
        ({"type": "ARRAY", "element_type": "INT8"}, "[" * 100_000, "not a JSON list"),
        ({"type": "JSON"}, '{"a":' * 100_000, "not JSON"),
        ({"type": "JSON"}, "text", "not JSON"),
        ({"type": "JSON"}, '"text"', "not a JSON object"),
        ({"type": "JSON"}, {"a": float("inf")}, r"x\.a = inf is not a finite number"),
        ({"type": "JSON"}, {"a": "x" * 70_000}, "bytes of JSON"),
        ({"type": "INT64", "format": "unix_ms"}, "yesterday", "is not a date: write a date such as 2024-06-01"),
    ],
)
def test_metadata_that_does_not_fit(declared: dict[str, Any], given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        definition(x={**declared, "required": True}).row_fields({"x": given})


def test_absent_metadata() -> None:
    d = definition(
        a={"type": "VARCHAR", "default": "none"}, b={"type": "INT8", "nullable": True}, c={"type": "INT8", "default": 3}
    )
    assert d.row_fields({}) == {"a": "none", "b": None, "c": 3}
    assert d.row_fields({"a": "", "b": "", "c": ""}) == {"a": "", "b": None, "c": 3}
    with pytest.raises(ValueError, match="a is missing"):
        definition(a={"type": "VARCHAR", "required": True}).row_fields({})


def test_undeclared_metadata() -> None:
    open_ = Definition.load({"encoder": {"model": "m"}})
    assert open_.row_fields({"note": "x", "n": 1, "nothing": None}) == {"note": "x", "n": 1}
    with pytest.raises(ValueError, match="is filled in by imgvec"):
        open_.row_fields({"uri": "x"})
    with pytest.raises(ValueError, match="is not a valid field name"):
        open_.row_fields({"a b": 1})
    closed = Definition.load({"encoder": {"model": "m"}, "dynamic": False})
    with pytest.raises(ValueError, match="dynamic: false"):
        closed.row_fields({"note": "x"})


def test_taken_at_comes_from_the_image_unless_the_metadata_says() -> None:
    photos = Definition.load("photos")
    assert photos.row_fields({}, taken_at=5)["taken_at"] == 5
    assert photos.row_fields({"taken_at": "1970-01-02"}, taken_at=5)["taken_at"] == 86_400_000
    assert photos.row_fields({})["taken_at"] == 0


CAPTION = {"type": "VARCHAR", "max_length": 12, "default": "", "bm25": True}


def captioned(*parts: str) -> Definition:
    field = {**CAPTION, "from_image": list(parts) if len(parts) > 1 else parts[0]}
    return Definition.load({"encoder": {"model": "m"}, "fields": {"caption": field}})


def test_a_text_comes_from_the_image_unless_the_metadata_says() -> None:
    both = captioned("caption", "file_name")
    assert both.row_fields({}, caption="said", file_name="named") == {"caption": "said"}
    assert both.row_fields({}, file_name="named") == {"caption": "named"}
    assert both.row_fields({}, taken_at=5) == {"caption": ""}
    assert both.row_fields({"caption": "given"}, caption="said", file_name="named") == {"caption": "given"}
    assert both.row_fields({"caption": ""}, caption="said") == {"caption": ""}  # told to be empty
    assert both.row_fields({}, caption="said", only_given=True) == {}
    turned = captioned("file_name", "caption")
    assert turned.row_fields({}, caption="said", file_name="named") == {"caption": "named"}
    assert captioned("caption").row_fields({}, file_name="named") == {"caption": ""}


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("exactly 12 b", "exactly 12 b"),
        ("a red dress, silk", "a red dress,"),
        ("a red dressing gown", "a red"),
        ("sea; la mer été", "sea; la mer"),
        ("incomprehensibilities", "incomprehens"),
        ("ééééééé", "éééééé"),
        ("aéééééé", "aééééé"),
    ],
)
def test_a_text_of_an_image_is_cut_where_one_of_metadata_is_refused(text: str, cut: str) -> None:
    assert captioned("caption").row_fields({}, caption=text) == {"caption": cut}
    if cut != text:
        with pytest.raises(ValueError, match="allows at most 12"):
            captioned("caption").row_fields({"caption": text})


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"from_image": "exif"}, "'exif' is not one of taken_at, caption, file_name"),
        ({"from_image": ["caption", "exif"]}, "'exif' is not one of taken_at, caption, file_name"),
        ({"from_image": []}, r"must be one or several of taken_at, caption, file_name, not \[\]"),
        ({"from_image": 5}, "must be one or several of"),
        ({"from_image": [5]}, "5 is not one of"),
        ({"from_image": [None]}, "None is not one of"),
        ({"from_image": [["caption"]]}, "is not one of"),
        ({"from_image": "taken_at"}, "from_image: taken_at is only for a field of type INT64"),
        ({"from_image": ["caption", "taken_at"]}, "from_image: taken_at is only for a field of type INT64"),
        ({"type": "JSON", "max_length": None, "bm25": False, "default": {}, "from_image": "caption"},
         "from_image: caption is only for a field of type VARCHAR"),
    ],
)  # fmt: skip
def test_what_no_image_can_fill(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        Definition.load({"encoder": {"model": "m"}, "fields": {"caption": {**CAPTION, **declared}}})


def test_views(tmp_path: Path) -> None:
    assert Definition.load("photos").views is None
    for text, grid, most in (("2", (2,), 5), ("[2]", (2,), 5), ("[3, 2]", (2, 3), 14), ("[2, 3, 10]", (2, 3, 10), 114)):
        views = load(tmp_path, MINIMAL + f"views: {{grid: {text}}}\n").views
        assert views is not None
        assert (views.grid, views.most) == (grid, most)


@pytest.mark.parametrize("grid", ["1", "11", "0", "[]", "[2, 2]", "[2, two]", "2.0", "true", "{}", "null"])
def test_a_grid_that_cannot_be(tmp_path: Path, grid: str) -> None:
    with pytest.raises(DefinitionError, match="is not a number from 2 to 10, or a list of different ones") as caught:
        load(tmp_path, MINIMAL + f"views:\n  grid: {grid}\n")
    assert (caught.value.where, caught.value.line) == ("views.grid", 3)


def test_regions(tmp_path: Path) -> None:
    views = load(tmp_path, MINIMAL + "views: {regions: 13}\n").views
    assert views is not None
    assert (views.regions, views.most, views.passes) == (13, 14, 15)
    remembered = Definition.load({"encoder": {"model": "m"}, "views": {"grid": [2, 3]}}).views
    assert remembered is not None
    assert (remembered.most, remembered.passes) == (14, 14)
    for wrong in ("0", "65", "[3]", "2.0", "true"):
        with pytest.raises(DefinitionError) as caught:
            load(tmp_path, MINIMAL + f"views: {{regions: {wrong}}}\n")
        assert caught.value.where == "views.regions"
    for wrong in ("{}", "{regions: 3, grid: 2}", "{regions: 3, faces: 2}"):
        with pytest.raises(DefinitionError, match="either regions, grid or faces"):
            load(tmp_path, MINIMAL + f"views: {wrong}\n")


def test_views_are_remembered() -> None:
    definition = Definition.load({"encoder": {"model": "m"}, "views": {"grid": [3, 2]}})
    text = description.write(definition, Binding("m", None, "0" * 32, None, "cls", 32, 8))
    remembered = description.read("x", text).definition
    assert remembered.views == definition.views
    assert description.is_made_from(remembered, definition)
    assert not description.is_made_from(remembered, Definition.load({"encoder": {"model": "m"}}))
