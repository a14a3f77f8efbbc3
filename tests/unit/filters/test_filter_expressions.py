"""Building filters: what Python's operators make of fields, and what they refuse."""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from imgvec.errors import FilterError
from imgvec.filters import Field, Filter, Raw, dynamic, field

A, B, C = field("a") == 1, field("b") == 2, field("c") == 3


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (field("a") >= 800, "(field('a') >= 800)"),
        (field("m")["k"][0] != "x", "(field('m')['k'][0] != 'x')"),
        (dynamic("d").has_prefix("x"), "dynamic('d').has_prefix('x')"),
        (field("a").not_in([1, 2]), "~field('a').in_([1, 2])"),
        (field("a").is_not_null(), "~field('a').is_null()"),
        (field("t").contains("x"), "field('t').contains_any(['x'])"),
        (field("t").contains_all(["x", "y"]), "field('t').contains_all(['x', 'y'])"),
        (field("a").between(1, 2), "((field('a') >= 1) & (field('a') <= 2))"),
        (~(A & B) | Raw("c > 1"), "(~((field('a') == 1) & (field('b') == 2)) | Raw(text='c > 1'))"),
    ],
)
def test_repr_is_the_python_that_makes_it(where: Filter, text: str) -> None:
    assert repr(where) == text


def test_and_and_or_stay_flat_and_a_double_negation_goes() -> None:
    assert repr(A & B & C) == repr(A & (B & C)) == f"({A!r} & {B!r} & {C!r})"
    assert repr(A | B | C) == repr(A | (B | C)) == f"({A!r} | {B!r} | {C!r})"
    assert repr((A & B) | C) == f"(({A!r} & {B!r}) | {C!r})"
    assert ~~A is A


def test_filters_are_values() -> None:
    assert (field("a") == 1) in {A, B}
    assert (field("a") == 1) == A
    assert A != B
    assert hash(A & B) == hash(A & B)
    with pytest.raises(AttributeError):
        A.value = 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "act",
    [
        lambda: bool(A),
        lambda: A and B,
        lambda: A or B,
        lambda: not A,
        lambda: 1 < field("a") < 5,
        lambda: bool(field("a")),
    ],
)
def test_filters_have_no_truth_value(act: Any) -> None:
    with pytest.raises(TypeError, match=r"use & \| ~ .* and between\(\)"):
        act()


def test_fields_can_be_neither_hashed_nor_iterated_nor_searched() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(field("a"))
    with pytest.raises(TypeError, match="not iterable"):
        list(field("a"))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not a container"):
        assert "x" in field("tags")  # type: ignore[misc]


def test_a_filter_combines_with_filters_only() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        A & "b == 2"  # type: ignore[operator]
    with pytest.raises(TypeError, match="unsupported operand"):
        A | True  # type: ignore[operator]


class _Album(str, Enum):  # noqa: UP042 (a StrEnum prints as its value, this as its name)
    CATS = "cats"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.str_("x"), "x"),
        (_Album.CATS, "cats"),
        (Fraction(1, 2), 0.5),
        (True, True),
    ],
)
def test_values_are_kept_as_plain_python(given: object, kept: object) -> None:
    value = (field("a") == given).value  # type: ignore[attr-defined]
    assert value == kept
    assert type(value) is type(kept)
    assert field("a").in_([given]) == field("a").in_([kept])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: field("a") == None, "is_null"),  # noqa: E711
        (lambda: field("a") == float("nan"), "nan cannot be used in a comparison"),
        (lambda: field("a") < float("inf"), "inf cannot be used in a comparison"),
        (lambda: field("a") == b"x", "not bytes"),
        (lambda: field("a") == field("b") + 1, r"a value or with another field, not with \(field\('b'\) \+ 1\)"),
        (lambda: field("a") < [1], "not list"),
        (lambda: field("a") == [[1]], "not list"),
        (lambda: field("a") == {1: 2}, "not dict"),
        (lambda: field("a").in_("cats"), "give a list of values"),
        (lambda: field("a").in_(5), "give a list of values"),  # type: ignore[arg-type]
        (lambda: field("a").in_([None]), "is_null"),
        (lambda: field("a").contains_all("cats"), "give a list of values"),
        (lambda: field("a").has_prefix(1), "takes text"),  # type: ignore[arg-type]
        (lambda: field("a")[-1], "count from 0"),
        (lambda: field("a")[""], "must not be empty"),
        (lambda: field("a")["x\0"], "contain NUL"),
        (lambda: field("a")[True], "keys are strings"),
        (lambda: field("a")[1.5], "keys are strings"),  # type: ignore[index]
    ],
)
def test_values_and_keys_that_cannot_be_are_refused_at_once(act: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        act()


def test_the_field_is_named_in_the_refusal() -> None:
    with pytest.raises(FilterError, match=r"^field\('meta'\)\['k'\]: "):
        assert field("meta")["k"] == object()


def test_field_is_a_public_type() -> None:
    assert isinstance(field("a"), Field)
    assert isinstance(dynamic("a")["b"], Field)
