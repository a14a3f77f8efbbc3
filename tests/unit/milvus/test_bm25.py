"""Words: which definitions have them, where they are refused, and what Milvus's answers mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from imgvec.definition import Definition
from imgvec.errors import DefinitionError, QueryError, UnsupportedByBackend
from imgvec.filters import FieldType
from imgvec.milvus import schema
from imgvec.milvus.answers import Columns, words_found
from imgvec.milvus.bulk import BulkFolder
from imgvec.milvus.capabilities import capabilities
from imgvec.milvus.words import WordReader
from imgvec.rows import VECTOR
from imgvec.store import NearestOf
from imgvec.stored import Found, Nearest

CAPTION = {"type": "VARCHAR", "default": "", "bm25": True}
MATCHED = {"bm25": False, "match": True}
TEXTURE = {"texture": {"encoder": {"model": "fake"}}}


def definition(caption: dict[str, Any] | None = None, **more: Any) -> Definition:
    fields = {"caption": {**CAPTION, **(caption or {})}, **more.pop("fields", {})}
    return Definition.load({"encoder": {"model": "fake"}, "fields": fields, **more})


@pytest.mark.parametrize("version", ["v2.3.5", "v2.3.5-lite", "v2.4.24"])
def test_before_2_5_words_are_refused_by_name_before_anything_is_created(version: str) -> None:
    said = rf"Milvus {version.strip('v').partition('-')[0]} has no BM25, .*from 2.5: leave bm25 out of caption"
    with pytest.raises(UnsupportedByBackend, match=said):
        schema.check(definition(), capabilities(version))


@pytest.mark.parametrize("version", ["milvus_lite-3.2.2", "v2.5.0", "v2.6.24"])
def test_the_schema_has_a_function_that_keeps_the_words(version: str) -> None:
    plan = schema.plan(definition(), capabilities(version), dim=4, description="{}")
    [function] = plan.schema.functions
    assert (function.input_field_names, function.output_field_names) == (["caption"], ["caption_bm25"])
    assert {each.name: each.params.get("enable_analyzer") for each in plan.schema.fields}["caption"] is True
    assert [(each.field, each.metric_type) for each in plan.word_indexes] == [("caption_bm25", "BM25")]
    assert [each.field for each in plan.vector_indexes] == [VECTOR]


@pytest.mark.parametrize("version", ["v2.3.5", "v2.4.24"])
def test_before_2_5_text_that_is_searched_for_words_is_refused_by_name(version: str) -> None:
    said = r"has no search for words in text, which Milvus has from 2.5: leave match out of caption"
    with pytest.raises(UnsupportedByBackend, match=said):
        schema.check(definition(MATCHED), capabilities(version))


@pytest.mark.parametrize("version", ["milvus_lite-3.2.2", "v2.5.0", "v2.6.24"])
def test_text_that_is_searched_for_words_is_analyzed(version: str) -> None:
    plan = schema.plan(definition(MATCHED), capabilities(version), dim=4, description="{}")
    assert plan.schema.functions == []
    params = {each.name: each.params for each in plan.schema.fields}["caption"]
    assert (params["enable_analyzer"], params["enable_match"]) == (True, True)


def test_words_count_as_one_of_the_vector_fields_that_milvus_takes() -> None:
    more = {name: {"encoder": {"model": "fake"}} for name in ("a", "b", "c")}
    schema.check(definition(vectors={"a": more["a"], "b": more["b"]}), capabilities("v2.6.24"))
    with pytest.raises(UnsupportedByBackend, match=r"4 vector fields .* vector, a, b, c, caption_bm25"):
        schema.check(definition(vectors=more), capabilities("v2.6.24"))


@pytest.mark.parametrize(
    ("caption", "more", "problem"),
    [
        ({"type": "INT64", "default": 0}, {}, "bm25 is only for a VARCHAR"),
        ({"type": "INT64", "default": 0, **MATCHED}, {}, "match is only for a VARCHAR"),
        ({"default": None, "nullable": True}, {}, "not nullable: give it a default"),
        ({}, {"fields": {"caption_bm25": {"type": "INT64", "default": 0}}}, "kept in a field caption_bm25"),
        ({}, {"vectors": {"caption_bm25": TEXTURE["texture"]}}, "kept in a field caption_bm25"),
        (
            {},
            {
                "fields": {"shop": {"type": "VARCHAR", "required": True}},
                "partition_key": "shop",
                "partition_key_isolation": True,
            },
            "leave bm25 out of caption",
        ),
    ],
)
def test_definitions_that_cannot_be(caption: dict[str, Any], more: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        definition(caption, **more)


def test_metadata_does_not_fill_the_field_of_words() -> None:
    assert definition().row_fields({"caption": "a red dress"}) == {"caption": "a red dress"}
    with pytest.raises(ValueError, match="caption_bm25 is filled in by imgvec"):
        definition().row_fields({"caption_bm25": "a red dress"})
    assert definition().field_problem("caption_bm25") == "filled in by imgvec"


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_are_above_0_whatever_sign_the_backend_gives(sign: int) -> None:
    class Hits(list[Any]):
        ids = ("b", "a", "c")
        distances = (sign * 2.5, sign * 2.5, sign * 0.5)

    hits = Hits({"entity": {"id": id_}} for id_ in Hits.ids)
    found = words_found(hits, Columns([], _schema()))
    assert [(each.id, each.score, each.distance) for each in found] == [
        ("a", 2.5, sign * 2.5),
        ("b", 2.5, sign * 2.5),
        ("c", 0.5, sign * 0.5),
    ]


def _schema() -> Any:
    fields = {"id": FieldType("VARCHAR")}
    return SimpleNamespace(name="photos", vectors={}, fields=fields, dynamic=True, noted=False, words={"caption": "c"})


class Rows:
    """Of Milvus Lite, which ranks at most `most` rows; those with an even number match any filter."""

    def __init__(self, rows: int, most: int) -> None:
        self.rows, self.asked = rows, list[str]()
        self.capabilities = SimpleNamespace(max_limit=most)
        self.is_lite, self.schema, self.name, self.timeout = True, _schema(), "photos", 1.0

    def level(self, given: str | None) -> str | None:
        return given

    def reading(self, _method: str, **options: Any) -> list[Any]:
        self.asked.append(options["filter"])

        class Hits(list[Any]):
            ids = tuple(f"r{i:02}" for i in range(min(self.rows, options["limit"])))
            distances = tuple(-1.0 / (1 + i) for i in range(len(ids)))

        return [Hits({"entity": {"id": id_}} for id_ in Hits.ids)]

    def whole(self, ask: Any, _limit: int) -> list[Nearest]:
        return [Nearest(each) for each in ask()]

    def query(self, expression: str, *_: Any, **__: Any) -> list[dict[str, str]]:
        assert expression.startswith("(album == 'sea') and id in [")
        return [{"id": f"r{i:02}"} for i in range(0, self.rows, 2) if f'"r{i:02}"' in expression]

    def get(self, ids: list[str], **_: Any) -> dict[str, dict[str, str]]:
        return {id_: {"id": id_} for id_ in ids}


def search(rows: Rows, limit: int) -> list[Found]:
    asked: NearestOf = {"limit": limit, "filter": "album == 'sea'"}
    [found] = WordReader(rows, rows).search(["red"], "caption", asked)  # type: ignore[arg-type]
    return found


def test_on_milvus_lite_a_filter_keeps_of_all_rows_with_the_words_those_that_match() -> None:
    rows = Rows(9, most=20)
    assert [(each.id, each.score) for each in search(rows, 3)] == [("r00", 1.0), ("r02", 1 / 3), ("r04", 1 / 5)]
    assert len(search(rows, 20)) == 5
    assert rows.asked == ["", ""]  # never with the filter, which would change the scores


def test_more_rows_than_milvus_lite_ranks_are_refused_where_too_few_of_them_match() -> None:
    assert [each.id for each in search(Rows(50, most=20), 10)][-1] == "r18"
    with pytest.raises(QueryError, match=r"ranks 20 rows by words, .* of those ranked 10 match the filter"):
        search(Rows(50, most=20), 11)


def test_a_folder_of_bulk_files_is_refused(tmp_path: Any) -> None:
    store = SimpleNamespace(vectors={}, words=frozenset({"caption"}), name="photos")
    with pytest.raises(UnsupportedByBackend, match="hold no words for BM25"):
        BulkFolder(tmp_path, store)  # type: ignore[arg-type]
