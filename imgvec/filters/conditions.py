"""Conditions that not every backend reads as they stand: computed numbers, remainders, lengths, two fields, infixes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fractions import Fraction

from imgvec.errors import FilterError
from imgvec.filters.arithmetic import holds, residues, solved
from imgvec.filters.compare import Condition, compare, guarded, of_its_kind, require_scalar
from imgvec.filters.dialect import Dialect
from imgvec.filters.expressions import Operator, Path, Step
from imgvec.filters.fields import FLOATS, INT_BITS, SMALL_INTEGERS, Operand, text_literal

_MOST_TERMS = 256
"""Of a chain of equalities that stands for an order."""
_LONGEST = 2**31
"""No list is that long."""


def computed(
    operand: Operand, path: Path, steps: Sequence[Step], operator: Operator, value: int | float | Fraction
) -> Condition:
    """The comparison of what `steps` make of a number."""
    require_scalar(operand, path)
    if operand.type not in {*INT_BITS, *FLOATS, "JSON"} or operand.date is not None:
        what = "dates" if operand.date is not None else operand.type
        raise FilterError(f"{path} holds {what}, but arithmetic needs numbers")
    bound = solved(steps, operator, value, operand.type)
    if not isinstance(bound, bool):
        return compare(operand, path, *bound)
    if not bound or not (operand.nullable or operand.open):
        return bound
    return f"{operand.text} is not null" if operand.nullable else of_its_kind(operand, 0)


def remainder(
    operand: Operand, path: Path, modulus: int, values: Sequence[int], dialect: Dialect, *, negated: bool
) -> Condition:
    """Whether the remainder is one of `values`, or `negated` none of them."""
    require_scalar(operand, path)
    if operand.type not in INT_BITS or operand.date is not None:
        what = "dates" if operand.date is not None else operand.type
        raise FilterError(f"{path} holds {what}, but remainders are of fields of whole numbers")
    if not dialect.remainder:
        raise dialect.refusal(f"no remainders: {path} % {modulus}")
    if operand.type not in SMALL_INTEGERS:
        raise dialect.refusal(f"no exact remainders but of {', '.join(SMALL_INTEGERS)}: {path} is {operand.type}")
    found = residues(operand.text, modulus, values, operand.type, negated=negated)
    return guarded(operand, (0,), found) if negated and isinstance(found, str) else found


def length(operand: Operand, path: Path, operator: Operator, value: int, dialect: Dialect) -> Condition:
    """The comparison of the number of elements, which is 0 where there is no list."""
    if operand.type != "ARRAY" and not (operand.open and operand.type == "JSON"):
        raise FilterError(f"{path} holds {operand.type}, which has no elements: a length needs a list")
    # Milvus Lite reads the name of a field there, or of a dynamic key
    if operand.type == "JSON" and not dialect.json_length and "[" in operand.text:
        raise dialect.refusal(f"no lengths of lists within JSON: {path}")
    if not 0 <= value < _LONGEST:
        return holds(0, operator, value)
    found = _length(f"array_length({operand.text})", path, operator, value, dialect)
    if operand.nullable and isinstance(found, str) and holds(0, operator, value):
        return f"({operand.text} is null or {found})"
    return found


def _length(place: str, path: Path, operator: Operator, value: int, dialect: Dialect) -> Condition:
    if operator in ("==", "!=") or dialect.length_order:
        return f"{place} {operator} {value}"
    beyond = value + (operator in ("<=", ">"))  # `< beyond`, or `>= beyond`
    below = operator in ("<", "<=")
    if beyond > _MOST_TERMS:
        raise dialect.refusal(f"no order of lengths beyond {_MOST_TERMS}: {path}.length() {operator} {value}")
    if not beyond:
        return not below
    sign, word = ("==", "or") if below else ("!=", "and")
    return f"({f' {word} '.join(f'{place} {sign} {each}' for each in range(beyond))})"


def of_fields(operand: Operand, path: Path, operator: Operator, other: Operand, second: Path) -> Condition:
    """The comparison of two declared fields."""
    for each, where in ((operand, path), (other, second)):
        require_scalar(each, where)
        if each.open:
            raise FilterError(f"{where}: Milvus compares whole fields with each other, but no keys or positions")
    if "TIMESTAMPTZ" in (operand.type, other.type):
        raise FilterError(f"{path} and {second}: a TIMESTAMPTZ compares with dates, and with no other field")
    if (operand.date is None) != (other.date is None) or not _comparable(operand.type, other.type):
        kinds = " and ".join("dates" if each.date else each.type for each in (operand, other))
        raise FilterError(f"{path} and {second} hold {kinds}, which Milvus does not compare exactly")
    if operand.type == "BOOL" and operator not in ("==", "!="):
        raise FilterError(f"{path}: booleans have no order, so {operator} {second} is meaningless")
    parts = [f"{operand.text} {operator} {other.text}"]
    for each in (operand, other):
        if each.nullable and operator == "!=":
            parts.insert(0, f"{each.text} is not null")
        if each.date is not None and each.date.unknown is not None:
            parts.append(f"{each.text} != {each.date.unknown}")
    return parts[0] if len(parts) == 1 else f"({' and '.join(parts)})"


def _comparable(left: str, right: str) -> bool:
    """Whether no digit is lost: Milvus compares a whole number with a float as floats."""
    pair = {left, right}
    if left == right or pair <= INT_BITS.keys() or pair <= FLOATS:
        return True
    exact = {"DOUBLE": {"INT8", "INT16", "INT32"}, "FLOAT": {"INT8", "INT16"}}
    return any(each in pair and pair - {each} <= whole for each, whole in exact.items())


def infix(operand: Operand, path: Path, text: str, dialect: Dialect, *, at_end: bool, negated: bool) -> Condition:
    """Whether the text has `text` in it, or at its end."""
    if operand.type not in {"VARCHAR", "JSON"}:
        raise FilterError(f"{path} holds {operand.type}, but a search within it needs text")
    require_scalar(operand, path)
    if not dialect.infix:
        raise dialect.refusal(f"no search within text or for its end: {path}, {text!r}")
    # Milvus Lite takes \% for a % in a declared field, and for both characters in JSON
    if any(character in text for character in "%_\\\0"):
        raise dialect.refusal(f"no search within text for %, _, a backslash or NUL: {path}, {text!r}")
    pattern = "%" if not text else f"%{text}" if at_end else f"%{text}%"
    found = f"({operand.text} like {text_literal(pattern)})"
    if at_end and text and dialect.loose_end:
        loose = text_literal(pattern + "\n")
        found = f"({operand.text} like {text_literal(pattern)} and not ({operand.text} like {loose}))"
    return guarded(operand, (text,), f"not {found}") if negated else found


def words(operand: Operand, path: Path, text: str, dialect: Dialect, *, every: bool, negated: bool) -> Condition:
    """Whether the text has one of the words, or `every` one.

    `text_match` looks for any of the words that it is given (https://milvus.io/docs/keyword-match.md), cut where no
    letter or digit stands, and finds nothing by what has none.
    """
    _require_words(operand, path, "text_match", dialect)
    cut = "".join(each if each.isalnum() or unicodedata.category(each)[0] == "M" else " " for each in text)
    parts = [f"text_match({operand.text}, {text_literal(each)})" for each in (cut.split() if every else [text])]
    return _with_words(operand, parts[0] if len(parts) == 1 else f"({' and '.join(parts)})", negated)


def phrase(operand: Operand, path: Path, text: str, slop: int, dialect: Dialect, *, negated: bool) -> Condition:
    """Whether the text has the words one after the other (https://milvus.io/docs/phrase-match.md)."""
    _require_words(operand, path, "phrase_match", dialect)
    further = f", {slop}" if slop else ""
    return _with_words(operand, f"phrase_match({operand.text}, {text_literal(text)}{further})", negated)


def _require_words(operand: Operand, path: Path, function: str, dialect: Dialect) -> None:
    if operand.type != "VARCHAR" or operand.open:
        raise FilterError(f"{path} holds {operand.type}, but a search for words needs a field of text")
    dialect.check_function(function, str(path))
    if not operand.match:
        raise FilterError(f"{path}: Milvus looks for words only in a field that is declared with match: true")


def _with_words(operand: Operand, found: str, negated: bool) -> str:
    return guarded(operand, ("",), f"not {found}") if negated else found
