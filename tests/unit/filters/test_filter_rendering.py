"""The exact expression for each condition. That the expressions mean this is for the integration tests."""

from __future__ import annotations

import functools
import operator
import time
from typing import Any

import pytest

from imgvec.errors import FilterError
from imgvec.filters import FieldType, Filter, Raw, dynamic, field, render

FIELDS = {
    "id": FieldType("VARCHAR", max_length=64),
    "width": FieldType("INT32"),
    "tiny": FieldType("INT8"),
    "middling": FieldType("INT16"),
    "taken": FieldType("INT64"),
    "score": FieldType("FLOAT"),
    "ratio": FieldType("DOUBLE"),
    "ok": FieldType("BOOL"),
    "tags": FieldType("ARRAY", element="VARCHAR"),
    "nums": FieldType("ARRAY", element="INT8"),
    "ratios": FieldType("ARRAY", element="DOUBLE"),
    "meta": FieldType("JSON"),
    "album": FieldType("VARCHAR", nullable=True),
    "faces": FieldType("ARRAY", element="INT64", nullable=True),
    "exif": FieldType("JSON", nullable=True),
}
FACE_1 = "array_contains_any(faces, [1])"
NUMBER = '(meta["k"] < 0 or meta["k"] >= 0)'
TRUTH = '(meta["k"] == true or meta["k"] == false)'
KEY = field("meta")["k"]


def rendered(where: Filter | str | None) -> str:
    return render(where, FIELDS, dynamic=True)


@pytest.mark.parametrize(
    ("where", "expression", "negation"),
    [
        (field("id") == "x", 'id == "x"', 'id != "x"'),
        (field("id") != "x", 'id != "x"', 'id == "x"'),
        (field("width") < 5, "width < 5", "width >= 5"),
        (field("width") <= 5, "width <= 5", "width > 5"),
        (field("width") > -5, "width > -5", "width <= -5"),
        (field("width") >= 5, "width >= 5", "width < 5"),
        (field("ok") == True, "ok == true", "ok != true"),  # noqa: E712
        (field("ok") != False, "ok != false", "ok == false"),  # noqa: E712
        (field("ratio") == 2, "ratio == 2.0", "ratio != 2.0"),
        (field("ratio") > 1e300, "ratio > 1e+300", "ratio <= 1e+300"),
        (field("score") > 0.1, "score > 0.10000000149011612", "score <= 0.10000000149011612"),
        (field("taken") == 2**63 - 1, "taken == 9223372036854775807", "taken != 9223372036854775807"),
        (field("width").in_([1, 2]), "width in [1, 2]", "width not in [1, 2]"),
        (field("id").in_(['"', "\\"]), r'id in ["\"", "\\"]', r'id not in ["\"", "\\"]'),
        (field("ok").in_([True, False]), "ok in [true, false]", "ok not in [true, false]"),
        (field("ratio").in_([0]), "ratio in [0.0, -0.0]", "ratio not in [0.0, -0.0]"),
        (field("width").between(1, 2), "width >= 1 and width <= 2", "width < 1 or width > 2"),
        (field("id").has_prefix("ab"), '(id like "ab%")', 'not (id like "ab%")'),
        (field("id").has_prefix(""), '(id like "%")', 'not (id like "%")'),
        (field("id").has_prefix("a%"), '(id >= "a%" and id < "a&")', 'not (id >= "a%" and id < "a&")'),
        (field("id").has_prefix("_"), '(id >= "_" and id < "`")', 'not (id >= "_" and id < "`")'),
        (field("id").has_prefix("\\"), r'(id >= "\\" and id < "]")', r'not (id >= "\\" and id < "]")'),
        (field("id").has_prefix("\0"), '(id >= "\0" and id < "\x01")', None),
        (field("id").has_prefix("%\ud7ff"), '(id >= "%\ud7ff" and id < "%\ue000")', None),
        (field("id").has_prefix("%\U0010ffff"), '(id >= "%\U0010ffff" and id < "&")', None),
        (field("id").is_null(), "id in []", ""),
        (field("width").in_([]), "id in []", ""),
        (field("tags").contains("x"), 'array_contains_any(tags, ["x"])', 'not array_contains_any(tags, ["x"])'),
        (field("tags").contains_any(["x", "y"]), 'array_contains_any(tags, ["x", "y"])', None),
        (field("tags").contains_all(["x", "y"]), 'array_contains_all(tags, ["x", "y"])', None),
        (field("tags").contains_any([]), "id in []", ""),
        (field("tags").contains_all([]), "", "id in []"),
        (field("nums").contains(-128), "array_contains_any(nums, [-128])", "not array_contains_any(nums, [-128])"),
        (field("ratios").contains(1), "array_contains_any(ratios, [1.0])", None),
        (field("nums")[0] == 5, "nums[0] == 5", "((nums[0] < 0 or nums[0] >= 0) and nums[0] != 5)"),
        (field("ratios")[0] < 5, "ratios[0] < 5.0", "ratios[0] >= 5.0"),
        (field("tags")[1].has_prefix("a"), '(tags[1] like "a%")', '(tags[1] >= "" and not (tags[1] like "a%"))'),
        (KEY == "x", 'meta["k"] == "x"', '(meta["k"] >= "" and meta["k"] != "x")'),
        (KEY == 1, 'meta["k"] == 1', f'({NUMBER} and meta["k"] != 1)'),
        (KEY == 1.5, 'meta["k"] == 1.5', f'({NUMBER} and meta["k"] != 1.5)'),
        (KEY == True, 'meta["k"] == true', f'({TRUTH} and meta["k"] != true)'),  # noqa: E712
        (KEY < 1, 'meta["k"] < 1', 'meta["k"] >= 1'),
        (
            KEY.in_([1, 2]),
            '(meta["k"] == 1 or meta["k"] == 2)',
            f'({NUMBER} and not (meta["k"] == 1 or meta["k"] == 2))',
        ),
        (
            KEY.in_([1, "x"]),
            '(meta["k"] == 1 or meta["k"] == "x")',
            f'(({NUMBER} or meta["k"] >= "") and not (meta["k"] == 1 or meta["k"] == "x"))',
        ),
        (KEY.is_null(), 'not (exists meta["k"])', '(exists meta["k"])'),
        (KEY.contains(1), 'json_contains_any(meta["k"], [1.0])', 'not json_contains_any(meta["k"], [1.0])'),
        (KEY.contains_all(["x", True]), 'json_contains_all(meta["k"], ["x", true])', None),
        (KEY.contains(2**53 + 1), 'json_contains_any(meta["k"], [9007199254740993])', None),
        (field("meta")['a"b']["\n"][3] < 1, r'meta["a\"b"]["\n"][3] < 1', None),
        (dynamic("colour") == "red", 'colour == "red"', '(colour >= "" and colour != "red")'),
        (dynamic("a b") == 1, '$meta["a b"] == 1', None),
        (dynamic("in") == 1, '$meta["in"] == 1', None),
        (dynamic("ISO") == 1, '$meta["ISO"] == 1', None),
        (dynamic("array_length") == 1, '$meta["array_length"] == 1', None),
        (dynamic("é") == 1, '$meta["é"] == 1', None),
        (dynamic('"]') == 1, r'$meta["\"]"] == 1', None),
        (dynamic("a")["b"][0] == 1, 'a["b"][0] == 1', None),
        (dynamic("labels").contains("x"), 'json_contains_any(labels, ["x"])', 'not json_contains_any(labels, ["x"])'),
        (field("album").is_null(), "album is null", "album is not null"),
        (field("exif").is_null(), "exif is null", "exif is not null"),
        (field("album") == "x", 'album == "x"', '(album is not null and album != "x")'),
        (field("album").in_(["x"]), 'album in ["x"]', '(album is not null and album not in ["x"])'),
        (field("album").has_prefix("x"), '(album like "x%")', '(album is not null and not (album like "x%"))'),
        (field("faces").contains(1), FACE_1, f"(faces is null or not {FACE_1})"),
        (Raw("width > 1"), "width > 1", "not (width > 1)"),
    ],
    ids=repr,
)
def test_each_condition_and_its_negation(where: Filter, expression: str, negation: str | None) -> None:
    assert rendered(where) == expression
    if negation is not None:
        assert rendered(~where) == negation
        assert rendered(~~where) == expression


A, B, C = field("width") == 1, field("ok") == True, field("id") == "c"  # noqa: E712
NONE, EVERY = field("id").in_([]), field("id").not_in([])


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        (None, ""),
        (A & B & C, 'width == 1 and ok == true and id == "c"'),
        (A | B | C, 'width == 1 or ok == true or id == "c"'),
        ((A | B) & C, '(width == 1 or ok == true) and id == "c"'),
        ((A & B) | C, '(width == 1 and ok == true) or id == "c"'),
        (~(A & B) & C, '(width != 1 or ok != true) and id == "c"'),
        (~((A | B) & ~C), '(width != 1 and ok != true) or id == "c"'),
        (Raw("width > 1 or width < 0") & C, '(width > 1 or width < 0) and id == "c"'),
        (~Raw("width > 1 or width < 0") | C, '(not (width > 1 or width < 0)) or id == "c"'),
        (A & NONE, "id in []"),
        (A & EVERY, "width == 1"),
        (A | NONE, "width == 1"),
        (A | EVERY, ""),
        (~(A | EVERY), "id in []"),
        ((A | EVERY) & C, 'id == "c"'),
        (EVERY & EVERY, ""),
    ],
)
def test_combinations(where: Filter | None, expression: str) -> None:
    assert rendered(where) == expression


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", '"plain"'),
        ('"', r'"\""'),
        ("'", '"\'"'),
        ("\\", r'"\\"'),
        ('\\"', r'"\\\""'),
        ("\n\r\t", r'"\n\r\t"'),
        ("\\n", r'"\\n"'),
        ("\0\x7f\u2028é\U0001f600", '"\0\x7f\u2028é\U0001f600"'),
        ('" or id != "', r'"\" or id != \""'),
    ],
)
def test_text_literals(text: str, literal: str) -> None:
    assert rendered(field("id") == text) == f"id == {literal}"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            field("widht") == 1,
            r"no field 'widht', did you mean 'width'\? \(fields: id, width, .*\); .* dynamic\('widht'\)",
        ),
        (field("zzz") == 1, r"no field 'zzz' \(fields"),
        (field("id") == 1, "holds VARCHAR, which cannot be compared with 1 .int"),
        (field("width") == "1", "holds INT32, which cannot be compared with '1' .str"),
        (field("width") == 1.0, "holds INT32, which cannot be compared with 1.0 .float"),
        (field("width") == True, "holds INT32, which cannot be compared with True .bool"),  # noqa: E712
        (field("ok") == 1, "holds BOOL, which cannot be compared with 1 .int"),
        (field("ratio") == True, "holds DOUBLE, which cannot be compared with True"),  # noqa: E712
        (field("ok") < True, "booleans have no order"),
        (field("meta")["k"] >= False, "booleans have no order"),
        (field("tiny") == 128, "128 is outside -128 to 127"),
        (field("tiny") == -129, "-129 is outside"),
        (field("middling") == 2**15, "outside -32768 to 32767"),
        (field("width").in_([1, 2**31]), "2147483648 is outside"),
        (field("taken") == 2**63, "outside -9223372036854775807 to 9223372036854775807"),
        (field("taken") == -(2**63), "outside -9223372036854775807"),
        (field("meta")["k"] == 2**63, "outside -9223372036854775807"),
        (field("nums").contains(200), "200 is outside -128 to 127"),
        (field("ratio") == 10**400, "larger than DOUBLE can hold"),
        (field("score") == 1e39, "larger than FLOAT can hold"),
        (field("id") == "\ud800", "lone surrogate"),
        (field("id").has_prefix("\udfff"), "lone surrogate"),
        (dynamic("\ud800") == 1, "lone surrogate"),
        (field("tags") == "x", "use contains"),
        (field("tags").in_(["x"]), "use contains"),
        (field("tags").has_prefix("x"), "prefixes need text"),
        (field("width").has_prefix("x"), "prefixes need text"),
        (field("meta") == "x", r"name the key .* field\('meta'\)\['key'\]"),
        (field("meta").has_prefix("x"), "name the key"),
        (field("meta").contains("x"), "has no elements"),
        (field("width").contains(1), "has no elements"),
        (field("tags")[0].contains("x"), "has no elements"),
        (field("tags")[0].is_null(), "cannot tell"),
        (field("tags")["k"] == "x", "only JSON has keys"),
        (field("tags")[0][0] == "x", "only JSON has keys"),
        (field("width")[0] == 1, "only JSON has keys"),
        (dynamic("width") == 1, "'width' is a declared field"),
        (dynamic("") == 1, "cannot be a key"),
        (dynamic("a\0b") == 1, "cannot be a key"),
        (dynamic("a b").contains(1), "plain identifiers"),
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused(where: Filter, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        rendered(where)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7.0"), (-7, "-7.0"), (2**53, "9007199254740992.0"), (-(2**53), "-9007199254740992.0"),
        (2**53 + 1, "9007199254740993"), (-(2**53) - 1, "-9007199254740993"), (True, "true"), (0.5, "0.5"),
    ],
)  # fmt: skip
def test_numbers_among_a_json_list_s_elements(value: Any, text: str) -> None:
    # 1.0 finds 1 too; a whole number that no float is exactly finds itself alone
    where = field("meta")["k"].contains(value)
    assert rendered(where) == f'json_contains_any(meta["k"], [{text}])'


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (FieldType("INT64"), "INT64"), (FieldType("VARCHAR", max_length=64), "VARCHAR(64)"),
        (FieldType("ARRAY", "INT8", nullable=True), "ARRAY<INT8> or null"),
        (FieldType("JSON", nullable=True), "JSON or null"),
    ],
)  # fmt: skip
def test_types_in_words(type_: FieldType, text: str) -> None:
    assert str(type_) == text


def test_without_a_dynamic_field_there_are_no_dynamic_keys() -> None:
    with pytest.raises(FilterError, match=r"no field 'colour' \(fields: id\)$"):
        render(dynamic("colour") == "red", {"id": FieldType("VARCHAR")}, dynamic=False)
    with pytest.raises(FilterError, match=r"no field 'colour' \(fields: id\)$"):
        render(field("colour") == "red", {"id": FieldType("VARCHAR")}, dynamic=False)


def test_fields_that_no_expression_can_name_or_look_into() -> None:
    with pytest.raises(FilterError, match="'a b' cannot be written"):
        render(field("a b") == 1, {"a b": FieldType("INT64")}, dynamic=False)
    with pytest.raises(FilterError, match="'iso' cannot be written"):
        render(field("iso") == 100, {"iso": FieldType("INT64")}, dynamic=False)
    with pytest.raises(FilterError, match="FLOAT_VECTOR, which filters cannot search"):
        render(field("vector") == 1, {"vector": FieldType("FLOAT_VECTOR")}, dynamic=False)


def test_no_row_needs_a_field_to_be_written_with() -> None:
    with pytest.raises(FilterError, match="VARCHAR or INT64"):
        render(field("ok").in_([]), {"ok": FieldType("BOOL")}, dynamic=False)


def test_nesting_is_bounded() -> None:
    def nested(levels: int, where: Filter = A) -> Filter:
        for level in range(levels):
            where = (where | B) if level % 2 else (where & C)
        return where

    assert rendered(nested(63)).count("(") == 62
    with pytest.raises(FilterError, match="more than 64"):
        rendered(nested(64))
    with pytest.raises(FilterError, match="more than 64"):
        rendered(nested(900))
    with pytest.raises(FilterError, match="nested too deeply"):
        rendered(nested(40, Raw("(" * 40 + "width == 1" + ")" * 40)))


def test_long_chains_become_trees_of_short_ones() -> None:
    where = functools.reduce(operator.or_, [field("width") == n for n in range(2000)])
    expression = rendered(where)
    assert expression.count("width == ") == 2000
    longest = max(part.count(" or ") for part in expression.replace("(", ")").split(")"))
    assert longest < 32


@pytest.mark.alone
def test_twenty_thousand_values_take_no_time() -> None:
    began = time.perf_counter()
    expression = rendered(field("id").in_([f"{n:032x}" for n in range(20_000)]))
    assert expression.count('"') == 40_000
    assert time.perf_counter() - began < 2


def test_something_that_is_no_filter() -> None:
    with pytest.raises(TypeError, match="int is not a filter"):
        render(5, FIELDS, dynamic=True)  # type: ignore[arg-type]
