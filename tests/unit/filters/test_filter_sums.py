"""Sums in raw expressions: solved for the one place they compute with, else given the bits they need, or refused."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgvec.errors import FilterError, UnsupportedByBackend
from imgvec.filters import Dialect, FieldType, Raw, field, render

FIELDS = {
    "id": FieldType("VARCHAR"),
    "small": FieldType("INT8"),
    "width": FieldType("INT32"),
    "height": FieldType("INT32"),
    "n": FieldType("INT64"),
    "m": FieldType("INT64", nullable=True),
    "score": FieldType("FLOAT"),
    "share": FieldType("DOUBLE"),
    "nums": FieldType("ARRAY", element="INT64"),
    "meta": FieldType("JSON"),
    "taken_at": FieldType("INT64", format="unix_ms", unknown=0),
}
SERVER, LITE = Dialect("Milvus 1", sums=True), Dialect("Milvus Lite 1")


def rendered(text: str, dialect: Dialect = LITE) -> str:
    return render(text, FIELDS, dynamic=True, dialect=dialect)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("width + 1 > 5", "width > 4"),
        ("n + 1 < 0", "n < -1"),  # 2**63 - 1 is no negative number
        ("n * 2 == -2", "n == -1"),
        ("n - 2 == 9223372036854775807", "id in []"),
        ("n > 9223372036854775807 + 1", "id in []"),
        ("n < 9223372036854775807 + 1", "not (id in [])"),
        ("width / 2 == 3", "width == 6"),
        ("width / 2 == 3.5", "width == 7"),
        ("width + 1.5 == 8.5", "width == 7"),
        ("width + 0.25 == 8.5", "id in []"),
        ("(width + 1) * 2 - -3 <= 0x10", "width <= 5"),
        ("-width < 3", "width > -3"),
        ("3 -1 < width", "width > 2"),
        ("width > 2 * 320", "width > 640"),
        ("20 - width == 13", "width == 7"),
        ("5 < width + 1 < 9", "(width > 4 and width < 8)"),
        ("width == width * 2 - 4", "width == 4"),
        ("not width * 2 > 5", "not (width > 2)"),
        ('id == "a" and (width > 1 or (n - 3 < 2))', 'id == "a" and (width > 1 or (n < 5))'),
        ("score * 2 == 0.2", "score == 0.10000000149011612"),
        ("share / 2 < 0.25", "share < 0.5"),
        ("m + 1 != 5", "(m is not null and m != 4)"),
        ("m * 0 == 0", "m is not null"),
        ('meta["x"] + 1 > 4', 'meta["x"] > 3'),
        ('$meta["k"] * 2 == 15', "k == 7.5"),
        ("nums[0] + 1 > 4", "nums[0] > 3"),
        ("taken_at + 1000 > 1700000000000", "taken_at > 1699999999000"),
    ],
)
@pytest.mark.parametrize("dialect", [LITE, SERVER])
def test_a_sum_of_one_place_is_solved(text: str, expression: str, dialect: Dialect) -> None:
    assert rendered(text, dialect) == expression


@pytest.mark.parametrize(
    "text",
    [
        "width == -5 and 3 < width",
        "(width) > 5",
        'id == "1 + 1"',
        'id in ["a", "b"] and width in [1, -2]',
        'exists meta["x"] and width is not null',
        "array_length(nums) == 2",
    ],
)
def test_what_is_no_sum_stays(text: str) -> None:
    assert rendered(text) == text


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("width * height > 5", "(width + 0) * (height + 0) > 5"),
        ("height == width - 5", "height == (width + 0) - 5"),
        ("small * small + 1 > 3", "(small + 0) * (small + 0) + 1 > 3"),
        ("score * share > 1", "(score * 1.0) * share > 1"),
        ("n / m > 3", "n / m > 3"),
        ('meta["k"] + width > 3', 'meta["k"] + (width + 0) > 3'),
    ],
)
def test_a_sum_of_several_places_has_64_bits_where_the_backend_gives_it_fewer(text: str, expression: str) -> None:
    assert rendered(text) == expression
    assert rendered(text, SERVER) == text


@pytest.mark.parametrize(
    ("text", "sign", "column"),
    [
        ("n + m > 5", "+", 3),
        ("width > 1 and n - width > 5", "-", 17),
        ("width * width * width > 3", "*", 15),
        ('$meta["k"] + width > 3', "+", 12),
    ],
)
def test_what_may_need_more_than_64_bits_is_refused_with_the_column(text: str, sign: str, column: int) -> None:
    said = f"Milvus Lite 1 has no more than 64 bits for {sign} (column {column})"
    with pytest.raises(UnsupportedByBackend, match=re.escape(said)):
        rendered(text)
    assert rendered(text, SERVER) == text.replace('$meta["k"]', "k")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n / 0 == 1", "/ at column 3 divides by zero"),
        ("n / -0.0 == 1", "/ at column 3 divides by zero"),
        ("width > 1 and n / (1 - 1) in [2]", "/ at column 17 divides by zero"),
        ('meta["x"] / 0x0 > 1', "/ at column 11 divides by zero"),
        ("1 + 1 == 2", "the comparison at column 7 names no field: it is always true"),
        ("width > 1 or 2 * 2 > 5", "the comparison at column 20 names no field: it is always false"),
        ("width > 1 and id + 1 > 2", r"VARCHAR, but arithmetic needs numbers \(column 15\)"),
        ("nums + 1 > 2", r"holds a list: .* \(column 1\)"),
    ],
)
@pytest.mark.parametrize("dialect", [LITE, SERVER])
def test_what_cannot_be_computed_is_refused_with_the_column(text: str, message: str, dialect: Dialect) -> None:
    with pytest.raises(FilterError, match=message):
        rendered(text, dialect)


def test_a_sum_has_256_parts_at_most() -> None:
    assert rendered("width > " + " + ".join(["1"] * 256)) == "width > 256"
    for text in (" + ".join(["1"] * 257), "- " * 9999 + "1", "1 / (" + " * ".join(["2"] * 300) + ")"):
        with pytest.raises(FilterError, match="has more than 256 parts"):
            rendered(f"width > {text}")
    assert rendered(f"nums[{'1' * 9999}] + 1 > 3") == f"nums[{'1' * 9999}] + 1 > 3"


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("not (m * 2 == 9)", "not (not (m is not null))"),
        ("not m * 2 == 8", "not (not ((m is not null and m != 4)))"),
        ("not (m * 2 != 8)", "not (not (m == 4))"),
        ("not (m * 0 == 0)", "not (not (id in []))"),
        ("not (width > 1 and (m + 1 > 5 or m * 2 == 9))", "not (width > 1 and (not (m <= 4) or not (m is not null)))"),
        ("not not m * 2 == 8 and m * 2 != 10", "not not (m == 4) and (m is not null and m != 5)"),
        ("not (not (m * 2 == 8)) or m not in [1]", "not (not (m == 4)) or m not in [1]"),
        ('! (meta["x"] + 1 > 4)', '! (not (meta["x"] <= 3))'),
        ("not (nums[0] * 2 == 9)", "not (not ((nums[0] < 0 or nums[0] >= 0)))"),
        ("not (width * 2 == 9)", "not (id in [])"),
        ("not (1 < m + 1 < 5)", "not ((not (m <= 0) and not (m >= 4)))"),
        ("(width * 2 > 8) == true", "(width > 4) == true"),
    ],
)
def test_a_row_without_a_value_is_not_found_by_not_either(text: str, expression: str) -> None:
    assert rendered(text) == expression


def test_the_negation_of_a_raw_expression_finds_no_row_without_a_value() -> None:
    raw = Raw("m * 2 == 8 or width > 3")
    assert render(~raw, FIELDS, dynamic=True) == "not (not ((m is not null and m != 4)) or width > 3)"
    assert render(~Raw("not m * 2 == 8"), FIELDS, dynamic=True) == "not (not (m == 4))"


def test_the_comparisons_of_a_chain_of_places_stand_by_themselves() -> None:
    assert rendered('0 < meta["x"] <= meta["y"]') == '(0 < meta["x"] and meta["x"] <= meta["y"])'
    assert rendered("not -5 <= n < m < (3)") == "not (-5 <= n and n < m and m < (3))"
    assert rendered('1 < $meta["k"] < 010') == "(1 < k and k < 10)"
    assert rendered("1 < (n) < 3") == "(1 < n and n < 3)"
    assert rendered("(1) < n < 3") == "((1) < n and n < 3)"
    assert rendered("1 < n < 3 < m") == "(1 < n and n < 3 and 3 < m)"
    assert rendered("1 < n < 3") == "(n > 1 and n < 3)"
    assert rendered('meta["x"] == meta["y"] == meta["z"]') == 'meta["x"] == meta["y"] == meta["z"]'


@pytest.mark.parametrize("text", ["(m * 2 == 8) == ok", "ok != (m + 1 > 2 and width > 1)", "not (m * 2 > 8) == true"])
def test_no_truth_is_compared_of_a_sum_that_may_have_no_value(text: str) -> None:
    fields = {**FIELDS, "ok": FieldType("BOOL")}
    with pytest.raises(FilterError, match=r"field\('m'\) may have no value, .* \(column \d+\)"):
        render(text, fields, dynamic=True)


def test_a_remainder_by_zero_is_refused() -> None:
    with pytest.raises(FilterError, match="% at column 7 divides by zero"):
        rendered("width % 0 == 1", Dialect("Milvus 1", remainder=True))


def test_a_raw_sum_means_what_the_typed_one_means() -> None:
    for text, typed in (
        ("width * 2 + 1 < 8", field("width") * 2 + 1 < 8),
        ("(n - 3) / 7 >= 2.5", (field("n") - 3) / 7 >= 2.5),
        ("1 - share != 0.75", 1 - field("share") != 0.75),
    ):
        assert rendered(text) == render(typed, FIELDS, dynamic=True, dialect=LITE)


_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_ORDERS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NUMBERS = st.integers(-9, 9)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    steps=st.lists(st.tuples(st.sampled_from("+-*/"), _NUMBERS, st.booleans()), min_size=1, max_size=4),
    order=st.sampled_from(list(_ORDERS)),
    value=_NUMBERS,
)
def test_it_holds_for_the_same_numbers(steps: list[tuple[str, int, bool]], order: str, value: int) -> None:
    """For each number of the type, against exact fractions."""
    text, compute = "small", [Fraction]
    for sign, number, swapped in steps:
        if sign == "/" and (swapped or not number):
            continue
        text = f"({number} {sign} {text})" if swapped else f"({text} {sign} {number})"
        compute.append(_step(sign, number, swapped))
    text = f"{text} {order} {value}"
    found = rendered(text)
    for small in range(-128, 128):
        exact = small
        for step in compute:
            exact = step(exact)
        assert _holds(found, small) is _ORDERS[order](exact, value), (text, found, small)


def _step(sign: str, number: int, swapped: bool) -> Callable[[Any], Any]:
    apply = _OPERATORS[sign]
    return (lambda held: apply(Fraction(number), held)) if swapped else (lambda held: apply(held, Fraction(number)))


def _holds(expression: str, small: int) -> bool:
    if expression in ("id in []", "not (id in [])"):
        return expression.startswith("not")
    name, order, value = expression.split()
    assert name == "small"
    return bool(_ORDERS[order](small, int(value)))
