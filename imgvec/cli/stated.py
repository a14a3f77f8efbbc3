"""The options of a command made from the TypedDict that states them (`imgvec.options`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from imgvec.options import Stated, stated
from imgvec.options.annotations import is_mapping, is_repeated, members

F = TypeVar("F", bound=Callable[..., Any])


def options_of(kind: type[Any], *, but: Collection[str] = ()) -> Callable[[F], F]:
    """Give a command the options that `kind` states and the shell has, in its order; `but` names those left out.

    The command gets each as a keyword of the option's name, as the Python method takes it. A bool is a flag, a Literal
    a choice, a sequence a repeated option, but one of numbers a list like 1,5,10; a mapping is repeated as KEY=VALUE,
    where the values of a `Mapping[str, Any]` are read as YAML. Raises `TypeError`, when the command is made, for a type
    without such a form.
    """

    def decorate(command: F) -> F:
        for one in reversed(list(stated(kind).values())):
            if one.option.shell and one.name not in but:
                command = _option(one)(command)
        return command

    return decorate


def _option(one: Stated) -> Callable[[F], F]:
    flags = one.option.flags or (f"--{one.name.replace('_', '-')}",)
    attributes: dict[str, Any] = {"help": one.option.help, "metavar": one.option.metavar}
    default = one.option.default
    if one.required:
        return click.option(*flags, one.name, required=True, type=_form(one)[1], **attributes)
    if one.numbers is not None:
        shown = None if default is None else ",".join(map(str, default))
        return click.option(
            *flags, one.name, type=_Numbers(one), default=shown, show_default=shown is not None, **attributes
        )
    kind, found = _form(one)
    if found is bool:
        attributes["is_flag"] = True
    else:
        attributes["type"] = found
        if isinstance(found, click.IntRange | click.FloatRange) and not attributes["metavar"]:
            attributes["metavar"] = "N" if kind is int else "X"
        if default is not None and not isinstance(default, Sequence | Mapping):
            attributes["show_default"] = True
    if isinstance(default, str) and default:
        attributes["show_default"] = True
    if one.option.alone is not None:
        attributes |= {"is_flag": False, "flag_value": one.option.alone, "type": _OrAlone(found, one.option.alone)}
    if is_mapping(kind):
        attributes |= {"multiple": True, "callback": _pairs(one)}
    elif is_repeated(kind):
        attributes |= {"multiple": True, "callback": lambda _ctx, _parameter, value: value or default}
    else:
        attributes["default"] = default
    return click.option(*flags, one.name, **attributes)


class _Numbers(click.ParamType):  # type: ignore[type-arg]  # generic in the newest Click alone
    """A list of numbers, as 1,5,10."""

    name = "numbers"

    def __init__(self, one: Stated) -> None:
        self._stated = one

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            found = tuple(self._stated.numbers(part) for part in value.split(","))
            return self._stated.checked(found)
        except ValueError:  # a part that is not a number, or an `OptionError`
            self.fail(f"{value!r} is not {self._stated.wanted}, like 1,5,10", param, ctx)


class _OrAlone(click.ParamType):  # type: ignore[type-arg]  # generic in the newest Click alone
    """A value of another type, or the word that stands for none."""

    def __init__(self, other: Any, alone: str) -> None:
        self._other, self._alone = click.types.convert_type(other), alone
        self.name = self._other.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == self._alone else self._other.convert(value, param, ctx)


def _form(one: Stated) -> tuple[Any, Any]:
    """The first type of a union that has a form on the command line, and what Click calls it."""
    for kind in members(one.type):
        if kind is bool:
            return kind, bool
        if kind in (int, float):
            low, high = one.option.at_least, one.option.at_most
            open_low, open_high = one.option.above is not None, one.option.below is not None
            ranged = click.IntRange if kind is int else click.FloatRange
            low, high = one.option.above if open_low else low, one.option.below if open_high else high
            if low is None and high is None:
                return kind, kind
            low, high = (None if bound is None else kind(bound) for bound in (low, high))
            return kind, ranged(low, high, open_low, open_high)
        if kind is str or (isinstance(kind, type) and issubclass(kind, os.PathLike)):
            return kind, str
        if get_origin(kind) is Literal:
            return kind, click.Choice(get_args(kind))
        if is_mapping(kind) or is_repeated(kind):
            return kind, str
        if get_origin(kind) is tuple:
            return kind, tuple(get_args(kind))
    raise TypeError(f"{one.name}: {one.type} has no form on the command line; say shell=False or python_only")


def _pairs(one: Stated) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], Any]:
    [kind] = [each for each in members(one.type) if is_mapping(each)]
    texts = get_args(kind)[1] is str
    wanted = one.option.metavar or "KEY=VALUE"

    def read(_ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> Any:
        mapping: dict[str, Any] = {}
        for pair in given:
            # a text is a name here, which holds no =, and what it stands for may; a value may, and its key does not
            key, sign, value = pair.rpartition("=") if texts else pair.partition("=")
            if not sign or not key or (texts and not value):
                raise click.BadParameter(f"{pair!r} is not {wanted}", param=parameter)
            mapping[key] = value if texts else _value(value, parameter)
        return mapping or one.option.default

    return read


def _value(text: str, parameter: click.Parameter) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise click.BadParameter(f"{text!r} is not a valid value", param=parameter) from None
