"""An option, and what a TypedDict states of its own."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, NotRequired, Required, Self, get_args, get_origin

from typing_extensions import get_type_hints

from imgvec.errors import OptionError
from imgvec.options.annotations import fits, is_mapping, is_repeated, number_type, union_of, words_for

_STATED: dict[type[Any], Mapping[str, Stated]] = {}


@dataclass(frozen=True, slots=True)
class Option:
    """Everything about an option except its name and type."""

    default: Any = None
    help: str = ""
    """One sentence, used in the command's help, the JSON schema and the docstring."""
    # bounds of a number, and of each number of a sequence
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    flags: tuple[str, ...] = ()
    """On the command line; if empty, the name itself, such as `--min-score`."""
    alone: str | None = None
    """The value that the option has on the command line where none follows it, such as `calibrated`. Click then takes
    what begins with - for the next option, so a negative number is written with a space before it, in quotes."""
    metavar: str | None = None
    """Placeholder for the value in the command's help."""
    shell: bool = True
    """False if no command has it, or the command defines its own version."""
    json: bool = True
    """False if it must not be set remotely."""
    json_type: Any = None
    """Its type in JSON, if different."""


def python_only(default: Any = None, *, help: str = "") -> Option:
    """An option that exists only in Python: a callback, an event, an object."""
    return Option(default, help, shell=False, json=False)


@dataclass(frozen=True, slots=True)
class Stated:
    """One option of a TypedDict."""

    name: str
    type: Any
    option: Option
    plain: frozenset[type]
    """Types whose values always fit, checked first: validation must take only microseconds per search."""
    is_sequence: bool
    """Whether it takes several values; a list is then kept as a tuple."""
    takes_text: bool
    """Whether a string counts as the whole value rather than as one of several."""
    numbers: Any = None
    """The type of the numbers of a sequence of numbers: int or float."""
    required: bool = False
    """Whether it has no default and must be given."""

    @classmethod
    def of(cls, name: str, kind: Any, option: Option, *, required: bool = False) -> Self:
        members = union_of(kind)
        plain: set[type] = {one for one in members if one in (bool, int, float, str, type(None))}
        if float in plain:
            plain.add(int)
        if any(is_mapping(one) and get_args(one) != (str, str) for one in members):
            plain.add(dict)
        several = any(is_repeated(one) or get_origin(one) is tuple for one in members)
        return cls(name, kind, option, frozenset(plain), several, str in members, number_type(kind), required)

    @property
    def wanted(self) -> str:
        """The accepted values, in words."""
        low, over, high, under = self.option.at_least, self.option.above, self.option.at_most, self.option.below
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", low), ("more than", over), ("at most", high), ("less than", under))
            if bound is not None
        ]
        words = " or ".join(dict.fromkeys(words_for(one) for one in union_of(self.type)))
        return words + (f", {'each ' if self.numbers else ''}{' and '.join(bounds)}" if bounds else "")

    def checked(self, value: Any) -> Any:
        """The value as stored; raises `OptionError`."""
        if value is None and self.option.default is None and not self.required:
            return None  # "not given", whatever the type says
        fitting = type(value) in self.plain or fits(value, self.type)
        if fitting and self.numbers is not None and isinstance(value, Sequence):
            fitting = all(map(self._within, value))
        if not fitting or not self._within(value):
            raise OptionError(self.name, f"{self.name} must be {self.wanted}, not {_short(value)}")
        return self.kept(value)

    def kept(self, value: Any) -> Any:
        """A copy of anything the caller could change later, with numbers as Python's own; a single string becomes a
        tuple if several are allowed.
        """
        if type(value) is dict:
            return {key: _python(each) for key, each in value.items()}
        if not self.is_sequence:
            return _python(value)
        if isinstance(value, str) and not self.takes_text:
            return (value,)
        return tuple(map(_python, value)) if isinstance(value, list | tuple) else value

    def _within(self, value: Any) -> bool:
        if isinstance(value, bool | str) or not isinstance(value, Real):
            return True
        option = self.option
        try:
            number = float(value)
        except OverflowError:  # an integer of hundreds of digits
            return False
        return (
            math.isfinite(number)
            and (option.at_least is None or number >= option.at_least)
            and (option.above is None or number > option.above)
            and (option.at_most is None or number <= option.at_most)
            and (option.below is None or number < option.below)
        )


def stated(kind: type[Any]) -> Mapping[str, Stated]:
    """The options declared by a TypedDict, by name and in order; raises `TypeError` if a field has no `Option`.

    `Required[Annotated[T, Option(…)]]` is an option that must be given.
    """
    if (known := _STATED.get(kind)) is not None:
        return known
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        required = False
        while _origin(hint) in (NotRequired, Required):
            required = _origin(hint) is Required
            (hint,) = get_args(hint)
        plain, *about = get_args(hint) if _origin(hint) is Annotated else (hint,)
        options = [one for one in about if isinstance(one, Option)]
        if len(options) != 1:
            raise TypeError(f"{kind.__name__}.{name} is not Annotated[..., Option(...)]")
        found[name] = Stated.of(name, plain, options[0], required=required)
    return _STATED.setdefault(kind, types.MappingProxyType(found))


def _python(value: Any) -> Any:
    """A number as JSON and Milvus take it: NumPy's are refused by both."""
    if type(value) in _OWN or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


_OWN = frozenset({int, float, bool, str, type(None)})


def _origin(kind: Any) -> Any:
    """`get_origin`, which mypy takes for never one of these."""
    return get_origin(kind)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
