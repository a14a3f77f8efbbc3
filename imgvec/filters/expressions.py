"""Filters as values: what `field("width") >= 800` builds. Nothing here knows a collection; `render` does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Literal, NoReturn

from imgvec import dates
from imgvec.dates import Span
from imgvec.errors import FilterError

Scalar = str | bool | int | float | Span
Operator = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True)
class Path:
    """Where a value is: a declared field or a key of the dynamic field, then keys and indexes into its JSON."""

    name: str
    keys: tuple[str | int, ...] = ()
    dynamic: bool = False

    def __str__(self) -> str:
        return f"{'dynamic' if self.dynamic else 'field'}({self.name!r})" + "".join(f"[{key!r}]" for key in self.keys)


class Filter:
    """A condition on rows. Immutable and hashable; combine with `&`, `|` and `~`."""

    def __and__(self, other: Filter) -> Filter:
        return _joined(All, self, other)

    def __or__(self, other: Filter) -> Filter:
        return _joined(Any, self, other)

    def __invert__(self) -> Filter:
        return self.part if isinstance(self, Not) else Not(self)

    def __bool__(self) -> NoReturn:
        raise TypeError(_NO_TRUTH.format("a filter"))


# Python evaluates `and`, `or`, `not` and chained comparisons through truth values, and would drop half of the filter.
_NO_TRUTH = "{} has no truth value: use & | ~ with parentheses for and, or, not, and between() for a < x < b"


@dataclass(frozen=True, repr=False)
class Compare(Filter):
    path: Path
    operator: Operator
    value: Scalar

    def __repr__(self) -> str:
        return f"({self.path} {self.operator} {self.value!r})"


@dataclass(frozen=True, repr=False)
class Member(Filter):
    path: Path
    values: tuple[Scalar, ...]

    def __repr__(self) -> str:
        return f"{self.path}.in_({list(self.values)!r})"


@dataclass(frozen=True, repr=False)
class Prefix(Filter):
    path: Path
    text: str

    def __repr__(self) -> str:
        return f"{self.path}.has_prefix({self.text!r})"


@dataclass(frozen=True, repr=False)
class Null(Filter):
    path: Path

    def __repr__(self) -> str:
        return f"{self.path}.is_null()"


@dataclass(frozen=True, repr=False)
class Contains(Filter):
    path: Path
    values: tuple[Scalar, ...]
    every: bool

    def __repr__(self) -> str:
        return f"{self.path}.contains_{'all' if self.every else 'any'}({list(self.values)!r})"


@dataclass(frozen=True)
class Raw(Filter):
    """A Milvus boolean expression as text. Names and brackets are checked when it is rendered."""

    text: str


@dataclass(frozen=True, repr=False)
class All(Filter):
    parts: tuple[Filter, ...]

    def __repr__(self) -> str:
        return f"({' & '.join(map(repr, self.parts))})"


@dataclass(frozen=True, repr=False)
class Any(Filter):
    parts: tuple[Filter, ...]

    def __repr__(self) -> str:
        return f"({' | '.join(map(repr, self.parts))})"


@dataclass(frozen=True, repr=False)
class Not(Filter):
    part: Filter

    def __repr__(self) -> str:
        return f"~{self.part!r}"


class Field:
    """A place to compare; make one with `field` or `dynamic`. Comparing it gives a `Filter`.

    Values are str, bool, int or finite float (NumPy's scalars of these kinds too), and for fields of dates `date`,
    `datetime` or ISO text. Their type is checked against the collection's when the filter is rendered.
    """

    __slots__ = ("_path",)
    # A field compares to a filter and not to a truth value, so it can be neither hashed nor searched nor iterated.
    __hash__ = None  # type: ignore[assignment]
    __iter__ = None
    __contains__ = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return str(self._path)

    def __bool__(self) -> NoReturn:
        raise TypeError(_NO_TRUTH.format("a field"))

    def __getitem__(self, key: str | int) -> Field:
        """The value under a key of a JSON object, or at a position (from 0) of a JSON list or an ARRAY field."""
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise FilterError(f"{self}[{key!r}]: keys are strings and positions are integers")
        if (key < 0) if isinstance(key, int) else (not key or "\0" in key):
            raise FilterError(f"{self}[{key!r}]: positions count from 0, and keys must not be empty or contain NUL")
        return Field(replace(self._path, keys=(*self._path.keys, key)))

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return self._compare("==", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return self._compare("!=", value)

    def __lt__(self, value: object) -> Filter:
        return self._compare("<", value)

    def __le__(self, value: object) -> Filter:
        return self._compare("<=", value)

    def __gt__(self, value: object) -> Filter:
        return self._compare(">", value)

    def __ge__(self, value: object) -> Filter:
        return self._compare(">=", value)

    def between(self, low: object, high: object) -> Filter:
        """`low <= value <= high`."""
        return (self >= low) & (self <= high)

    def in_(self, values: Iterable[object]) -> Filter:
        """The value is one of `values`; none is where `values` is empty."""
        return Member(self._path, self._scalars(values))

    def not_in(self, values: Iterable[object]) -> Filter:
        """`~in_(values)`."""
        return ~self.in_(values)

    def has_prefix(self, text: str) -> Filter:
        """The text begins with `text`, taken literally: `%` and `_` are not wildcards."""
        if not isinstance(text, str):
            raise FilterError(f"{self}.has_prefix takes text, not {text!r}")
        return Prefix(self._path, text)

    def is_null(self) -> Filter:
        """There is no value: null, or no such key in the JSON or the dynamic field."""
        return Null(self._path)

    def is_not_null(self) -> Filter:
        """`~is_null()`."""
        return ~self.is_null()

    def contains(self, value: object) -> Filter:
        """The list has `value` among its elements."""
        return Contains(self._path, (self._scalar(value),), every=False)

    def contains_all(self, values: Iterable[object]) -> Filter:
        """The list has each of `values` among its elements."""
        return Contains(self._path, self._scalars(values), every=True)

    def contains_any(self, values: Iterable[object]) -> Filter:
        """The list has at least one of `values` among its elements."""
        return Contains(self._path, self._scalars(values), every=False)

    def _compare(self, operator: Operator, value: object) -> Filter:
        return Compare(self._path, operator, self._scalar(value))

    def _scalars(self, values: Iterable[object]) -> tuple[Scalar, ...]:
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise FilterError(f"{self}: give a list of values, not {values!r}")
        return tuple(self._scalar(value) for value in values)

    def _scalar(self, value: object) -> Scalar:
        if value is None:
            raise FilterError(f"{self}: cannot compare with None; use is_null() or is_not_null()")
        if isinstance(value, bool | Span):
            return value
        if dates.is_date(value):
            try:
                return dates.span(value)
            except (ValueError, TypeError):  # NaT, or beyond every calendar
                raise FilterError(f"{self}: {value!r} is not a date to compare with") from None
        if isinstance(value, str):
            return str.__str__(value)  # the characters, even of an enum member that prints as its name
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real):
            number = float(value)
            if not math.isfinite(number):
                raise FilterError(f"{self}: {number} cannot be used in a comparison")
            return number
        raise FilterError(f"{self}: a value must be a string, a number, a bool or a date, not {type(value).__name__}")


def field(name: str) -> Field:
    """A field that the collection declares."""
    return Field(Path(name))


def dynamic(name: str) -> Field:
    """A key of the dynamic field: metadata that the collection does not declare."""
    return Field(Path(name, dynamic=True))


def _joined(kind: type[All | Any], left: Filter, right: Filter) -> Filter:
    # Flat, because Milvus Lite cannot parse deep nesting: a & b & c is one All of three.
    if not isinstance(right, Filter):
        return NotImplemented
    parts = [part for side in (left, right) for part in (side.parts if isinstance(side, kind) else (side,))]
    return kind(tuple(parts))
