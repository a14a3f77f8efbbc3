"""A filter and a collection's fields in, a Milvus boolean expression out.

Milvus compares in two values (true, false) and Milvus Lite in three (unknown for null), so `not` is never written
before a comparison without first asking that the value is there: negation is pushed down to the single conditions,
and each condition has its own negative form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Literal

from imgvec.dates import Span
from imgvec.errors import FilterError
from imgvec.filters import conditions
from imgvec.filters.compare import Condition, compare, guarded, require_scalar, when
from imgvec.filters.dialect import EVERY, Dialect
from imgvec.filters.expressions import (
    All,
    Any,
    Compare,
    CompareFields,
    Computed,
    Contains,
    Filter,
    HasPhrase,
    HasWords,
    Infix,
    Length,
    Member,
    Not,
    Null,
    Operator,
    Path,
    Prefix,
    Raw,
    Remainder,
    Scalar,
    Step,
)
from imgvec.filters.fields import Fields, FieldType, Operand, is_identifier, literal, text_literal
from imgvec.filters.negation import Negation
from imgvec.filters.raw import checked
from imgvec.filters.spatial import Spatial, spatial

# Milvus Lite fails somewhere between 100 and 150 nested brackets.
MAX_DEPTH = 64
# A flat chain of n terms costs Milvus time in n² (2,000: 4.3 s), a tree of short chains does not (0.4 s).
_CHAIN = 32

_OPPOSITE: dict[Operator, Operator] = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}

# Equal, but not to the `in` of Milvus Lite.
_ZEROS = frozenset({"0.0", "-0.0"})


def render(
    where: Filter | str | None, fields: Mapping[str, FieldType], *, dynamic: bool, dialect: Dialect = EVERY
) -> str:
    """The Milvus boolean expression for `where`; the empty string where it lets every row through.

    `fields` are the collection's scalar fields by name, `dynamic` says whether it has a dynamic field, and `dialect`
    what its backend reads: left out, what every backend does.

    Raises:
        FilterError: a name is not a field, a value does not fit its field, a raw expression is malformed, or the filter
            is nested deeper than 64 levels.
        UnsupportedByBackend: the backend does not read a part of it, or silently reads it wrongly.
    """
    if where is None:
        return ""
    known = Fields(fields, dynamic, dialect)
    condition = _condition(Raw(where) if isinstance(where, str) else where, known, negated=False, depth=1)
    if isinstance(condition, str):
        return condition
    return "" if condition else _nothing(known)


def _condition(where: Filter, fields: Fields, *, negated: bool, depth: int) -> Condition:
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested more than {MAX_DEPTH} levels deep")
    match where:
        case Not(part):
            return _condition(part, fields, negated=not negated, depth=depth)
        case All(parts):
            return _junction(parts, fields, "or" if negated else "and", negated, depth)
        case Any(parts):
            return _junction(parts, fields, "and" if negated else "or", negated, depth)
        case Raw(text):
            expression = checked(
                text,
                fields,
                max_depth=MAX_DEPTH - depth,
                compare=partial(_compared, fields),
                solve=partial(_solved, fields),
                negated=negated,
            )
            return f"not ({expression})" if negated else expression
        case Compare(path, operator, value):
            return compare(fields.operand(path), path, _OPPOSITE[operator] if negated else operator, value)
        case Member(path, values):
            return _member(fields.operand(path), path, values, negated)
        case Prefix(path, text):
            return _prefix(fields.operand(path), path, text, negated)
        case Null(path):
            return _null(fields.operand(path), path, negated)
        case Contains(path, values, every):
            return _contains(fields.operand(path), path, values, every, negated)
        case Infix(path, text, at_end):
            return conditions.infix(fields.operand(path), path, text, fields.dialect, at_end=at_end, negated=negated)
        case HasWords(path, text, every):
            return conditions.words(fields.operand(path), path, text, fields.dialect, every=every, negated=negated)
        case HasPhrase(path, text, slop):
            return conditions.phrase(fields.operand(path), path, text, slop, fields.dialect, negated=negated)
        case CompareFields(path, operator, other):
            same = _OPPOSITE[operator] if negated else operator
            return conditions.of_fields(fields.operand(path), path, same, fields.operand(other), other)
        case Computed(path, steps, operator, value):
            same = _OPPOSITE[operator] if negated else operator
            return conditions.computed(fields.operand(path), path, steps, same, value)
        case Remainder(path, modulus, values):
            return conditions.remainder(fields.operand(path), path, modulus, values, fields.dialect, negated=negated)
        case Spatial(path):
            return spatial(fields.operand(path), where, fields.dialect, negated=negated)
        case Length(path, operator, value):
            same = _OPPOSITE[operator] if negated else operator
            return conditions.length(fields.operand(path), path, same, value, fields.dialect)
    raise TypeError(f"{type(where).__name__} is not a filter: build one with field()")


def _junction(
    parts: Sequence[Filter], fields: Fields, word: Literal["and", "or"], negated: bool, depth: int
) -> Condition:
    decisive = word == "or"  # one True decides an `or`, one False an `and`
    terms = []
    for part in parts:
        condition = _condition(part, fields, negated=negated, depth=depth + 1)
        if isinstance(condition, str):
            terms.append(f"({condition})" if _is_compound(part) else condition)
        elif condition is decisive:
            return decisive
    return _chain(terms, word) if terms else not decisive


def _compared(fields: Fields, path: Path, operator: Operator, value: Scalar, asked: Negation) -> str:
    """A comparison of a raw expression with a date."""
    operand = fields.operand(path)
    return _as_asked(fields, operand, path, operator, asked, lambda each: compare(operand, path, each, value))


def _solved(fields: Fields, path: Path, factor: Fraction, operator: Operator, value: Fraction, asked: Negation) -> str:
    """A comparison of a raw expression, which knows a date as its number of milliseconds."""
    operand, steps = replace(fields.operand(path), date=None), (Step("*", factor),)
    render = partial(conditions.computed, operand, path, steps, value=value)
    return _as_asked(fields, operand, path, operator, asked, lambda each: render(operator=each))


def _as_asked(
    fields: Fields,
    operand: Operand,
    path: Path,
    operator: Operator,
    asked: Negation,
    render: Callable[[Operator], Condition],
) -> str:
    """The comparison, so that a row without a value is found neither by it nor, where `not` precedes it, by that."""
    unknown = operand.date is not None and operand.date.unknown is not None
    lacking = operand.nullable or operand.open or unknown
    if lacking and asked is None:
        raise FilterError(f"{path} may have no value, and then nothing equals what is asked of it: write and, or, not")
    if lacking and asked:
        return f"not ({_text(fields, render(_OPPOSITE[operator]))})"
    return _text(fields, render(operator))


def _text(fields: Fields, condition: Condition) -> str:
    if isinstance(condition, str):
        return condition
    return f"not ({_nothing(fields)})" if condition else _nothing(fields)


def _is_compound(part: Filter) -> bool:
    return isinstance(part.part if isinstance(part, Not) else part, All | Any | Raw)


def _chain(terms: list[str], word: str) -> str:
    while len(terms) > _CHAIN:
        groups = [terms[start : start + _CHAIN] for start in range(0, len(terms), _CHAIN)]
        terms = [f"({f' {word} '.join(group)})" for group in groups]
    return f" {word} ".join(terms)


def _nothing(fields: Fields) -> str:
    for name, field_type in fields.types.items():
        if field_type.type in {"VARCHAR", "INT64"} and is_identifier(name):
            return f"{name} in []"
    raise FilterError("a filter that matches no rows needs a VARCHAR or INT64 field, such as the primary key")


def _member(operand: Operand, path: Path, values: Sequence[Scalar], negated: bool) -> Condition:
    require_scalar(operand, path)
    values = [when(operand, path, value) for value in values]
    if any(isinstance(value, Span) for value in values):
        each = [compare(operand, path, "!=" if negated else "==", value) for value in values]
        return f"({_chain(each, 'and' if negated else 'or')})"
    literals = [literal(value, operand.type, str(path)) for value in values]
    if not values:
        return negated
    if not operand.open:
        if not _ZEROS.isdisjoint(literals):
            literals += sorted(_ZEROS.difference(literals))
        choices = f"[{', '.join(literals)}]"
        return (
            guarded(operand, values, f"{operand.text} not in {choices}") if negated else f"{operand.text} in {choices}"
        )
    # Milvus Lite has `in` for declared fields only, and stumbles over lists among dynamic values.
    choice = _chain([f"{operand.text} == {text}" for text in literals], "or")
    return guarded(operand, values, f"not ({choice})") if negated else f"({choice})"


def _prefix(operand: Operand, path: Path, text: str, negated: bool) -> str:
    if operand.type not in {"VARCHAR", "JSON"}:
        raise FilterError(f"{path} holds {operand.type}, but prefixes need text")
    require_scalar(operand, path)
    if any(character in text for character in "%_\\\0"):
        # LIKE cannot escape the first three on every backend, and Milvus 2.3 stops reading it at the fourth: ask for
        # the interval of all texts that begin so.
        beginning = f"({operand.text} >= {text_literal(text)} and {operand.text} < {text_literal(_successor(text))})"
    else:
        beginning = f"({operand.text} like {text_literal(text + '%')})"
    return guarded(operand, (text,), f"not {beginning}") if negated else beginning


def _successor(text: str) -> str:
    """The least text, by code point, that is greater than every text beginning with `text`."""
    text = text.rstrip("\U0010ffff")
    following = ord(text[-1]) + 1
    return text[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are not characters


def _null(operand: Operand, path: Path, negated: bool) -> Condition:
    if operand.open and operand.type != "JSON":
        raise FilterError(f"{path}: Milvus cannot tell whether an array has that position")
    if operand.open:
        # In brackets, or Milvus 2.3 takes what follows for a part of what should exist.
        return f"(exists {operand.text})" if negated else f"not (exists {operand.text})"
    if not operand.nullable:
        return negated
    return f"{operand.text} is {'not ' if negated else ''}null"


def _contains(operand: Operand, path: Path, values: Sequence[Scalar], every: bool, negated: bool) -> Condition:
    if operand.type == "ARRAY":
        function, literals = "array", [literal(value, str(operand.element), str(path)) for value in values]
    elif operand.open and operand.type == "JSON" and not operand.text.startswith("$meta"):
        function, literals = "json", [_json_element(value, path) for value in values]
    elif operand.open and operand.type == "JSON":
        raise FilterError(f"{path}: Milvus Lite searches lists only under keys that are plain identifiers")
    else:
        raise FilterError(f"{path} holds {operand.type}, which has no elements: contains needs a list")
    if not values:
        return every is not negated
    # The plural even for one value: Milvus Lite reads no negative number outside a list.
    found = f"{function}_contains_{'all' if every else 'any'}({operand.text}, [{', '.join(literals)}])"
    if not negated:
        return found
    return f"({operand.text} is null or not {found})" if operand.nullable else f"not {found}"


def _json_element(value: Scalar, path: Path) -> str:
    # Milvus finds 1 and 1.0 by 1.0, but only 1 by 1; beyond 2**53 a float would find the neighbours too.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53:
        value = float(value)
    return literal(value, "JSON", str(path))
