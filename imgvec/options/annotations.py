"""Reads type annotations: what kind of option a type makes, and whether a value fits."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin

_WORDS: Mapping[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string",
    type(None): "None",
}


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


def is_mapping(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def members(kind: Any) -> tuple[Any, ...]:
    """The members of a union except None; for any other type, the type itself."""
    return tuple(one for one in union_of(kind) if one is not type(None))


def union_of(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value has a type, as far as can be told without looking inside it."""
    if kind is Any:
        return True
    if len(union_of(kind)) > 1:
        return any(fits(value, one) for one in union_of(kind))
    if kind is None or kind is type(None):
        return value is None
    origin = get_origin(kind) or kind
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(kind))
    if origin is bool:
        return isinstance(value, bool)
    if origin in (int, float):
        return isinstance(value, Integral if origin is int else Real) and not isinstance(value, bool)
    if origin is Callable:
        return callable(value)
    if origin is tuple:
        length = len(get_args(kind))
        return isinstance(value, Sequence) and (
            is_repeated(kind) or (not isinstance(value, str) and len(value) == length)
        )
    if not isinstance(origin, type):
        return True
    if issubclass(origin, os.PathLike):
        return isinstance(value, os.PathLike)
    try:
        return isinstance(value, origin)
    except TypeError:  # a protocol, which cannot be asked
        return True


def _is_array(origin: type) -> bool:
    """NumPy's own mark: it is not imported for this."""
    return hasattr(origin, "__array__")


def words_for(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(repr(one) for one in get_args(kind))
    if (numbers := number_type(kind)) is not None:
        return f"a sequence of {'whole numbers' if numbers is int else 'numbers'}"
    if is_repeated(kind):
        return "a sequence"
    if isinstance(origin, type) and _is_array(origin):
        return "an array"
    if is_mapping(kind):
        return "a mapping"
    return _WORDS.get(origin) or f"a {getattr(origin, '__name__', origin)}"
