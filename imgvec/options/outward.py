"""What is made from stated options for others: a model for JSON, and what `help()` and a notebook show."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

from imgvec.options.annotations import union_of
from imgvec.options.statement import stated

if TYPE_CHECKING:
    from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])


def json_model(kind: type[Any]) -> type[BaseModel]:
    """A pydantic model of the options that may come from another machine: checked, frozen, unknown names refused.

    `json_model(kind).model_json_schema()` is the schema of a REST body or of a tool; pass its content on as
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
            form = option.json_type or one.type
            if one.numbers is not None and not option.json_type:
                form = Sequence[Annotated[one.numbers, Field(**bounds)]]  # type: ignore[name-defined]
                form, bounds = form if option.default is not None or one.required else form | None, {}
            elif bounds and option.json_type is None:  # of the numbers of a union, not of its texts
                each = (Annotated[part, Field(**bounds)] if part in (int, float) else part for part in union_of(form))
                form, bounds = Union[tuple(each)], {}  # noqa: UP007  made of a tuple
            default = ... if one.required else option.default
            fields[name] = (form, Field(default, description=option.help or None, **bounds))
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid", frozen=True), **fields)


def documented(kind: type[Any]) -> Callable[[F], F]:
    """Show the options behind a function's `**options` in its docstring and in its signature."""

    def decorate(function: F) -> F:
        known = stated(kind)
        shown = inspect.signature(function)
        own = [p for p in shown.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if one.required else one.option.default,
                annotation=one.type,
            )
            for name, one in known.items()
        ]
        # inspect reads the attribute, which typeshed does not know
        function.__signature__ = shown.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        lines = [f"    {name}: {one.option.help}" for name, one in known.items()]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *lines])
        return function

    return decorate
