"""What is wrong with a definition, and at which place in it."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from imgvec.meant import closest


class MisplacedError(ValueError):
    """A problem that belongs to a place deeper than the model whose validator found it."""

    def __init__(self, problem: str, *place: str) -> None:
        self.place = place
        super().__init__(problem)


def describe(error: Any, model: type[BaseModel]) -> tuple[tuple[str, ...], str]:
    """The place and the words for one of pydantic's errors of `model`."""
    place = tuple(str(part) for part in error["loc"])
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, MisplacedError):
        place += cause.place
    return place, str(cause) if isinstance(cause, ValueError) else _said(error, place, model)


def _said(error: Any, place: tuple[str, ...], model: type[BaseModel]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        known = list(_keys(model, place[:-1]))
        close = closest(place[-1], known)
        return f"unknown key (known: {', '.join(known)})" if close is None else f"unknown key (did you mean {close!r}?)"
    if kind == "missing":
        return "is missing"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return "must be a mapping"
    said = str(error["msg"]).replace("Input should be", "must be")
    return f"{said}, not {error['input']!r}" if kind == "literal_error" else said


def _keys(model: type[BaseModel], place: Iterable[str]) -> Iterable[str]:
    """The keys that the mapping at `place` takes."""
    kind: Any = model
    for part in place:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[part].annotation
            if get_origin(kind) in (Union, UnionType):
                kind = next(each for each in get_args(kind) if each is not NoneType)
        else:  # a dict of sections by name
            kind = get_args(kind)[1]
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else ()
