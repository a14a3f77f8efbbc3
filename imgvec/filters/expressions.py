"""Filters as values: what `field("width") >= 800` builds. Nothing here knows a collection; `render` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NoReturn

from imgvec.dates import Span

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
        raise TypeError(NO_TRUTH.format("a filter"))


# Python evaluates `and`, `or`, `not` and chained comparisons through truth values, and would drop half of the filter.
NO_TRUTH = "{} has no truth value: use & | ~ with parentheses for and, or, not, and between() for a < x < b"


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
class Infix(Filter):
    """Text that has `text` in it, or at its end."""

    path: Path
    text: str
    at_end: bool

    def __repr__(self) -> str:
        return f"{self.path}.has_{'suffix' if self.at_end else 'infix'}({self.text!r})"


@dataclass(frozen=True, repr=False)
class HasWords(Filter):
    """Text that has one of the words of `text`; where `every`, each of them."""

    path: Path
    text: str
    every: bool

    def __repr__(self) -> str:
        return f"{self.path}.has_{'all_words' if self.every else 'any_word'}({self.text!r})"


@dataclass(frozen=True, repr=False)
class HasPhrase(Filter):
    """Text that has the words of `text` one after the other, moved by `slop` places in all."""

    path: Path
    text: str
    slop: int

    def __repr__(self) -> str:
        return f"{self.path}.has_phrase({self.text!r}, slop={self.slop})"


@dataclass(frozen=True, repr=False)
class CompareFields(Filter):
    path: Path
    operator: Operator
    other: Path

    def __repr__(self) -> str:
        return f"({self.path} {self.operator} {self.other})"


@dataclass(frozen=True)
class Step:
    """One operation on a number: `x + 2`, or `2 - x` where `swapped`."""

    operator: Literal["+", "-", "*", "/"]
    number: int | float | Fraction
    swapped: bool = False

    def __str__(self) -> str:
        return f"{self.number!r} {self.operator} {{}}" if self.swapped else f"{{}} {self.operator} {self.number!r}"


@dataclass(frozen=True, repr=False)
class Computed(Filter):
    """A comparison of what comes of a value by `steps`, the first of them first."""

    path: Path
    steps: tuple[Step, ...]
    operator: Operator
    value: int | float

    def __repr__(self) -> str:
        return f"({computation(self.path, self.steps)} {self.operator} {self.value!r})"


@dataclass(frozen=True, repr=False)
class Remainder(Filter):
    """The remainder by `modulus` is one of `values`."""

    path: Path
    modulus: int
    values: tuple[int, ...]

    def __repr__(self) -> str:
        return f"({self.path} % {self.modulus}).in_({list(self.values)!r})"


@dataclass(frozen=True, repr=False)
class Length(Filter):
    """A comparison of the number of a list's elements."""

    path: Path
    operator: Operator
    value: int

    def __repr__(self) -> str:
        return f"({self.path}.length() {self.operator} {self.value!r})"


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


def _joined(kind: type[All | Any], left: Filter, right: Filter) -> Filter:
    # Flat, because Milvus Lite cannot parse deep nesting: a & b & c is one All of three.
    if not isinstance(right, Filter):
        return NotImplemented
    parts = [part for side in (left, right) for part in (side.parts if isinstance(side, kind) else (side,))]
    return kind(tuple(parts))


def computation(path: Path, steps: Sequence[Step]) -> str:
    """As it is written in Python."""
    text = str(path)
    for step in steps:
        text = f"({str(step).format(text)})"
    return text
