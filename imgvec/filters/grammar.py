"""The shape of a Milvus expression, so that what is missing or too much is named with its column.

    condition   or, and, not over comparisons
    comparison  sum, then == != < <= > >= =~ !~ sum, [not] in [list], like "text", is [not] null
    sum         operands with + - * / % ** << >> & | ^ between them; - + ~ before them
    operand     a number, a text, true, false, a name with [keys], a function, (condition), [list], ISO "text"

Which types go together is left to the backend.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgvec.errors import FilterError
from imgvec.filters.fields import SMALL_INTEGERS, Fields
from imgvec.filters.tokens import Token

_ORDER = frozenset({"==", "!=", "<", "<=", ">", ">=", "=~", "!~"})
_BETWEEN = frozenset({"+", "-", "*", "/", "%", "**", "<<", ">>", "&", "|", "^"})
_EVERYWHERE = frozenset({"+", "-", "*", "/", "==", "!=", "<", "<=", ">", ">="})
_WORDS = frozenset({"and", "or", "not", "in", "like", "is", "null", "exists", "iso", "interval"})


def check_shape(tokens: Sequence[Token], fields: Fields) -> list[int]:
    """The places of truth values that are conditions of their own, as in `not ok`, which Milvus 2.3 does not read.

    Spaces are left out of the tokens, and brackets and names are checked already. Raises `FilterError`, with the
    column, unless they are one condition, and `UnsupportedByBackend` for what the backend does not read, or silently
    reads wrongly.
    """
    shape = _Shape(tokens, fields)
    shape.condition()
    if shape.token is not None:
        raise shape.unexpected("and, or, or the end")
    return shape.bare


class _Shape:
    def __init__(self, tokens: Sequence[Token], fields: Fields) -> None:
        self._tokens, self._fields, self._dialect, self._at = tokens, fields, fields.dialect, 0
        self.bare: list[int] = []

    def _type(self, place: int) -> str:
        """The type of the field that is named there; empty where it is no field, or more than its name stands there."""
        named = self._fields.types.get(self._tokens[place].text)
        return named.type if named and place + 1 == self._at else ""

    @property
    def token(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    @property
    def _word(self) -> str:
        """The next token, names in lower case; empty at the end, and for a text."""
        token = self.token
        return "" if token is None or token.kind == "string" else token.text.lower()

    def unexpected(self, wanted: str) -> FilterError:
        token = self.token
        if token is None:
            last = self._tokens[-1]
            return FilterError(f"the filter expression ends at column {last.column + len(last.text)}, without {wanted}")
        hint = "; write `is null`" if self._word == "null" else ""
        return FilterError(f"unexpected {token.text!r} at column {token.column}, instead of {wanted}{hint}")

    def condition(self) -> None:
        self._negatable()
        while self._word in ("and", "or", "&&", "||"):
            self._at += 1
            self._negatable()

    def _negatable(self) -> None:
        while self._word in ("not", "!"):
            self._at += 1
        self._comparison()

    def _comparison(self) -> None:
        first = self._at
        self._sum()
        if self._word in ("", ")", "and", "or", "&&", "||") and self._type(first) == "BOOL":
            self.bare.append(first)
        while True:
            word = self._word
            if word in _ORDER:
                self._check_operator()
                self._at += 1
                self._sum()
            elif word == "in" or (word == "not" and self._following() == "in"):
                self._at += 1 if word == "in" else 2
                if self._word != "[":
                    raise self.unexpected("a list such as [1, 2]")
                self._list()
            elif word == "like":
                self._at += 1
                self._pattern()
            elif word == "is":
                self._at += 1 + (self._following() == "not")
                if self._word != "null":
                    raise self.unexpected("null")
                self._at += 1
            else:
                return

    def _following(self) -> str:
        at = self._at + 1
        return self._tokens[at].text.lower() if at < len(self._tokens) else ""

    def _sum(self) -> None:
        first = self._at
        self._operand()
        while self._word in _BETWEEN:
            self._check_operator()
            if self._word == "%" and self._dialect.float_remainder and self._type(first) not in SMALL_INTEGERS:
                column = self._tokens[self._at].column
                raise self._dialect.refusal(f"no exact % but of {', '.join(SMALL_INTEGERS)} (column {column})")
            self._at += 1
            self._operand()

    def _check_operator(self) -> None:
        token = self.token
        assert token is not None
        if token.text not in _EVERYWHERE and not self._dialect.remainder:
            raise self._dialect.refusal(f"no {token.text} (column {token.column})")

    def _operand(self) -> None:
        while self._word in ("-", "+", "~", "not", "!", "exists"):
            self._at += 1
        token = self.token
        if token is None:
            raise self.unexpected("a value")
        if token.kind in ("number", "string"):
            self._at += 1
        elif token.text == "(":
            self._at += 1
            self.condition()
            self._close(")")
        elif token.text == "[":
            self._list()
        elif token.kind == "name" and self._word in ("iso", "interval"):
            self._at += 1
            self._string()
        elif token.kind == "name" and self._word not in _WORDS:
            self._named(token)
        else:
            raise self.unexpected("a value")

    def _named(self, token: Token) -> None:
        self._at += 1
        if self._word == "(":
            self._dialect.check_function(token.text.lower(), f"column {token.column}")
            self._items("(", ")")
        while self._word == "[":
            self._at += 1
            key = self.token
            if key is None or (key.kind != "string" and not key.text.isdecimal()):
                raise self.unexpected("a key in quotes or a position from 0")
            self._at += 1
            self._close("]")

    def _list(self) -> None:
        self._items("[", "]")

    def _items(self, opening: str, closing: str) -> None:
        assert self._word == opening
        self._at += 1
        while self._word != closing:
            self._sum()
            if self._word != ",":
                break
            self._at += 1
        self._close(closing)

    def _close(self, bracket: str) -> None:
        if self._word != bracket:
            raise self.unexpected(repr(bracket))
        self._at += 1

    def _string(self) -> Token:
        token = self.token
        if token is None or token.kind != "string":
            raise self.unexpected("a text in quotes")
        self._at += 1
        return token

    def _pattern(self) -> None:
        token = self._string()
        pattern = token.text[1:-1]
        if self._dialect.infix or not ("%" in pattern[:-1] or "_" in pattern):
            return
        raise self._dialect.refusal(f'no `like` but for beginnings, as in "ab%" (column {token.column})')
