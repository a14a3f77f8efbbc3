"""Comparisons of what is computed from a number, solved for the number.

`field("n") * 2 + 1 < 8` is `n < 7/2`, and so `n < 4`. So it means the same on every backend and uses the field's index:
Milvus Lite computes with 64-bit integers that overflow without a word, Milvus 2.3 compares sums by `==` alone, and
divides whole numbers where Milvus Lite does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from imgvec.errors import FilterError
from imgvec.filters.expressions import Operator, Step
from imgvec.filters.fields import FLOATS, INT_BITS, LARGEST, int_range

Bound = tuple[Operator, int | float] | bool
"""What the number must be, or whether any number will do."""

_MIRRORED: dict[Operator, Operator] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def solved(steps: Sequence[Step], operator: Operator, value: int | float | Fraction, type_: str) -> Bound:
    """What a number of the Milvus type `type_` must be for what `steps` make of it to compare so with `value`.

    In exact fractions. For a float the bound is the nearest that there is; for a whole number it is exact too.
    """
    bound = Fraction(value)
    for step in reversed(steps):
        number = Fraction(step.number)
        if step.operator == "+":
            bound -= number
        elif step.operator == "-" and step.swapped:
            bound, operator = number - bound, _MIRRORED[operator]
        elif step.operator == "-":
            bound += number
        elif step.operator == "*" and not number:
            return holds(0, operator, bound)
        else:
            bound = bound / number if step.operator == "*" else bound * number
            operator = _MIRRORED[operator] if number < 0 else operator
    if type_ in FLOATS:
        return _nearest(operator, bound, type_)
    if type_ in INT_BITS:
        return _whole(operator, bound, *int_range(type_))
    if bound.denominator == 1 and abs(bound) < 2**63:
        return operator, int(bound)
    return _nearest(operator, bound, "DOUBLE")


def _whole(operator: Operator, bound: Fraction, low: int, high: int) -> Bound:
    if operator in ("==", "!=") and bound.denominator != 1:
        return operator == "!="
    whole = math.ceil(bound) if operator in ("<", ">=") else math.floor(bound)
    if low <= whole <= high:
        return operator, whole
    if whole == low - 1 and operator not in ("<", ">="):
        # a row may hold -2**63, which no expression can name
        return ("<" if operator in ("==", "<=") else ">="), low
    return holds(0, operator, whole)  # as for every number of the type


def _nearest(operator: Operator, bound: Fraction, type_: str) -> Bound:
    if abs(bound) > LARGEST[type_]:
        return holds(0, operator, bound)
    return operator, float(bound)


def holds(left: Fraction | int, operator: Operator, right: Fraction | int) -> bool:
    """Whether the comparison of two numbers is true."""
    return {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]


def residues(place: str, modulus: int, values: Sequence[int], type_: str, *, negated: bool) -> str | bool:
    """The condition that the remainder, as Python has it, is one of `values`, or `negated` none of them.

    Milvus's own has the sign of the number: -7 % 3 is -1 there, and 2 here.
    """
    low, high = int_range(type_)
    if modulus > high:
        raise FilterError(f"{place}: {modulus} is outside {low} to {high}, the range of {type_}")
    wanted = sorted({value for value in values if 0 <= value < modulus})
    if not wanted:
        return negated
    sign, word = ("!=", "and") if negated else ("==", "or")
    terms = [
        f"{place} % {modulus} {sign} {each}"
        for value in wanted
        for each in ((value, value - modulus) if value else (value,))
    ]
    return f"({f' {word} '.join(terms)})"
