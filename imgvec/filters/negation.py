"""Where a raw expression asks that something is not so.

A condition that is written anew says of a row without a value that it does not match, as `not` of it does in three
values: unknown stays unknown. So beneath `not` another condition is due than elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgvec.filters.tokens import Token

_JOINS = frozenset({"and", "or", "&&", "||", ","})
_COMPARES = frozenset({"==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "**", "<<", ">>", "&", "|", "^", "~"})
_OPENING, _CLOSING = frozenset("(["), frozenset(")]")

Negation = bool | None
"""Whether the rows wanted are those that a condition is false for; None where its truth is compared with another."""


def negations(tokens: Sequence[Token], negated: bool) -> list[Negation]:
    """For each token, spaces left out, how a condition that begins there is asked; `negated` says it of the whole."""
    words = ["" if token.kind == "string" else token.text.lower() for token in tokens]
    closing = _closing(words)
    found: list[Negation] = []
    outer: Negation = negated  # within these brackets
    here: Negation = negated
    enclosing: list[tuple[Negation, Negation]] = []
    for at, word in enumerate(words):
        found.append(here)
        if word in ("not", "!") and _at(words, at + 1) != "in" and _at(words, at - 1) != "is":
            here = None if here is None else not here
        elif word in _JOINS:
            here = outer
        elif word in _OPENING:
            enclosing.append((outer, here))
            if _at(words, at - 1) in _COMPARES or _at(words, closing[at] + 1) in _COMPARES:
                here = None
            outer = here
        elif word in _CLOSING:
            outer, here = enclosing.pop()
    return found


def _at(words: Sequence[str], place: int) -> str:
    return words[place] if 0 <= place < len(words) else ""


def _closing(words: Sequence[str]) -> dict[int, int]:
    """The place of the bracket that closes each."""
    opened, found = list[int](), dict[int, int]()
    for at, word in enumerate(words):
        if word in _OPENING:
            opened.append(at)
        elif word in _CLOSING:
            found[opened.pop()] = at
    return found
