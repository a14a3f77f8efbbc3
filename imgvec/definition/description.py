"""What a Milvus collection remembers about itself: the JSON object in its description.

    {"imgvec": 1, "incarnation": "…", "encoder": {…}, "definition": {…}, "about": "…"}

`encoder` is the binding, so that vectors of two encoders never meet; `definition` is what made the collection, so that
opening it by name converts metadata and searches just as on the day it was made. `incarnation` is 128 random bits, by
which an open handle notices that its collection was dropped and made again; collections of 0.1.0 have none.
"""

from __future__ import annotations

import json
from secrets import token_hex

from imgvec.definition import Definition
from imgvec.encoders.protocol import Binding
from imgvec.errors import CollectionNotFound, DefinitionError, EncoderMismatch

FORMAT = 1
_IMAGES_OF_0_1_0 = {"sixteen_bit": "full"}


def write(definition: Definition, binding: Binding) -> str:
    """The description of a new collection."""
    remembered = {
        "imgvec": FORMAT,
        "incarnation": token_hex(16),
        "encoder": binding.to_dict(),
        # how pictures are read is said even where it is the default: 0.1.0 knew one way, and said nothing
        "definition": {**definition.model_dump(exclude_defaults=True), "images": definition.images.model_dump()},
        "about": definition.about,
    }
    return json.dumps(remembered, ensure_ascii=False, separators=(",", ":"))


def read(name: str, text: str) -> tuple[Definition, Binding]:
    """What the collection `name` remembers; raises `CollectionNotFound` if it was not made by imgvec."""
    try:
        data = json.loads(text)
        version = data["imgvec"]
        if version == FORMAT:
            definition = {"images": _IMAGES_OF_0_1_0, **data["definition"]}
            return Definition.load(definition), Binding.from_dict(data["encoder"])
    except (ValueError, TypeError, KeyError, DefinitionError) as exc:
        raise CollectionNotFound(
            f"the collection {name!r} exists, but was not made by imgvec: its description names no encoder"
        ) from exc
    raise CollectionNotFound(f"the collection {name!r} was made by a newer imgvec (format {version}): upgrade imgvec")


def is_made_from(remembered: Definition, given: Definition) -> bool:
    """Whether `given` is the remembered definition; the `images` section counts only if `given` has one."""
    if "images" not in given.model_fields_set:
        given = given.model_copy(update={"images": remembered.images})
    return given == remembered


def incarnation(text: str) -> str:
    """The random bits of a description; empty if it has none."""
    try:
        found = json.loads(text)["incarnation"]
    except (ValueError, TypeError, KeyError):
        return ""
    return found if isinstance(found, str) else ""


def check_binding(name: str, bound: Binding, given: Binding) -> None:
    """Raise `EncoderMismatch`, which says both, where `given` would not make the vectors that `name` holds."""
    differing = [field for field in bound.to_dict() if getattr(bound, field) != getattr(given, field)]
    # the same weights from another folder or commit are the same encoder: the fingerprint is what counts
    if set(differing) - {"model", "revision"}:
        said = ", ".join(
            f"{field} {getattr(bound, field)!r} instead of {getattr(given, field)!r}" for field in differing
        )
        raise EncoderMismatch(
            f"the collection {name!r} holds vectors of {bound.model}, but {given.model} is a different encoder: {said}"
        )
