"""What a Milvus collection remembers about itself: the JSON object in its description.

    {"imgvec": 2, "incarnation": "…", "encoder": {…}, "encoders": {"texture": {…}}, "definition": {…}, "about": "…",
     "companions": {"learned": "NAME__learned"}}

`encoder` is the binding of `vector`, and `encoders` has those of further vectors by name, so that vectors of two
encoders never meet; `definition` is what made the collection, so that opening it by name converts metadata and searches
just as on the day it was made. `incarnation` is 128 random bits, by which an open handle notices that its collection
was dropped and made again. `companions` are the names of the small collections beside it
(imgvec/milvus/companions.py); where it is left out, they are named when they are made.

Format 1 has no `encoders`; that of 0.1.0 has neither `companions` nor an incarnation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from imgvec.definition import Definition
from imgvec.encoders.protocol import Binding
from imgvec.errors import CollectionNotFound, DefinitionError, EncoderMismatch
from imgvec.rows import VECTOR

FORMAT = 2
_READ = (1, FORMAT)
_IMAGES_OF_0_1_0 = {"sixteen_bit": "full"}
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a collection remembers of what it is."""

    definition: Definition
    binding: Binding
    """Of the encoder of `vector`."""
    encoders: Mapping[str, Binding] = field(default_factory=dict)
    """Of the encoders of further vectors, by the vector's name."""

    @property
    def bindings(self) -> dict[str, Binding]:
        """By the vector's name, that of `vector` first."""
        return {VECTOR: self.binding, **self.encoders}


def write(
    definition: Definition,
    binding: Binding,
    companions: Mapping[str, str] = _NONE,
    *,
    encoders: Mapping[str, Binding] = _NONE,
) -> str:
    """The description of a new collection; `companions` are the names of its companions, by kind."""
    remembered: dict[str, Any] = {
        "imgvec": FORMAT,
        "incarnation": token_hex(16),
        "encoder": binding.to_dict(),
        **({"encoders": {name: each.to_dict() for name, each in encoders.items()}} if encoders else {}),
        # how pictures are read is said even where it is the default: 0.1.0 knew one way, and said nothing
        "definition": {**definition.model_dump(exclude_defaults=True), "images": definition.images.model_dump()},
        "about": definition.about,
    }
    if companions:
        remembered["companions"] = dict(companions)
    return json.dumps(remembered, ensure_ascii=False, separators=(",", ":"))


def read(name: str, text: str) -> Remembered:
    """What the collection `name` remembers; raises `CollectionNotFound` if it was not made by imgvec."""
    try:
        data = _parsed(text)
        version = data["imgvec"]
        if version in _READ:
            return _remembered(data)
    except (ValueError, TypeError, KeyError, AttributeError, DefinitionError) as exc:
        raise CollectionNotFound(
            f"the collection {name!r} exists, but was not made by imgvec: its description names no encoder"
        ) from exc
    raise CollectionNotFound(f"the collection {name!r} was made by a newer imgvec (format {version}): upgrade imgvec")


def _parsed(text: str) -> Any:
    """Raises `ValueError` for whatever is not JSON: the text may be anybody's."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _remembered(data: Mapping[str, Any]) -> Remembered:
    definition = Definition.load({"images": _IMAGES_OF_0_1_0, **data["definition"]})
    encoders = {name: Binding.from_dict(each) for name, each in data.get("encoders", {}).items()}
    if encoders.keys() != definition.vectors.keys():
        raise ValueError("not every vector has its encoder")
    return Remembered(definition, Binding.from_dict(data["encoder"]), encoders)


def is_made_from(remembered: Definition, given: Definition) -> bool:
    """Whether `given` is the remembered definition; the `images` section counts only if `given` has one."""
    if "images" not in given.model_fields_set:
        given = given.model_copy(update={"images": remembered.images})
    return given == remembered


def incarnation(text: str) -> str:
    """The random bits of a description; empty if it has none."""
    try:
        found = _parsed(text)["incarnation"]
    except (ValueError, TypeError, KeyError):
        return ""
    return found if isinstance(found, str) else ""


def further_vectors(text: str) -> list[str]:
    """The names of the vectors beside `vector`; empty where the description has none."""
    try:
        return [*map(str, _parsed(text)["encoders"])]
    except (ValueError, TypeError, KeyError):
        return []


def definition(text: str) -> Definition | None:
    """The definition; None where the collection is not imgvec's, or a later one's."""
    try:
        return Definition.load(_parsed(text)["definition"])
    except (ValueError, TypeError, KeyError, DefinitionError):
        return None


def companions(text: str) -> dict[str, str]:
    """The names of the companions, by kind; empty where the description has none."""
    try:
        return {str(kind): str(name) for kind, name in _parsed(text)["companions"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def check_binding(name: str, bound: Binding, given: Binding, vector: str = VECTOR) -> None:
    """Raise `EncoderMismatch`, which says both, where `given` would not make the vectors that `name` holds.

    `vector` is the one that they are about.
    """
    differing = [field for field in bound.to_dict() if getattr(bound, field) != getattr(given, field)]
    # the same weights from another folder or commit are the same encoder: the fingerprint is what counts; and so is the
    # same projection, from a file or kept with the collection
    same = {"model", "revision"} | ({"projection"} if bound.projection_digest == given.projection_digest else set())
    if set(differing) - same:
        said = ", ".join(
            f"{field} {getattr(given, field)!r} instead of {getattr(bound, field)!r}" for field in differing
        )
        where = "" if vector == VECTOR else f" in {vector!r}"
        raise EncoderMismatch(
            f"the collection {name!r} holds vectors of {bound.model}{where}, but {given.model} is a different encoder: "
            f"{said}"
        )


def check_bindings(name: str, bound: Mapping[str, Binding], given: Mapping[str, Binding]) -> None:
    """`check_binding` of every vector, by name; raises too where one has a vector that the other lacks."""
    for vector in bound.keys() & given.keys():
        check_binding(name, bound[vector], given[vector], vector)
    if bound.keys() != given.keys():
        raise EncoderMismatch(
            f"the collection {name!r} holds the vectors {', '.join(bound)}, but these are {', '.join(given)}"
        )
