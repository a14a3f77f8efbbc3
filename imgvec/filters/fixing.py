"""Whether a filter fixes a field: whether each row that it lets through has one of a few values that it names.

Milvus looks only at the partitions of these values where the field is the partition key.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgvec.filters.tokens import Token, tokens

_OPENING, _CLOSING = frozenset("(["), frozenset(")]")


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
    if parts[0].text == "(" and _closing(parts) == len(parts) - 1:
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
    depth, start, found = 0, 0, []
    for at, token in enumerate(parts):
        if token.kind == "string":
            continue
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if not depth and token.text in (word, sign):
            found.append(parts[start:at])
            start = at + 1
    return [*found, parts[start:]]


def _closing(parts: Sequence[Token]) -> int:
    """The place of the bracket that closes the first one."""
    depth = 0
    for at, token in enumerate(parts):
        if token.kind != "string":
            depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if not depth:
            return at
    raise AssertionError("brackets were checked")
