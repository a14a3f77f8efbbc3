"""Whether a filter fixes a field: whether each row that it lets through has one of a few values that it names.

Milvus looks only at the partitions of these values where the field is the partition key.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from imgvec.filters.tokens import Token, closings, outermost, tokens


def fixes(expression: str, name: str) -> bool:
    """Whether the rendered filter compares the field by `==` or `in`, in every branch of an `or`."""
    return _fixes([token for token in tokens(expression) if token.kind != "space"], name)


def _fixes(parts: Sequence[Token], name: str) -> bool:
    for word, sign, needed in (("or", "||", all), ("and", "&&", any)):
        split = _split(parts, word, sign)
        if len(split) > 1:
            return needed(_fixes(each, name) for each in split)
    if len(parts) < 3:
        return False
    if parts[0].text == "(" and closings(parts)[0] == len(parts) - 1:
        return _fixes(parts[1:-1], name)
    if parts[0].text == name and parts[1].text == "in":
        return True
    ends = ((parts[0], parts[1], parts[2:]), (parts[-1], parts[-2], parts[:-2]))
    return any(
        place.text == name and equal.text == "==" and value[-1].kind in ("string", "number") and len(value) <= 2
        for place, equal, value in ends
    )


def _split(parts: Sequence[Token], word: str, sign: str) -> list[Sequence[Token]]:
    """The parts between the words that no bracket encloses."""
    edges = [at for at in outermost(parts, 0, len(parts)) if parts[at].text in (word, sign)]
    return [parts[a + 1 : b] for a, b in pairwise([-1, *edges, len(parts)])]
