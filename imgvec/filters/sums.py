"""Sums within a raw expression, such as `width * 2 - 1 > 640`, solved for what they compute with: none overflows.

    width * 2 - 1 > 640     width > 320: one field, key or position, in exact fractions, as field("width") * 2 - 1 > 640
    5 < width + 1 < 9       (width > 4 and width < 8)
    width > 2 * 320         width > 640
    width * height > 1e6    (width + 0) * (height + 0) > 1e6, where a sum has no more bits than its fields

Backends differ where they compute themselves. Milvus Lite gives a sum as many bits as its operands have, and loses the
others without a word. Milvus 2.3 computes with one field, by `==` and `!=` alone; there sums overflow too, halves are
cut off, and a whole number divided by zero ends the server's process. Operators other than `+ - * /` are left to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import cast

from imgvec.errors import FilterError
from imgvec.filters.arithmetic import holds
from imgvec.filters.expressions import Operator, Path
from imgvec.filters.fields import INT_BITS, Fields
from imgvec.filters.negation import Negation
from imgvec.filters.sum_tree import Linear, Node, Number, Operation, Place, SumReader, computes, linear
from imgvec.filters.tokens import Token, closings, in_tens, outermost

_ORDER = frozenset({"==", "!=", "<", "<=", ">", ">="})
_BREAKS = frozenset({"and", "or", "not", "in", "like", "is", "exists", "&&", "||", "!", ",", "=~", "!~"})
_LEAST, _GREATEST = -(2**63), 2**63 - 1

Solve = Callable[[Path, Fraction, Operator, Fraction, Negation], str]
"""Renders `path * factor operator value`, as it is asked there."""


@dataclass(frozen=True, slots=True)
class Put:
    """What is sent instead of the tokens from `first` to `last`, spaces not counted."""

    first: int
    last: int
    text: str


def solved_sums(tokens: Sequence[Token], asked: Sequence[Negation], fields: Fields, solve: Solve) -> list[Put]:
    """What is to be sent for the comparisons of sums among the tokens, which are one condition; spaces are left out.

    `asked` are the tokens' `negations`.

    Raises:
        FilterError: something is divided by zero, numbers are compared with each other, or a field holds no numbers.
        UnsupportedByBackend: the backend computes it with too few bits.
    """
    return list(_Sums(tokens, asked, fields, solve).puts())


class _Sums:
    def __init__(self, tokens: Sequence[Token], asked: Sequence[Negation], fields: Fields, solve: Solve) -> None:
        self._tokens, self._asked, self._fields, self._solve = tokens, asked, fields, solve
        self._closings = closings(tokens)

    def puts(self) -> Iterator[Put]:
        for at, token in enumerate(self._tokens):
            if token.text in ("/", "%") and token.kind == "operator":
                self._check_divisor(at)
        yield from self._conditions(0, len(self._tokens))

    def _conditions(self, first: int, end: int) -> Iterator[Put]:
        """Those of the tokens from `first` up to `end`, within which brackets close."""
        start, inner, orders = first, list[int](), list[int]()
        for at in (*outermost(self._tokens, first, end), end):
            word = self._word(at)
            if word in _BREAKS or at == end:
                yield from self._chain(start, orders, inner, at)
                start, inner, orders = at + 1, [], []
            elif word in _ORDER:
                orders.append(at)
            elif word == "(" and not (at > start and self._tokens[at - 1].kind == "name"):
                inner.append(at)

    def _chain(self, start: int, orders: list[int], inner: list[int], end: int) -> Iterator[Put]:
        """Sums that are compared from left to right, or what stands in brackets."""
        edges = [start - 1, *orders, end]
        sums = [SumReader(self._tokens, self._fields, a + 1, b).read() for a, b in pairwise(edges)]
        known = [each for each in sums if each is not None]
        if not orders or len(known) < len(sums):
            for at in inner:
                yield from self._conditions(at + 1, self._closings[at])
            return
        if not any(map(computes, known)):
            if self._is_to_part(orders, known):
                yield Put(start, end - 1, self._parted(edges, known))
            return
        multiples = [linear(each) for each in known]
        parts = [
            self._comparison(left, cast(Operator, self._word(at)), right, at, self._asked[start])
            for left, right, at in zip(multiples, multiples[1:], orders, strict=False)
        ]
        if all(each is not None for each in parts):
            text = " and ".join(each for each in parts if each is not None)
            after_not = start > 0 and self._word(start - 1) in ("not", "!")
            yield Put(start, end - 1, f"({text})" if len(parts) > 1 or after_not else text)
        elif not self._fields.dialect.sums:
            for each in known:
                if computes(each):
                    self._range(each)
                    yield from self._widened(each)

    def _is_to_part(self, orders: Sequence[int], sums: Sequence[Node]) -> bool:
        """Whether it is a chain, other than of a declared field between two numbers, which `comparisons` writes."""
        if len(orders) < 2 or any(self._word(at) in ("==", "!=") for at in orders):
            return False  # what is equal may be truths
        low, place, high = sums[:3]
        is_declared = isinstance(place, Place) and not (place.path.keys or place.path.dynamic)
        is_written = isinstance(low, Number) and is_declared and isinstance(high, Number)
        beside = {self._word(at) for at in range(orders[0] - 1, orders[1] + 2)}
        return len(sums) > 3 or not is_written or not beside.isdisjoint("()")

    def _parted(self, edges: Sequence[int], sums: Sequence[Node]) -> str:
        """Each comparison of a chain of places by itself: Milvus Lite takes `0 < a < b` for `(0 < a) < b`."""
        texts = [
            self._fields.operand(each.path).text
            if isinstance(each, Place)
            else "".join(in_tens(token.text) for token in self._tokens[before + 1 : after])
            for each, (before, after) in zip(sums, pairwise(edges), strict=True)
        ]
        orders = [self._word(at) for at in edges[1:-1]]
        return f"({' and '.join(f'{a} {order} {b}' for a, order, b in zip(texts, orders, texts[1:], strict=False))})"

    def _comparison(
        self, left: Linear | None, operator: Operator, right: Linear | None, at: int, asked: Negation
    ) -> str | None:
        """One comparison, solved; None where it computes with several places, or what is no multiple of one."""
        if left is None or right is None:
            return None
        places = [each.place for each in (left, right) if each.place is not None]
        if not places:
            truth = str(holds(left.offset, operator, right.offset)).lower()
            raise FilterError(
                f"the comparison at column {self._tokens[at].column} names no field: it is always {truth}"
            )
        if len({each.path for each in places}) > 1:
            return None
        factor, value = left.factor - right.factor, right.offset - left.offset
        try:
            return self._solve(places[0].path, factor, operator, value, asked)
        except FilterError as exc:
            raise FilterError(f"{exc} (column {self._tokens[places[0].first].column})") from None

    def _range(self, node: Node) -> tuple[Fraction, Fraction] | None:
        """The least and the greatest whole number that it can be, each with 64 bits; None for a fraction."""
        if isinstance(node, Number):
            return (node.value, node.value) if node.whole else None
        if isinstance(node, Place):
            type_ = "INT64" if node.path.dynamic else self._fields.types[node.path.name].type
            if type_ not in INT_BITS or node.path.keys:
                return None  # within JSON and lists Milvus Lite computes row by row, with whole numbers of any size
            bits = INT_BITS[type_]
            return Fraction(-(2 ** (bits - 1))), Fraction(2 ** (bits - 1) - 1)
        left, right = self._range(node.left), self._range(node.right)
        if left is None or right is None or node.operator == "/":
            return None
        if node.operator == "*":
            ends = [a * b for a in left for b in right]
        elif node.operator == "+":
            ends = [left[0] + right[0], left[1] + right[1]]
        else:
            ends = [left[0] - right[1], left[1] - right[0]]
        if min(ends) < _LEAST or max(ends) > _GREATEST:
            lacks = f"no more than 64 bits for {node.operator} (column {node.column}), which may not do"
            raise self._fields.dialect.refusal(f"{lacks}: compare the fields with numbers, or with each other")
        return min(ends), max(ends)

    def _widened(self, node: Node) -> Iterator[Put]:
        """Its narrow fields, each so that what is computed from it has 64 bits."""
        if isinstance(node, Operation):
            yield from self._widened(node.left)
            yield from self._widened(node.right)
        elif isinstance(node, Place) and not (node.path.keys or node.path.dynamic):
            neutral = {"FLOAT": " * 1.0", "INT8": " + 0", "INT16": " + 0", "INT32": " + 0"}
            if more := neutral.get(self._fields.types[node.path.name].type):
                yield Put(node.first, node.last, f"({node.path.name}{more})")

    def _check_divisor(self, at: int) -> None:
        """Refuse what is divided by zero."""
        divisor = SumReader(self._tokens, self._fields, at + 1, len(self._tokens)).operand()
        number = divisor and linear(divisor)
        if number and number.place is None and not number.offset:
            raise FilterError(f"{self._tokens[at].text} at column {self._tokens[at].column} divides by zero")

    def _word(self, at: int) -> str:
        token = self._tokens[at] if at < len(self._tokens) else None
        return "" if token is None or token.kind == "string" else token.text.lower()
