"""A new collection for vectors that are there already, with no encoder at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from imgvec.definition import Definition, description
from imgvec.definition.description import Remembered
from imgvec.encoders.protocol import Binding, Pixels
from imgvec.errors import DefinitionError, EncoderUnavailable
from imgvec.exchange.source import VectorSource
from imgvec.rows import VECTOR
from imgvec.vectors import Vectors

MODEL = "none: vectors made elsewhere"
"""What a collection is bound to whose vectors no encoder of imgvec's made; no model can have this name."""
_METRICS = ("COSINE", "IP", "L2")


class NoEncoder:
    """Stands in an encoder's place where a collection is made: says its binding, and encodes nothing.

    `ImageCollection.create(name, definition=unbound(definition), encoder=NoEncoder(unbound_binding(dim)))`. Such a
    collection is searched by vector and by stored id. Raises `EncoderUnavailable` for everything else.
    """

    supports_text = False
    batch_size = 1

    def __init__(self, binding: Binding) -> None:
        self.binding = binding

    @property
    def prepare(self) -> Callable[[Any], Pixels]:
        self._refuse()

    def encode(self, pixels: Pixels) -> Vectors:  # noqa: ARG002  the protocol's
        self._refuse()

    def encode_images(self, images: Sequence[Any]) -> Vectors:  # noqa: ARG002  the protocol's
        self._refuse()

    def encode_texts(self, texts: Sequence[str]) -> Vectors:  # noqa: ARG002  the protocol's
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise EncoderUnavailable(
            f"{self.binding.model}: this collection has no encoder; search it by vector or stored id"
        )


def no_encoders(remembered: Remembered) -> dict[str, NoEncoder]:
    """What stands in the place of a collection's encoders, by the vector's name."""
    return {name: NoEncoder(binding) for name, binding in remembered.bindings.items()}


def unbound_binding(dim: int) -> Binding:
    """The binding of vectors of which nothing but their length is known."""
    return Binding(MODEL, None, "", None, "none", 0, dim, normalize=False)


def unbound(definition: Definition, metric_type: str | None = None) -> Mapping[str, Any]:
    """The definition without its encoder, and of that metric if one is given.

    Raises `DefinitionError` where it has further vectors, which nothing that was made elsewhere brings.
    """
    if definition.vectors:
        raise DefinitionError("vectors that were made elsewhere are one a row: leave this out", where="vectors")
    made = definition.model_dump(exclude_defaults=True) | {"encoder": {"model": MODEL}}
    if metric_type is not None:
        made["vector"] = {**made.get("vector", {}), "metric_type": metric_type}
    return made


def made_for(
    source: VectorSource, definition: Definition, *, normalize: bool = False
) -> tuple[Definition | Mapping[str, Any], dict[str, NoEncoder]]:
    """What a new collection for a source is made with.

    For an export of imgvec's own what it came from: the same definition and the same encoders' bindings. For others
    `definition` without its encoder, and the metric that finds the file's own neighbours.
    """
    if source.description is not None:
        former = description.read(str(source.path), source.description)
        return former.definition, no_encoders(former)
    metric = "COSINE" if normalize else source.metric_type
    return unbound(definition, metric if metric in _METRICS else None), {VECTOR: NoEncoder(unbound_binding(source.dim))}
