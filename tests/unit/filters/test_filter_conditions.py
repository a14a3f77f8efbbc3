"""What is solved, spelled out or refused, because not every backend reads it; that it is right is for the backends."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgvec.errors import FilterError, UnsupportedByBackend
from imgvec.filters import Dialect, FieldType, Filter, dynamic, field, render
from imgvec.filters.arithmetic import solved
from imgvec.filters.expressions import Step
from imgvec.milvus.capabilities import capabilities

FIELDS = {
    "id": FieldType("VARCHAR"),
    "small": FieldType("INT8"),
    "width": FieldType("INT32"),
    "n": FieldType("INT64"),
    "maybe": FieldType("INT64", nullable=True),
    "score": FieldType("FLOAT"),
    "ratio": FieldType("DOUBLE"),
    "ok": FieldType("BOOL"),
    "taken_at": FieldType("INT64", format="unix_ms", unknown=0),
    "seen_at": FieldType("INT64", format="unix_ms", nullable=True),
    "tags": FieldType("ARRAY", element="VARCHAR"),
    "nums": FieldType("ARRAY", element="INT64"),
    "faces": FieldType("ARRAY", element="INT64", nullable=True),
    "meta": FieldType("JSON"),
}
LITE, OLD, NEW = (capabilities(version).dialect for version in ("milvus_lite-3.2.2", "v2.3.5-lite", "v2.6.24"))
KEY = field("meta")["k"]
NUMBER = '(meta["k"] < 0 or meta["k"] >= 0)'


def rendered(where: Filter, dialect: Dialect = OLD) -> str:
    return render(where, FIELDS, dynamic=True, dialect=dialect)


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        (field("width") + 1 > 2, "width > 1"),
        (1 + field("width") > 2, "width > 1"),
        (field("width") - 1 <= 2, "width <= 3"),
        (10 - field("width") > 2, "width < 8"),
        (-field("width") > 2, "width < -2"),
        (field("width") * 2 < 7, "width < 4"),
        (field("width") * 2 <= 7, "width <= 3"),
        (field("width") * 2 > 7, "width > 3"),
        (field("width") * 2 >= 7, "width >= 4"),
        (field("width") * -2 >= 7, "width <= -4"),
        (field("width") * 2 == 8, "width == 4"),
        (field("width") * 2 == 7, "id in []"),
        (field("width") * 2 != 7, ""),
        (~(field("width") * 2 != 7), "id in []"),
        (field("width") * 0 == 0, ""),
        (field("width") * 0 > 0, "id in []"),
        (field("width") / 2 > 3, "width > 6"),
        (field("width") / 2 == 2.5, "width == 5"),
        (field("width") / -2 > 3, "width < -6"),
        ((field("width") * 2 + 1) / 3 < 5, "width < 7"),
        ((field("width") + 1).between(2, 4), "width >= 1 and width <= 3"),
        ((field("width") + 1).in_([2, 4]), "width == 1 or width == 3"),
        ((field("width") + 1).in_([]), "id in []"),
        ((field("width") + 1).not_in([]), ""),
        ((field("width") + 1).not_in([2]), "width != 1"),
        (field("n") + 1 > 2**63 + 1, "id in []"),
        (field("n") + 1 <= 2**70, ""),
        (field("n") - 1 < -(2**63), "n < -9223372036854775807"),
        (field("small") + 1 == 200, "id in []"),
        (field("small") * 2 > -300, ""),
        (field("maybe") * 2 != 7, "maybe is not null"),
        (field("maybe") + 1 != 2, "(maybe is not null and maybe != 1)"),
        (field("ratio") * 3 < 1, "ratio < 0.3333333333333333"),
        (field("ratio") + 1e308 < -1e308, "id in []"),
        (field("score") + 1 > 1.5, "score > 0.5"),
        (field("score") * 1e-30 < 1e30, ""),
        (KEY + 1 == 2, 'meta["k"] == 1'),
        (KEY * 2 == 3, 'meta["k"] == 1.5'),
        (KEY * 0 == 0, NUMBER),
        (KEY + 1 != 2, f'({NUMBER} and meta["k"] != 1)'),
        (field("nums")[0] + 1 == 2, "nums[0] == 1"),
        (field("tags").length() == 2, "array_length(tags) == 2"),
        (field("tags").length() != 2, "array_length(tags) != 2"),
        (field("tags").length() > 1, "(array_length(tags) != 0 and array_length(tags) != 1)"),
        (field("tags").length() >= 1, "(array_length(tags) != 0)"),
        (field("tags").length() < 2, "(array_length(tags) == 0 or array_length(tags) == 1)"),
        (~(field("tags").length() <= 0), "(array_length(tags) != 0)"),
        (field("tags").length() < 0, "id in []"),
        (field("tags").length() >= 0, ""),
        (field("tags").length() == -1, "id in []"),
        (field("tags").length() < 2**40, ""),
        (field("tags").length().in_([1, 2]), "array_length(tags) == 1 or array_length(tags) == 2"),
        (field("faces").length() == 0, "(faces is null or array_length(faces) == 0)"),
        (field("faces").length() == 1, "array_length(faces) == 1"),
        (KEY.length() == 1, 'array_length(meta["k"]) == 1'),
        (dynamic("a b").length() == 1, 'array_length($meta["a b"]) == 1'),
        (field("tags") == ["x"], 'array_length(tags) == 1 and tags[0] == "x"'),
        (field("nums") == [], "array_length(nums) == 0"),
        (field("width") > field("n"), "width > n"),
        (field("width") == field("n"), "width == n"),
        (~(field("width") > field("n")), "width <= n"),
        (field("maybe") != field("n"), "(maybe is not null and maybe != n)"),
        (field("ok") != field("ok"), "ok != ok"),
        (field("small") < field("score"), "small < score"),
        (field("width") < field("ratio"), "width < ratio"),
        (field("seen_at") > field("taken_at"), "(seen_at > taken_at and taken_at != 0)"),
        (field("width") % 3 == 0, "(width % 3 == 0)"),
        (field("width") % 3 == 2, "(width % 3 == 2 or width % 3 == -1)"),
        (field("width") % 3 != 2, "(width % 3 != 2 and width % 3 != -1)"),
        (field("width") % 3 == 3, "id in []"),
        ((field("width") % 3).not_in([5]), ""),
        ((field("width") % 3).in_([0, 1, 1]), "(width % 3 == 0 or width % 3 == 1 or width % 3 == -2)"),
    ],
    ids=repr,
)  # fmt: skip
def test_milvus_2_3(where: Filter, expression: str) -> None:
    assert rendered(where) == expression


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        (field("tags").length() > 1000, "array_length(tags) > 1000"),
        (field("tags").length() <= 1, "array_length(tags) <= 1"),
        (field("faces").length() < 2, "(faces is null or array_length(faces) < 2)"),
        (dynamic("labels").length() > 1, "array_length(labels) > 1"),
        (field("id").has_infix("a"), '(id like "%a%")'),
        (field("id").has_infix(""), '(id like "%")'),
        (field("id").has_suffix("a"), '(id like "%a" and not (id like "%a\\n"))'),
        (~field("id").has_infix("a"), 'not (id like "%a%")'),
        (~KEY.has_infix("a"), '(meta["k"] >= "" and not (meta["k"] like "%a%"))'),
    ],
    ids=repr,
)
def test_milvus_lite(where: Filter, expression: str) -> None:
    assert rendered(where, LITE) == expression


def test_newer_servers() -> None:
    assert rendered(field("id").has_suffix("a"), NEW) == '(id like "%a")'
    assert rendered(field("width") % 2 == 0, NEW) == "(width % 2 == 0)"
    assert NEW.functions >= {"text_match", "phrase_match", "st_dwithin"}
    assert not OLD.functions & {"text_match", "phrase_match", "st_dwithin", "random_sample"}


@pytest.mark.parametrize(
    ("dialect", "where", "message"),
    [
        (OLD, field("id").has_infix("a"), r"^Milvus 2\.3\.5 has no search within text or for its end: field\('id'\)"),
        (OLD, field("id").has_suffix("a"), "has no search within text"),
        (NEW, field("id").has_infix("%"), "has no search within text for %, _, a backslash or NUL"),
        (LITE, field("id").has_suffix("a_"), "has no search within text for %, _, a backslash or NUL"),
        (LITE, field("width") % 2 == 0, r"^Milvus Lite 3\.2\.2 has no remainders: field\('width'\) % 2"),
        (OLD, field("n") % 2 == 0, "has no exact remainders but of INT8, INT16, INT32: field\\('n'\\) is INT64"),
        (LITE, KEY.length() == 1, "has no lengths of lists within JSON"),
        (LITE, dynamic("a b").length() == 1, "has no lengths of lists within JSON"),
        (OLD, field("tags").length() > 256, r"has no order of lengths beyond 256: field\('tags'\)\.length\(\)"),
    ],
)
def test_what_a_backend_lacks_is_refused_by_name(dialect: Dialect, where: Filter, message: str) -> None:
    for each in (where, ~where):
        with pytest.raises(UnsupportedByBackend, match=message):
            rendered(each, dialect)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: field("id") + 1 > 2, "holds VARCHAR, but arithmetic needs numbers"),
        (lambda: field("ok") * 2 == 2, "holds BOOL, but arithmetic needs numbers"),
        (lambda: field("taken_at") + 1 > 2, "holds dates, but arithmetic needs numbers"),
        (lambda: field("tags") + 1 > 2, "holds a list"),
        (lambda: field("width") + "1" == 2, "arithmetic needs numbers, not '1'"),
        (lambda: field("width") + True == 2, "arithmetic needs numbers, not True"),
        (lambda: field("width") + 1 == "2", "arithmetic needs numbers, not '2'"),
        (lambda: field("width") + 1 == None, "cannot compare with None"),  # noqa: E711
        (lambda: field("width") / 0 == 2, "divided by zero"),
        (lambda: field("width") + float("inf") == 2, "inf cannot be used"),
        (lambda: field("width") + field("n") == 2, "with a value or with another field"),
        (lambda: field("width") % 0 == 0, "a modulus is positive"),
        (lambda: field("width") % 2.5 == 0, "a modulus is a whole number"),
        (lambda: field("width") % 2 == 0.5, "a remainder is a whole number"),
        (lambda: field("width") % 2 < 1, "remainders are compared by ==, !=, in_ and not_in"),
        (lambda: field("ratio") % 2 == 0, "holds DOUBLE, but remainders are of fields of whole numbers"),
        (lambda: field("small") % 128 == 0, "128 is outside -128 to 127"),
        (lambda: field("tags").length() == 1.5, "a length is a whole number"),
        (lambda: field("id").length() == 1, "holds VARCHAR, which has no elements: a length needs a list"),
        (lambda: field("meta").length() == 1, "holds JSON, which has no elements: a length needs a list"),
        (lambda: field("n") < field("ratio"), "hold INT64 and DOUBLE, which Milvus does not compare exactly"),
        (lambda: field("width") < field("score"), "hold INT32 and FLOAT, which Milvus does not compare exactly"),
        (lambda: field("id") == field("n"), "hold VARCHAR and INT64"),
        (lambda: field("taken_at") == field("n"), "hold dates and INT64"),
        (lambda: field("ok") < field("ok"), "booleans have no order"),
        (lambda: field("n") == KEY, "no keys or positions"),
        (lambda: field("n") == dynamic("x"), "no keys or positions"),
        (lambda: field("tags") == field("tags"), "holds a list"),
        (lambda: field("id").has_infix(5), "has_infix takes text, not 5"),
        (lambda: field("n").has_suffix("5"), "holds INT64, but a search within it needs text"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make: Callable[[], Filter], message: str) -> None:
    with pytest.raises(FilterError, match=message):
        rendered(make(), NEW)


_APPLIED: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@given(
    steps=st.lists(
        st.builds(Step, st.sampled_from("+-*/"), st.integers(-9, 9) | st.sampled_from([0.5, -1.25, 2**62])), max_size=3
    ),
    symbol=st.sampled_from(sorted(_COMPARED)),
    value=st.integers(-300, 300) | st.sampled_from([0.5, 2**63, -(2**70)]),
)
@settings(deadline=None)
def test_solved_comparisons_hold_for_the_same_whole_numbers(steps: list[Step], symbol: Any, value: float) -> None:
    steps = [step for step in steps if step.operator != "/" or step.number]
    bound = solved(steps, symbol, value, "INT8")
    for number in range(-128, 128):
        result = Fraction(number)
        for step in steps:
            result = _APPLIED[step.operator](result, Fraction(step.number))
        held = bound if isinstance(bound, bool) else _COMPARED[bound[0]](number, bound[1])
        assert held == _COMPARED[symbol](result, Fraction(value))
