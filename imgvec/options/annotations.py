"""Reads type annotations: what kind of option a type makes, and whether a value fits."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin

from imgvec.errors import ImgvecError

_WORDS: Mapping[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string",
    type(None): "None",
}
_SEVERAL: Mapping[Any, str] = {int: "whole numbers", float: "numbers", str: "strings"}


@cache
def is_repeated(kind: Any) -> bool:
    """Whether the type is a sequence of any length, other than a string; an array is one value."""
    origin = get_origin(kind)
    if origin is tuple:
        return Ellipsis in get_args(kind)
    return (
        isinstance(origin, type)
        and issubclass(origin, Iterable)
        and not (issubclass(origin, Mapping) or _is_array(origin))
    )


def number_type(kind: Any) -> Any:
    """Of a sequence of numbers what these are, int or float; None for any other type."""
    found = [get_args(one)[0] for one in members(kind) if is_repeated(one)]
    return found[0] if len(found) == 1 and found[0] in (int, float) else None


@cache
def is_mapping(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def members(kind: Any) -> tuple[Any, ...]:
    """The members of a union except None; for any other type, the type itself."""
    return tuple(one for one in union_of(kind) if one is not type(None))


@cache
def union_of(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


@cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a type is made of: its origin, or itself, and its arguments."""
    return get_origin(kind) or kind, get_args(kind)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value has a type: what is in a sequence or a tuple is looked at too, what an iterator gives is not."""
    if kind is Any:
        return True
    if len(union_of(kind)) > 1:
        return any(fits(value, one) for one in union_of(kind))
    if kind is None or kind is type(None):
        return value is None
    origin, inner = _parts(kind)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is bool:
        return isinstance(value, bool)
    if origin in (int, float):
        return isinstance(value, Integral if origin is int else Real) and not isinstance(value, bool)
    if origin is Callable:
        return callable(value)
    if origin is tuple and not is_repeated(kind):
        return isinstance(value, tuple | list) and len(value) == len(inner) and all(map(fits, value, inner))
    if is_repeated(kind):
        return isinstance(value, tuple if origin is tuple else origin) and _holds(value, inner)
    if not isinstance(origin, type):
        return True
    if issubclass(origin, os.PathLike):
        return isinstance(value, os.PathLike)
    if is_mapping(kind) and inner == (str, str):
        return isinstance(value, Mapping) and all(isinstance(each, str) for each in (*value, *value.values()))
    try:
        return isinstance(value, origin)
    except TypeError:  # a protocol, which cannot be asked
        return True
    except ImgvecError:  # Python 3.11 reads each property of a protocol, and one refuses: it is there
        return True


def _holds(several: Iterable[Any], inner: tuple[Any, ...]) -> bool:
    """Whether each one is of the type; a text alone is one of them, and bytes are no sequence of numbers."""
    if isinstance(several, str):
        return fits(several, inner[0])
    if isinstance(several, bytes | bytearray | memoryview):
        return False
    if not isinstance(several, Sequence) or not inner:
        return True
    kind = inner[0]
    return all(type(one) is kind or fits(one, kind) for one in several)


def _is_array(origin: type) -> bool:
    """NumPy's own mark: it is not imported for this."""
    return hasattr(origin, "__array__")


def words_for(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(repr(one) for one in get_args(kind))
    if is_repeated(kind):
        several = _SEVERAL.get(get_args(kind)[0])
        return f"a sequence of {several}" if several else "a sequence"
    if origin is tuple:
        return f"({', '.join(map(words_for, get_args(kind)))})"
    if isinstance(origin, type) and _is_array(origin):
        return "an array"
    if is_mapping(kind):
        return "a mapping of strings to strings" if get_args(kind) == (str, str) else "a mapping"
    if known := _WORDS.get(origin):
        return known
    name = getattr(origin, "__name__", str(origin))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
