"""Check a Milvus boolean expression that a person wrote: its characters, its brackets and every name in it."""

from __future__ import annotations

from imgvec.errors import FilterError
from imgvec.filters.comparisons import Compare, rewritten
from imgvec.filters.fields import FUNCTIONS, KEYWORDS, Fields, check_characters, key_reference
from imgvec.filters.grammar import check_shape
from imgvec.filters.negation import negations
from imgvec.filters.spatial import check_calls
from imgvec.filters.sums import Solve, solved_sums
from imgvec.filters.tokens import Token, check_arithmetic, in_tens
from imgvec.filters.tokens import tokens as tokens_of
from imgvec.meant import suggestion

_CLOSING = {"(": ")", "[": "]"}
_NEGATIONS = frozenset({"not", "!"})


def checked(text: str, fields: Fields, *, max_depth: int, compare: Compare, solve: Solve, negated: bool = False) -> str:
    """`text` in the form that every backend reads: keywords in lower case, dynamic keys by their bare name, whole
    numbers in decimal.

    Comparisons of a field with plain values are checked, and written so that backends agree (`comparisons`); `compare`
    renders those with dates. So are those of sums (`sums`), which `solve` renders. `negated` says that `not` is put
    before the whole.

    Raises:
        FilterError: a character, string, word or bracket does not belong where it stands, a name is not a field of the
            collection, or brackets nest deeper than `max_depth`. The message gives the column, from 1.
        UnsupportedByBackend: the backend does not read a part of it, or silently reads it wrongly; with the column.
    """
    check_characters(text)
    tokens = tokens_of(text)
    significant = [index for index, token in enumerate(tokens) if token.kind != "space"]
    if not significant:
        raise FilterError("the filter expression is empty; omit it to search all rows")
    _check_brackets(tokens, max_depth)
    words = [in_tens(token.text) if token.kind == "number" else token.text for token in tokens]
    for place, index in enumerate(significant):
        if tokens[index].kind != "name":
            continue
        following = significant[place + 1 : place + 4]
        if tokens[index].text == "$meta":
            reference = _dynamic_key(tokens[index], [tokens[i] for i in following], fields)
            if reference is not None:
                words[index : following[-1] + 1] = [reference, *[""] * (following[-1] - index)]
        else:
            called = bool(following) and tokens[following[0]].text == "("
            words[index] = _name(tokens[index], called, fields)
    check_arithmetic(tokens)
    parts = [tokens[index] for index in significant]
    bare = check_shape(parts, fields)
    check_calls(parts, fields)
    asked = negations(parts, negated)
    rewritten(tokens, significant, words, asked, fields, compare)
    for put in solved_sums(parts, asked, fields, solve):
        first, last = significant[put.first], significant[put.last]
        words[first : last + 1] = [put.text, *[""] * (last - first)]
    for place in bare:
        words[significant[place]] = f"({tokens[significant[place]].text} == true)"
    return "".join(words)


def _check_brackets(tokens: list[Token], max_depth: int) -> None:
    """A parser goes as deep for each of several `not`s in a row as for a bracket."""
    opened: list[Token] = []
    before: list[int] = []  # each bracket, the negations that it stands under in the bracket around it
    negations_now = 0
    for token in tokens:
        if token.kind == "space":
            continue
        if token.kind == "open":
            opened.append(token)
            before.append(negations_now)
        negations_now = negations_now + 1 if token.text.lower() in _NEGATIONS else 0
        if len(opened) + sum(before) + negations_now > max_depth:
            raise FilterError(f"the filter expression is nested too deeply at column {token.column}")
        if token.kind == "close":
            if not opened or _CLOSING[opened.pop().text] != token.text:
                raise FilterError(f"{token.text!r} at column {token.column} closes no bracket")
            before.pop()
    if opened:
        raise FilterError(f"{opened[-1].text!r} at column {opened[-1].column} is never closed")


def _name(token: Token, called: bool, fields: Fields) -> str:
    if token.text.lower() in KEYWORDS:
        return token.text.lower()  # Milvus 2.3 knows them in lower case only
    if called:
        if token.text.lower() in FUNCTIONS:
            return token.text.lower()
        known = suggestion(token.text.lower(), FUNCTIONS)
        raise FilterError(f"there is no function {token.text!r} at column {token.column}{known}")
    if token.text not in fields.types:
        raise fields.unknown(token.text, f'$meta["{token.text}"]', token.column)
    return token.text


def _dynamic_key(token: Token, following: list[Token], fields: Fields) -> str | None:
    """The key in `$meta["key"]` as every backend reads it, or None to leave it as it is written."""
    if [t.kind for t in following] != ["open", "string", "close"] or following[0].text != "[":
        raise FilterError(f'$meta at column {token.column} needs a key in double quotes: $meta["key"]')
    key = following[1].text[1:-1]
    if "\\" in key:
        return None
    fields.check_key(key)
    return key_reference(key)
