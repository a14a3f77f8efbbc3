"""Options are stated once: a `TypedDict` whose fields are `Annotated[T, Option(default, help=…)]`.

    class SearchOptions(TypedDict, total=False):
        limit: Annotated[int, Option(10, at_least=1, flags=("-k", "--limit"), help="How many hits.")]

    @documented(SearchOptions)
    def search(self, query: Query, **options: Unpack[SearchOptions]) -> Answer:
        return self._search(query, settled(SearchOptions, options))

From that one declaration come the keywords of the public method (PEP 692, which type checkers follow), the checked
value with every default filled in (`settled`), the options of the command (`imgvec.cli.stated`), the body of a request
to a server and its JSON schema (`json_model`), and what `help()` and a notebook show (`documented`).

The TypedDict is that of `typing_extensions`, which pydantic asks for on Python 3.11. Its types are looked up when the
program runs, so what they name is imported, and not only under TYPE_CHECKING.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NoReturn,
    NotRequired,
    Required,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)

from typing_extensions import get_type_hints

from imgvec.errors import OptionError

if TYPE_CHECKING:
    from pydantic import BaseModel

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_WORDS: Mapping[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "None",
}
_STATED: dict[type[Any], Mapping[str, Stated]] = {}
_DEFAULTS: dict[type[Any], Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one option besides its name and type."""

    default: Any = None
    help: str = ""
    """One sentence, for the command's help, the JSON schema and the docstring."""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    flags: tuple[str, ...] = ()
    """On the command line; empty for the name itself, as `--min-score`."""
    metavar: str | None = None
    """What stands for the value in the command's help."""
    shell: bool = True
    """False where no command has it, or one has something of its own in its place."""
    json: bool = True
    """False where nobody may set it from another machine."""
    json_type: Any = None
    """Its type in JSON, where that is another one."""


def python_only(default: Any = None, *, help: str = "") -> Option:
    """An option that has no form outside Python: a callback, an event, an object."""
    return Option(default, help, shell=False, json=False)


@dataclass(frozen=True, slots=True)
class Stated:
    """One option of a TypedDict."""

    name: str
    type: Any
    option: Option
    plain: frozenset[type]
    """Types whose values fit, looked at first: a search is to cost microseconds."""
    is_sequence: bool
    """Whether it takes several values, so that a list is kept as a tuple."""
    takes_text: bool
    """Whether a text is one value of it, and not one of several."""

    @classmethod
    def of(cls, name: str, kind: Any, option: Option) -> Self:
        members = _members(kind)
        plain: set[type] = {one for one in members if one in (bool, int, float, str, type(None))}
        if float in plain:
            plain.add(int)
        if any(is_mapping(one) for one in members):
            plain.add(dict)
        if any(is_repeated(one) for one in members):
            plain.update((list, tuple))
        several = any(is_repeated(one) or get_origin(one) is tuple for one in members)
        return cls(name, kind, option, frozenset(plain), several, str in members)

    @property
    def wanted(self) -> str:
        """The values that it takes, in words."""
        low, over, high, under = self.option.at_least, self.option.above, self.option.at_most, self.option.below
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", low), ("more than", over), ("at most", high), ("less than", under))
            if bound is not None
        ]
        words = " or ".join(dict.fromkeys(_words(one) for one in _members(self.type)))
        return words + (f", {' and '.join(bounds)}" if bounds else "")

    def checked(self, value: Any) -> Any:
        """The value as it is kept; raises `OptionError`."""
        if value is None and self.option.default is None:
            return None  # "not given", whatever the type says
        if not (type(value) in self.plain or _fits(value, self.type)) or not self._within(value):
            raise OptionError(self.name, f"{self.name} = {_short(value)} is refused: give {self.wanted}")
        return self.kept(value)

    def kept(self, value: Any) -> Any:
        """A copy of what the caller could change later; one text where several may stand is one of them."""
        if type(value) is dict:
            return dict(value)
        if not self.is_sequence:
            return value
        if isinstance(value, str) and not self.takes_text:
            return (value,)
        return tuple(value) if isinstance(value, list) else value

    def _within(self, value: Any) -> bool:
        if isinstance(value, bool | str) or not isinstance(value, Real):
            return True
        number, option = float(value), self.option
        return (
            not math.isnan(number)
            and (option.at_least is None or number >= option.at_least)
            and (option.above is None or number > option.above)
            and (option.at_most is None or number <= option.at_most)
            and (option.below is None or number < option.below)
        )


def stated(kind: type[Any]) -> Mapping[str, Stated]:
    """The options that a TypedDict states, by name, in its order; raises `TypeError` where a field has no `Option`."""
    if (known := _STATED.get(kind)) is not None:
        return known
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        while _origin(hint) in (NotRequired, Required):
            (hint,) = get_args(hint)
        plain, *about = get_args(hint) if _origin(hint) is Annotated else (hint,)
        options = [one for one in about if isinstance(one, Option)]
        if len(options) != 1:
            raise TypeError(f"{kind.__name__}.{name} is not Annotated[..., Option(...)]")
        found[name] = Stated.of(name, plain, options[0])
    return _STATED.setdefault(kind, types.MappingProxyType(found))


def settled(kind: type[T], given: Mapping[str, object]) -> T:
    """Every option of `kind` with the value that is `given` or its default, checked; it cannot be changed.

    Raises `OptionError` for a value of another type or out of bounds, and `TypeError` for a name that is not there, as
    Python does for a keyword. `None` stands for an option that was not given where its default is None.
    """
    if isinstance(given, _Settled) and given.kind is kind:
        return cast(T, given)
    known = stated(kind)
    if (full := _DEFAULTS.get(kind)) is None:
        full = _DEFAULTS[kind] = {name: one.kept(one.option.default) for name, one in known.items()}
    return cast(T, _Settled(kind, {**full, **_checked(known, given)}))


def altered(options: T, given: Mapping[str, object]) -> T:
    """The settled options with other values for those that are `given`; the errors are those of `settled`."""
    if not isinstance(options, _Settled):
        raise TypeError("only settled options are altered")
    return cast(T, _Settled(options.kind, {**options, **_checked(stated(options.kind), given)}))


def _checked(known: Mapping[str, Stated], given: Mapping[str, object]) -> dict[str, Any]:
    for name in given:
        if name not in known:
            raise TypeError(f"there is no option {name!r}{_meant(name, known)}")
    return {name: known[name].checked(value) for name, value in given.items()}


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


def json_model(kind: type[Any]) -> type[BaseModel]:
    """A pydantic model of the options that may come from another machine: checked, frozen, unknown names refused.

    `json_model(kind).model_json_schema()` is the schema of a REST body or of a tool; what it holds goes on as
    `model_dump(exclude_unset=True)`.
    """
    from pydantic import ConfigDict, Field, create_model

    fields: dict[str, Any] = {}
    for name, one in stated(kind).items():
        if one.option.json:
            option = one.option
            bounds: dict[str, Any] = {
                "ge": option.at_least,
                "gt": option.above,
                "le": option.at_most,
                "lt": option.below,
            }
            bounds = {word: bound for word, bound in bounds.items() if bound is not None}
            about = Field(default=option.default, description=option.help or None, **bounds)
            fields[name] = (option.json_type or one.type, about)
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid", frozen=True), **fields)


def documented(kind: type[Any]) -> Callable[[F], F]:
    """Show the options behind a function's `**options` in its docstring and in its signature."""

    def decorate(function: F) -> F:
        known = stated(kind)
        shown = inspect.signature(function)
        own = [p for p in shown.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=one.option.default, annotation=one.type)
            for name, one in known.items()
        ]
        function.__signature__ = shown.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        lines = [f"    {name}: {one.option.help}" for name, one in known.items()]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *lines])
        return function

    return decorate


def is_repeated(kind: Any) -> bool:
    """Whether the type is a sequence of any length, and no text."""
    origin = get_origin(kind)
    if origin is tuple:
        return Ellipsis in get_args(kind)
    return isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping)


def is_mapping(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def members(kind: Any) -> tuple[Any, ...]:
    """The types of a union but for None; any other type alone."""
    return tuple(one for one in _members(kind) if one is not type(None))


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as far as can be told without looking into it."""
    if kind is Any:
        return True
    if len(_members(kind)) > 1:
        return any(_fits(value, one) for one in _members(kind))
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


def _words(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(repr(one) for one in get_args(kind))
    if is_repeated(kind):
        return "a sequence"
    if is_mapping(kind):
        return "a mapping"
    return _WORDS.get(origin) or f"a {getattr(origin, '__name__', origin)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _meant(name: str, known: Mapping[str, Stated]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f": is {close[0]!r} meant?" if close else f" (there are: {', '.join(known)})"
