"""Where a raw expression asks that something is not so.

A row without a value matches neither a condition nor its negation, as in three-valued logic. A condition that imgvec
rewrites is false for such a row, so `not` before it would find the row. Below `not`, the rewritten condition therefore
has to be true for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgvec.filters.tokens import Token, closings

_JOINS = frozenset({"and", "or", "&&", "||", ","})
_COMPARES = frozenset({"==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "**", "<<", ">>", "&", "|", "^", "~"})

Negation = bool | None
"""Whether rows are wanted for which a condition is false; None where its truth is itself compared."""


def negations(tokens: Sequence[Token], negated: bool) -> list[Negation]:
    """For each token, spaces left out, how a condition that begins there is asked; `negated` says it of the whole."""
    words = ["" if token.kind == "string" else token.text.lower() for token in tokens]
    closing = closings(tokens)
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
        elif tokens[at].kind == "open":
            enclosing.append((outer, here))
            if _at(words, at - 1) in _COMPARES or _at(words, closing[at] + 1) in _COMPARES:
                here = None
            outer = here
        elif tokens[at].kind == "close":
            outer, here = enclosing.pop()
    return found


def _at(words: Sequence[str], place: int) -> str:
    return words[place] if 0 <= place < len(words) else ""
