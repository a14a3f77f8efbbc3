"""What comparisons take on their left and give filters: numbers computed from a field, remainders, lengths of lists."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Literal, NoReturn

from imgvec import dates
from imgvec.dates import Span
from imgvec.errors import FilterError
from imgvec.filters.expressions import (
    NO_TRUTH,
    Any,
    Computed,
    Filter,
    Length,
    Not,
    Operator,
    Path,
    Remainder,
    Scalar,
    Step,
    computation,
)


class Comparable:
    """What comparisons take on their left; comparing it gives a `Filter`."""

    __slots__ = ()
    # It compares to a filter and not to a truth value, so it can be neither hashed nor searched nor iterated.
    __hash__ = None  # type: ignore[assignment]  # as Python sets it itself for a class with __eq__ alone
    __iter__ = None
    __contains__ = None

    def __bool__(self) -> NoReturn:
        raise TypeError(NO_TRUTH.format("a field"))

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]  # a filter, not a bool
        return self._compare("==", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]  # a filter, not a bool
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
        return Any(tuple(self._compare("==", value) for value in self._listed(values)))

    def not_in(self, values: Iterable[object]) -> Filter:
        """`~in_(values)`."""
        return ~self.in_(values)

    @abstractmethod
    def _compare(self, operator: Operator, value: object) -> Filter: ...

    def _listed(self, values: Iterable[object]) -> list[object]:
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise FilterError(f"{self}: give a list of values, not {values!r}")
        return list(values)

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
        if isinstance(value, Comparable):
            raise FilterError(f"{self}: Milvus compares a field with a value or with another field, not with {value}")
        raise FilterError(f"{self}: a value must be a string, a number, a bool or a date, not {type(value).__name__}")

    def _number(self, value: object) -> int | float:
        number = self._scalar(value)
        if isinstance(number, bool | str | Span):
            raise FilterError(f"{self}: arithmetic needs numbers, not {value!r}")
        return number

    def _whole(self, value: object, what: str) -> int:
        number = self._number(value)
        if not isinstance(number, int):
            raise FilterError(f"{self}: {what} is a whole number, not {value!r}")
        return number


class Arithmetic(Comparable):
    """A number that can be computed with: `field("height") * 2 - 1`.

    Comparisons are solved for the field, exactly: no overflow, and `/` is the division of real numbers.
    """

    __slots__ = ()

    def __add__(self, number: object) -> Number:
        return self._step("+", number)

    def __radd__(self, number: object) -> Number:
        return self._step("+", number)

    def __sub__(self, number: object) -> Number:
        return self._step("-", number)

    def __rsub__(self, number: object) -> Number:
        return self._step("-", number, swapped=True)

    def __mul__(self, number: object) -> Number:
        return self._step("*", number)

    def __rmul__(self, number: object) -> Number:
        return self._step("*", number)

    def __truediv__(self, number: object) -> Number:
        if not self._number(number):
            raise FilterError(f"{self} / {number!r}: divided by zero")
        return self._step("/", number)

    def __neg__(self) -> Number:
        return self._step("*", -1)

    @abstractmethod
    def _steps(self) -> tuple[Path, tuple[Step, ...]]: ...

    def _step(self, operator: Literal["+", "-", "*", "/"], number: object, *, swapped: bool = False) -> Number:
        path, steps = self._steps()
        return Number(path, (*steps, Step(operator, self._number(number), swapped)))


class Number(Arithmetic):
    """What is computed from a number; made by `field("height") * 2`."""

    __slots__ = ("_path", "_taken")

    def __init__(self, path: Path, steps: tuple[Step, ...]) -> None:
        self._path, self._taken = path, steps

    def __repr__(self) -> str:
        return computation(self._path, self._taken)

    def _steps(self) -> tuple[Path, tuple[Step, ...]]:
        return self._path, self._taken

    def _compare(self, operator: Operator, value: object) -> Filter:
        return Computed(self._path, self._taken, operator, self._number(value))


class Modulo(Comparable):
    """A remainder, as Python has it: never negative. Made by `field("number") % 10`."""

    __slots__ = ("_modulus", "_path")

    def __init__(self, path: Path, modulus: int) -> None:
        self._path, self._modulus = path, modulus

    def __repr__(self) -> str:
        return f"({self._path} % {self._modulus})"

    def in_(self, values: Iterable[object]) -> Filter:
        wanted = tuple(self._whole(value, "a remainder") for value in self._listed(values))
        return Remainder(self._path, self._modulus, wanted)

    def _compare(self, operator: Operator, value: object) -> Filter:
        if operator not in ("==", "!="):
            raise FilterError(f"{self} {operator} {value!r}: remainders are compared by ==, !=, in_ and not_in")
        found = self.in_([value])
        return found if operator == "==" else Not(found)


class ListLength(Comparable):
    """The number of a list's elements; made by `field("tags").length()`."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"{self._path}.length()"

    def _compare(self, operator: Operator, value: object) -> Filter:
        return Length(self._path, operator, self._whole(value, "a length"))
