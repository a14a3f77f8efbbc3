"""What filters must find, in plain Python and without the code that renders them.

A strategy draws a filter together with a function from a row to True, False or None, where None (no value to
compare) is neither the filter's match nor its negation's.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from filter_rows import FLOATS, FLOATS_32, INTEGERS, NUMBERS, PIXELS, Row, texts
from hypothesis import strategies as st

from imgvec.filters import Field, Filter, dynamic, field

Verdict = bool | None
_MISSING = object()
_OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Case:
    """A filter and what it says about a row."""

    where: Filter
    verdict: Callable[[Row], Verdict]


@dataclass(frozen=True, eq=False)
class Place:
    """A field to compare, where a row keeps it, and the kinds of value to compare it with."""

    field: Field
    path: tuple[str | int, ...]
    values: st.SearchStrategy[Any]
    float32: bool = False

    def value(self, row: Row) -> Any:
        found: Any = row
        for key in self.path:
            try:
                found = found[key] if isinstance(key, int) == isinstance(found, list) else _MISSING
            except (KeyError, IndexError, TypeError):
                return _MISSING
        return _as_float32(found) if self.float32 else found

    def operand(self, value: Any) -> Any:
        return _as_float32(value) if self.float32 else value


def _as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number" if isinstance(value, int | float) else "other"


_TEXTS = st.sampled_from(texts()) | st.text(st.characters(codec="utf-8"), max_size=5)
_NUMBERS = st.sampled_from(NUMBERS) | st.integers(-200, 200)
_INTEGERS = st.sampled_from(INTEGERS) | st.integers(-(2**63) + 1, 2**63 - 1)
_FLOATS = st.sampled_from(FLOATS) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-2, 2)
_FLOATS_32 = st.sampled_from(FLOATS_32) | st.floats(-1e30, 1e30)
_TRUTHS = st.booleans()

_DEEP = ("meta", "deep", 'a "b"\\')
PLACES = [
    Place(field("text"), ("text",), _TEXTS),
    Place(field("n"), ("n",), _INTEGERS),
    Place(field("pixels"), ("pixels",), st.sampled_from(PIXELS)),
    Place(field("small"), ("small",), st.integers(-128, 127)),
    Place(field("ratio"), ("ratio",), _FLOATS),
    Place(field("score"), ("score",), _FLOATS_32, float32=True),
    Place(field("ok"), ("ok",), _TRUTHS),
    Place(field("tags")[1], ("tags", 1), _TEXTS),
    Place(field("nums")[0], ("nums", 0), _INTEGERS),
    Place(field("ratios")[1], ("ratios", 1), _FLOATS),
    Place(field("meta")["text"], ("meta", "text"), _TEXTS),
    Place(field("meta")["number"], ("meta", "number"), _NUMBERS | _TEXTS),
    Place(field("meta")["flag"], ("meta", "flag"), _TRUTHS),
    Place(field("meta")["mixed"], ("meta", "mixed"), _NUMBERS | _TEXTS),
    Place(field("meta")["list"][0], ("meta", "list", 0), _NUMBERS | _TEXTS),
    Place(field("meta")["deep"]['a "b"\\'][0], (*_DEEP, 0), _TEXTS),
    Place(field("meta")["deep"]['a "b"\\'][1], (*_DEEP, 1), _NUMBERS),
    Place(field("meta")["nowhere"], ("meta", "nowhere"), _NUMBERS | _TEXTS | _TRUTHS),
    Place(dynamic("colour"), ("colour",), _TEXTS),
    Place(dynamic("year"), ("year",), _NUMBERS),
    Place(dynamic("in"), ("in",), _NUMBERS),
    Place(dynamic('key "\\\n é'), ('key "\\\n é',), _TEXTS),
    Place(dynamic("anything"), ("anything",), _NUMBERS | _TEXTS),
    Place(dynamic("anything")["text"], ("anything", "text"), _TEXTS),
    Place(dynamic("labels")[0], ("labels", 0), _NUMBERS | _TEXTS),
    Place(dynamic("nowhere"), ("nowhere",), _NUMBERS | _TEXTS | _TRUTHS),
]
LISTS = [
    Place(field("tags"), ("tags",), _TEXTS),
    Place(field("nums"), ("nums",), _INTEGERS),
    Place(field("ratios"), ("ratios",), _FLOATS),
    Place(field("meta")["list"], ("meta", "list"), _NUMBERS | _TEXTS),
    Place(field("meta")["mixed"], ("meta", "mixed"), _NUMBERS | _TEXTS),
    Place(field("meta")["nowhere"], ("meta", "nowhere"), _NUMBERS | _TEXTS),
    Place(dynamic("labels"), ("labels",), _NUMBERS | _TEXTS),
    Place(dynamic("anything"), ("anything",), _NUMBERS | _TEXTS),
]
DECLARED = {"text", "n", "pixels", "small", "ratio", "score", "ok", "tags", "nums", "ratios"}
JSON_PLACES = [place for place in PLACES if place.path[0] not in DECLARED]


@st.composite
def comparisons(draw: st.DrawFn) -> Case:
    place = draw(st.sampled_from(PLACES))
    given = draw(place.values)
    symbols = ["==", "!="] if isinstance(given, bool) else list(_OPERATORS)
    compare = _OPERATORS[draw(st.sampled_from(symbols))]
    operand = place.operand(given)

    def verdict(row: Row) -> Verdict:
        value = place.value(row)
        return compare(value, operand) if _kind(value) == _kind(operand) else None

    return Case(compare(place.field, given), verdict)


@st.composite
def ranges(draw: st.DrawFn) -> Case:
    place = draw(st.sampled_from([p for p in PLACES if p.values is not _TRUTHS]))
    low, high = draw(place.values), draw(place.values)
    if _kind(low) != _kind(high) or isinstance(low, bool):
        high = low = draw(_TEXTS if isinstance(low, str) else st.integers(0, 100))
    lowest, highest = place.operand(low), place.operand(high)

    def verdict(row: Row) -> Verdict:
        value = place.value(row)
        return lowest <= value <= highest if _kind(value) == _kind(lowest) else None

    return Case(place.field.between(low, high), verdict)


@st.composite
def memberships(draw: st.DrawFn) -> Case:
    place = draw(st.sampled_from(PLACES))
    given = draw(st.lists(place.values, max_size=6))
    operands = [place.operand(value) for value in given]
    kinds = {_kind(value) for value in operands}

    def verdict(row: Row) -> Verdict:
        value = place.value(row)
        if operands and _kind(value) not in kinds:
            return None
        return any(_kind(value) == _kind(one) and value == one for one in operands)

    if draw(st.booleans()):
        return Case(place.field.in_(given), verdict)
    return Case(place.field.not_in(given), lambda row: _opposite(verdict(row)))


@st.composite
def prefixes(draw: st.DrawFn) -> Case:
    place = draw(st.sampled_from([p for p in PLACES if p.values is _TEXTS or p in JSON_PLACES]))
    text = draw(_TEXTS.map(lambda whole: whole[:2]) | _TEXTS)

    def verdict(row: Row) -> Verdict:
        value = place.value(row)
        return value.startswith(text) if isinstance(value, str) else None

    return Case(place.field.has_prefix(text), verdict)


@st.composite
def elements(draw: st.DrawFn) -> Case:
    place = draw(st.sampled_from(LISTS))
    given = draw(st.lists(place.values, max_size=3))
    every = draw(st.booleans())

    def verdict(row: Row) -> Verdict:
        value = place.value(row)
        held = value if isinstance(value, list) else []
        found = [any(_kind(one) == _kind(wanted) and one == wanted for one in held) for wanted in given]
        return all(found) if every else any(found)

    if len(given) == 1 and draw(st.booleans()):
        return Case(place.field.contains(given[0]), verdict)
    return Case(place.field.contains_all(given) if every else place.field.contains_any(given), verdict)


@st.composite
def nulls(draw: st.DrawFn) -> Case:
    if draw(st.booleans()):
        name = draw(st.sampled_from(["text", "n", "ok", "tags"]))
        return Case(field(name).is_null(), lambda row: False)
    place = draw(st.sampled_from(JSON_PLACES))
    return Case(place.field.is_null(), lambda row: place.value(row) is _MISSING)


def _opposite(verdict: Verdict) -> Verdict:
    return None if verdict is None else not verdict


def _not(case: Case) -> Case:
    return Case(~case.where, lambda row: _opposite(case.verdict(row)))


def _and(left: Case, right: Case) -> Case:
    def verdict(row: Row) -> Verdict:
        both = {left.verdict(row), right.verdict(row)}
        return False if False in both else None if None in both else True

    return Case(left.where & right.where, verdict)


def _or(left: Case, right: Case) -> Case:
    def verdict(row: Row) -> Verdict:
        both = {left.verdict(row), right.verdict(row)}
        return True if True in both else None if None in both else False

    return Case(left.where | right.where, verdict)


_NUMERIC = {"n", "pixels", "small", "ratio", "score", "meta", "year"}
# Milvus Lite takes true for 1
_COMPUTED = [place for place in PLACES if place.path[0] in _NUMERIC and place.path[1:] != ("flag",)]
_STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "swapped -": lambda left, right: right - left,
    "*": operator.mul,
    "/": operator.truediv,
}
_OPERANDS = st.sampled_from([1, -1, 2, 3, -7, 10, 0.5, 0, 2**40, 2**63]) | st.integers(-100, 100)


@st.composite
def computations(draw: st.DrawFn) -> Case:
    """One or two steps of arithmetic and a comparison; whole numbers are exact, and floats as near as they come."""
    place = draw(st.sampled_from(_COMPUTED))
    left: Any = place.field
    steps = []
    for _ in range(draw(st.integers(1, 2))):
        name, number = draw(st.sampled_from(sorted(_STEPS))), draw(_OPERANDS)
        if name == "/" and not number:
            name = "*"
        steps.append((name, number))
        left = _STEPS[name](left, number)
    exact = place.path[0] in {"n", "pixels", "small"}
    wanted = draw(_OPERANDS | st.sampled_from(INTEGERS)) if exact else draw(_OPERANDS)
    compare = _OPERATORS[draw(st.sampled_from(sorted(_OPERATORS) if exact else ["<", ">"]))]

    def verdict(row: Row) -> Verdict:
        value = place.value(row)
        if _kind(value) != "number":
            return None
        result = Fraction(value)
        for name, number in steps:
            result = _STEPS[name](result, Fraction(number))
        return bool(compare(result, Fraction(wanted)))

    return Case(compare(left, wanted), verdict)


@st.composite
def pairs_of_fields(draw: st.DrawFn) -> Case:
    numbers, texts_, floats = ["n", "pixels", "small", "other"], ["text", "twin", "id"], ["ratio", "score", "half"]
    one, other = draw(st.sampled_from([(numbers, numbers), (texts_, texts_), (floats, floats), (["small"], floats),
                                       (["pixels"], ["ratio", "half"]), (["ok"], ["ok"])]))  # fmt: skip
    left, right = draw(st.sampled_from(one)), draw(st.sampled_from(other))
    if draw(st.booleans()):
        left, right = right, left
    compare = _OPERATORS[draw(st.sampled_from(["==", "!="] if left == "ok" else sorted(_OPERATORS)))]

    def verdict(row: Row) -> Verdict:
        held = [_as_float32(row[name]) if name == "score" else row[name] for name in (left, right)]
        return bool(compare(*held))

    return Case(compare(field(left), field(right)), verdict)


_LISTED = [place for place in LISTS if place.path[0] != "meta"]


@st.composite
def lengths(draw: st.DrawFn) -> Case:
    place = draw(st.sampled_from(_LISTED))
    size = draw(st.integers(-1, 5))
    name = draw(st.sampled_from([*sorted(_OPERATORS), "in"]))
    sizes = draw(st.lists(st.integers(0, 4), max_size=3))

    def length(row: Row) -> int:
        value = place.value(row)
        return len(value) if isinstance(value, list) else 0

    if name == "in":
        return Case(place.field.length().in_(sizes), lambda row: length(row) in sizes)
    compare = _OPERATORS[name]
    return Case(compare(place.field.length(), size), lambda row: compare(length(row), size))


@st.composite
def whole_lists(draw: st.DrawFn) -> Case:
    place = draw(st.sampled_from([place for place in LISTS if place.path[0] in DECLARED]))
    given = draw(st.lists(place.values, max_size=2))
    return Case(place.field == given, lambda row: row[place.path[0]] == given)


CONDITIONS = st.one_of(
    comparisons(), ranges(), memberships(), prefixes(), elements(), nulls(),
    computations(), pairs_of_fields(), lengths(), whole_lists(),
)  # fmt: skip
"""What every backend reads."""


@st.composite
def infixes(draw: st.DrawFn) -> Case:
    """Not for Milvus 2.3."""
    place = draw(st.sampled_from([p for p in PLACES if p.values is _TEXTS or p in JSON_PLACES]))
    whole = draw(_TEXTS)
    start = draw(st.integers(0, max(0, len(whole) - 1)))
    text = "".join(each for each in whole[start : start + 3] if each not in "%_\\\0")
    at_end = draw(st.booleans())

    def verdict(row: Row) -> Verdict:
        value = place.value(row)
        if not isinstance(value, str):
            return None
        return value.endswith(text) if at_end else text in value

    return Case(place.field.has_suffix(text) if at_end else place.field.has_infix(text), verdict)


@st.composite
def remainders(draw: st.DrawFn) -> Case:
    """Not for Milvus Lite."""
    name, modulus = draw(st.sampled_from(["small", "pixels"])), draw(st.integers(1, 12))
    given = draw(st.lists(st.integers(-1, 12), max_size=3))
    if len(given) == 1:
        return Case(field(name) % modulus == given[0], lambda row: row[name] % modulus == given[0])
    return Case((field(name) % modulus).in_(given), lambda row: row[name] % modulus in given)


@st.composite
def lengths_in_json(draw: st.DrawFn) -> Case:
    """Not for Milvus Lite."""
    place = draw(st.sampled_from([place for place in LISTS if place.path[0] == "meta"]))
    size, compare = draw(st.integers(0, 5)), _OPERATORS[draw(st.sampled_from(sorted(_OPERATORS)))]

    def verdict(row: Row) -> Verdict:
        value = place.value(row)
        return bool(compare(len(value) if isinstance(value, list) else 0, size))

    return Case(compare(place.field.length(), size), verdict)


CASES = st.recursive(
    CONDITIONS,
    lambda inner: inner.map(_not) | st.builds(_and, inner, inner) | st.builds(_or, inner, inner),
    max_leaves=8,
)
