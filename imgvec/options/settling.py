"""The options of one call: checked, every default filled in, unchangeable."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar, cast

from imgvec.options.statement import Stated, stated

T = TypeVar("T")

_DEFAULTS: dict[type[Any], Mapping[str, Any]] = {}


def settled(kind: type[T], given: Mapping[str, object]) -> T:
    """Every option of `kind` with the value that is `given` or its default, checked; it cannot be changed.

    Raises `OptionError` for a value of another type or out of bounds, and `TypeError` for a name that is not there and
    for a required option that is not given, as Python does for keywords. `None` stands for an option that was not given
    where its default is None.
    """
    if isinstance(given, _Settled) and given.kind is kind:
        return cast(T, given)
    known = stated(kind)
    if (full := _DEFAULTS.get(kind)) is None:
        full = _DEFAULTS[kind] = {name: one.kept(one.option.default) for name, one in known.items() if not one.required}
    values = {**full, **_checked(known, given)}
    if len(values) < len(known):
        raise TypeError(f"the option {next(name for name in known if name not in values)!r} must be given")
    return cast(T, _Settled(kind, values))


def altered(options: T, given: Mapping[str, object]) -> T:
    """The settled options with other values for those that are `given`; the errors are those of `settled`."""
    if not isinstance(options, _Settled):
        raise TypeError("only settled options are altered")
    return cast(T, _Settled(options.kind, {**options, **_checked(stated(options.kind), given)}))


def taken(kind: type[T], given: Mapping[str, Any]) -> T:
    """Of options that several TypedDicts state, those that `kind` does; they can be changed still."""
    return cast(T, {name: given[name] for name in stated(kind) if name in given})


class _Settled(dict[str, Any]):
    """A dict, since a TypedDict is one, that cannot be changed."""

    def __init__(self, kind: type[Any], values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.kind = kind

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("settled options cannot be changed")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, dict(self))


def _checked(known: Mapping[str, Stated], given: Mapping[str, object]) -> dict[str, Any]:
    for name in given:
        if name not in known:
            raise TypeError(f"there is no option {name!r}{_meant(name, known)}")
    return {name: known[name].checked(value) for name, value in given.items()}


def _meant(name: str, known: Mapping[str, Stated]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f": did you mean {close[0]!r}?" if close else f" (there are: {', '.join(known)})"
