"""A sum as a tree of numbers and places, and as a multiple of one place, where it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from imgvec.errors import FilterError
from imgvec.filters.expressions import Path
from imgvec.filters.fields import Fields
from imgvec.filters.tokens import Token, number_of, text_of

_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}
_MOST = 256
"""Numbers, places and signs of a sum, since each may lie within the one before."""
_LONGEST = 1000
"""Characters of a key; Python does not read positions of thousands of digits."""


@dataclass(frozen=True, slots=True)
class Number:
    value: Fraction
    whole: bool


@dataclass(frozen=True, slots=True)
class Place:
    path: Path
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Operation:
    operator: str
    left: Node
    right: Node
    column: int


Node = Number | Place | Operation


@dataclass(frozen=True, slots=True)
class Linear:
    """`place * factor + offset`."""

    place: Place | None
    factor: Fraction
    offset: Fraction


class SumReader:
    """Reads the tokens from `at` up to `end` as one sum of numbers and places by + - * /."""

    def __init__(self, tokens: Sequence[Token], fields: Fields, at: int, end: int) -> None:
        self._tokens, self._fields, self._at, self._end = tokens, fields, at, end
        self._parts = 0

    def read(self) -> Node | None:
        """None where they are no such sum."""
        found = self._ranked(1)
        return found if self._at == self._end else None

    def operand(self) -> Node | None:
        """The next operand, with its signs; raises `FilterError` for too many."""
        signs = []
        while self._text in ("+", "-"):
            signs.append(self._next())
        self._parts += 1 + len(signs)
        if self._parts > _MOST:
            raise FilterError(f"the sum at column {self._tokens[self._at - 1].column} has more than {_MOST} parts")
        token = self._next() if self._at < self._end else None
        found: Node | None = None
        if token is None:
            return None
        if token.kind == "number":
            value = number_of(token)
            found = None if value is None else Number(Fraction(value), isinstance(value, int))
        elif token.text == "(":
            found = self._ranked(1)
            if self._text != ")":
                return None
            self._at += 1
        elif token.kind == "name":
            found = self._place(token)
        for sign in reversed(signs):
            if found is not None and sign.text == "-":
                found = Operation("-", Number(Fraction(0), whole=True), found, sign.column)
        return found

    @property
    def _text(self) -> str:
        return self._tokens[self._at].text if self._at < self._end else ""

    def _next(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _ranked(self, least: int) -> Node | None:
        left = self.operand()
        while left is not None and _RANK.get(self._text, 0) >= least:
            operator = self._next()
            right = self._ranked(_RANK[operator.text] + 1)
            left = right and Operation(operator.text, left, right, operator.column)
        return left

    def _place(self, token: Token) -> Place | None:
        first, keys = self._at - 1, list[str | int]()
        while self._text == "[":
            key = self._tokens[self._at + 1]
            if "\\" in key.text or len(key.text) > _LONGEST:
                return None  # backends read a backslash in different ways
            keys.append(text_of(key) if key.kind == "string" else int(key.text))
            self._at += 3
        if token.text == "$meta":
            return Place(Path(str(keys[0]), tuple(keys[1:]), dynamic=True), first, self._at - 1) if keys else None
        known = token.text in self._fields.types and self._text != "("
        return Place(Path(token.text, tuple(keys)), first, self._at - 1) if known else None


def computes(node: Node) -> bool:
    return isinstance(node, Operation) and not (isinstance(node.left, Number) and _is_signed(node))


def _is_signed(node: Operation) -> bool:
    """A number with a minus before it, which is no computation."""
    return node.operator == "-" and node.left == Number(Fraction(0), whole=True) and isinstance(node.right, Number)


def linear(node: Node) -> Linear | None:
    if isinstance(node, Number):
        return Linear(None, Fraction(0), node.value)
    if isinstance(node, Place):
        return Linear(node, Fraction(1), Fraction(0))
    left, right = linear(node.left), linear(node.right)
    if left is None or right is None:
        return None
    if node.operator in ("+", "-"):
        if left.place and right.place and left.place.path != right.place.path:
            return None
        sign = 1 if node.operator == "+" else -1
        return Linear(left.place or right.place, left.factor + sign * right.factor, left.offset + sign * right.offset)
    if node.operator == "*" and left.place is None:
        left, right = right, left
    if right.place is not None:
        return None
    scale = right.offset if node.operator == "*" else 1 / right.offset
    return Linear(left.place, left.factor * scale, left.offset * scale)
