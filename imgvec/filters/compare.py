"""One comparison of one place with one value, and what keeps its negation from rows that have no such value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from imgvec.dates import FIRST, LAST, Span, iso
from imgvec.errors import FilterError
from imgvec.filters.expressions import Operator, Path, Scalar
from imgvec.filters.fields import Operand, literal

Condition = str | bool
"""An expression; True for every row, False for no row."""


def compare(operand: Operand, path: Path, operator: Operator, value: Scalar) -> str:
    require_scalar(operand, path)
    value = when(operand, path, value)
    if isinstance(value, Span) and operand.type == "TIMESTAMPTZ":
        return _compare_time(operand, operator, value)
    if isinstance(value, Span):
        return _compare_date(operand, operator, value)
    if isinstance(value, bool) and operator not in {"==", "!="}:
        raise FilterError(f"{path}: booleans have no order, so {operator} {value} is meaningless")
    comparison = f"{operand.text} {operator} {literal(value, operand.type, str(path))}"
    return guarded(operand, (value,), comparison) if operator == "!=" else comparison


def when(operand: Operand, path: Path, value: Scalar) -> Scalar:
    """A value for a date field as a date or a number of milliseconds; any other value as it is."""
    if operand.date is not None and not isinstance(value, bool | float):
        try:
            return operand.date.when(value)
        except ValueError as exc:
            raise FilterError(f"{path} holds dates, and {value!r} {exc}") from None
    if isinstance(value, Span) and not (operand.open and operand.type == "JSON"):
        raise FilterError(
            f"{path} holds {operand.type}, which cannot be compared with the date {value!r}: that needs an INT64 "
            f"with format: unix_ms, or a TIMESTAMPTZ"
        )
    return value


def _compare_date(operand: Operand, operator: Operator, when: Span) -> str:
    """A comparison with the whole of a date: `<=` up to its end, `>` from there on, `==` within it.

    Rows that hold the number which stands for no date match nothing, as those without a value.
    """
    place, first, last = operand.text, when.start, when.end - 1
    unknown = operand.date.unknown if operand.date else None
    holds: Mapping[Operator, tuple[str, Callable[[int], bool]]] = {
        "==": (f"{place} >= {first} and {place} <= {last}", lambda ms: first <= ms <= last),
        "!=": (f"{place} < {first} or {place} > {last}", lambda ms: not first <= ms <= last),
        "<": (f"{place} < {first}", lambda ms: ms < first),
        "<=": (f"{place} <= {last}", lambda ms: ms <= last),
        ">": (f"{place} > {last}", lambda ms: ms > last),
        ">=": (f"{place} >= {first}", lambda ms: ms >= first),
    }
    condition, matches = holds[operator]
    if operator in {"==", "!="}:
        condition = f"{place} {operator} {first}" if first == last else f"({condition})"
    if unknown is not None and matches(unknown):
        condition = f"({condition} and {place} != {unknown})"
    return guarded(operand, (first,), condition) if operator == "!=" else condition


def _compare_time(operand: Operand, operator: Operator, when: Span) -> str:
    """The same of a TIMESTAMPTZ, which holds microseconds: up to the moment that follows the date, without it."""
    place, start = operand.text, f"ISO '{iso(min(max(when.start, FIRST), LAST))}'"
    before, since = f"< ISO '{iso(max(when.end, FIRST))}'", f">= ISO '{iso(max(when.end, FIRST))}'"
    if when.end > LAST:  # the end of all years has no name
        before, since = (f"{sign} ISO '9999-12-31T23:59:59.999999Z'" for sign in ("<=", ">"))
    conditions: Mapping[Operator, str] = {
        "==": f"({place} >= {start} and {place} {before})",
        "!=": f"({place} < {start} or {place} {since})",
        "<": f"{place} < {start}",
        "<=": f"{place} {before}",
        ">": f"{place} {since}",
        ">=": f"{place} >= {start}",
    }
    condition = conditions[operator]
    return guarded(operand, (), condition) if operator == "!=" else condition


def require_scalar(operand: Operand, path: Path) -> None:
    if operand.type == "GEOMETRY":
        raise FilterError(f"{path} holds a GEOMETRY: use st_within, st_contains, st_intersects or the others")
    if operand.type == "ARRAY":
        raise FilterError(f"{path} holds a list: use contains, contains_all or contains_any, or a position")
    if operand.type == "JSON" and not operand.open:
        raise FilterError(f"{path} holds a JSON object: name the key to compare, as in {path}['key']")


def guarded(operand: Operand, values: Sequence[Scalar], negative: str) -> str:
    """`negative`, for rows that have a value of the kind of `values` only."""
    if operand.nullable:
        return f"({operand.text} is not null and {negative})"
    if not operand.open:
        return negative
    kinds = sorted({of_its_kind(operand, value) for value in values})
    present = kinds[0] if len(kinds) == 1 else f"({' or '.join(kinds)})"
    return f"({present} and {negative})"


def of_its_kind(operand: Operand, value: Scalar) -> str:
    if isinstance(value, bool):
        return f"({operand.text} == true or {operand.text} == false)"
    if isinstance(value, str):
        return f'{operand.text} >= ""'
    zero = literal(0, operand.type, operand.text)
    return f"({operand.text} < {zero} or {operand.text} >= {zero})"
