"""Loads the encoders of a collection: those it remembers or, for a new one, those in its definition."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from imgvec.definition import Definition, EncoderSection, description
from imgvec.encoders.projection import Projection
from imgvec.encoders.protocol import Binding, Encoder, EncoderSpec, Tunable
from imgvec.errors import DefinitionError, EncoderUnavailable, QueryError
from imgvec.rows import VECTOR
from imgvec.settings import Settings


def loaded_encoder(
    name: str, binding: Binding, settings: Settings, vector: str = VECTOR, projection: Projection | None = None
) -> Encoder:
    """The encoder that the collection `name` remembers for that vector; `projection` is what the collection keeps.

    Raises `EncoderUnavailable` and `EncoderMismatch`.
    """
    if not binding.fingerprint:
        raise EncoderUnavailable(
            f"the collection {name!r} has no encoder because its vectors were made elsewhere: search it by vector "
            f"or stored id"
        )
    # brings torch and transformers, seconds that a count or a delete does not need
    from imgvec.encoders import load_encoder

    loaded = load_encoder(
        EncoderSpec.from_binding(binding),
        device=settings.device,
        dtype=settings.dtype,
        cache_dir=settings.cache_dir,
        projection=projection,
    )
    description.check_binding(name, binding, loaded.binding, vector)
    return loaded


def first_encoder(
    section: EncoderSection,
    settings: Settings,
    on_notice: Callable[[str], None] | None,
    *,
    of_parts: bool = False,
) -> Encoder:
    """The encoder that a definition names, or its fallback where that cannot be reached, which `on_notice` is told.

    For rows that are parts of pictures all of a part is to be looked at, whatever the purpose, where the model's own
    processor would crop it: what is at its edge is as much of the part, and is what its box says. Raises
    `EncoderUnavailable`.
    """
    from imgvec.encoders import load_with_fallback
    from imgvec.encoders.identity import IF_KNOWN
    from imgvec.encoders.purposes import meant

    spec = EncoderSpec(
        section.model,
        section.revision,
        section.layer,
        section.pooling,
        section.image_size,
        section.projection,
        meant(section.purpose, of_parts=of_parts),
        IF_KNOWN if of_parts and section.purpose != "copies" else None,
    )
    encoder, fell_back = load_with_fallback(
        spec, section.fallback, device=settings.device, dtype=settings.dtype, cache_dir=settings.cache_dir
    )
    if fell_back and on_notice:
        on_notice(f"{section.model} cannot be reached; creating the collection with {encoder.binding.model} instead")
    return encoder


def check_lengths(definition: Definition, bindings: Mapping[str, Binding]) -> None:
    """Raise `DefinitionError` where a metric wants unit vectors, and the encoder leaves them as they are."""
    for name, section in definition.vector_fields.items():
        metric, binding = section.vector.metric_type, bindings[name]
        # what has no fingerprint encodes nothing: its vectors come from elsewhere, and are checked as they come
        if metric != "L2" and binding.fingerprint and not binding.normalize:
            place = "" if name == VECTOR else f"vectors.{name}."
            raise DefinitionError(
                f"{metric} needs unit vectors, but {binding.model} does not normalize them: normalize them, or use L2",
                where=f"{place}vector.metric_type",
            )


class Encoders:
    """The encoders of one collection by the vector's name, each loaded when it is first needed."""

    def __init__(
        self,
        name: str,
        bindings: Mapping[str, Binding],
        settings: Settings,
        loaded: Mapping[str, Encoder],
        kept: Callable[[Binding], Projection | None],
    ) -> None:
        self._name, self._bindings, self._settings = name, bindings, settings
        self._kept = kept
        """Gives the projection that the collection keeps for a binding."""
        self._loaded = dict(loaded)
        # one each: loading takes seconds, and need not hold up searches by the others
        self._locks = {vector: threading.Lock() for vector in bindings}

    @property
    def loaded(self) -> dict[str, Encoder]:
        """Those that are loaded."""
        return dict(self._loaded)

    def tune(self, images: int) -> None:
        """Have each that is loaded find its fastest way to run so many images; see `Tunable`."""
        for encoder in self.loaded.values():
            if isinstance(encoder, Tunable):
                encoder.prepare_for(images)

    def of(self, vector: str) -> Encoder:
        """That vector's encoder; raises `QueryError`, `EncoderUnavailable` and `EncoderMismatch`."""
        if vector not in self._bindings:
            raise QueryError(f"{self._name!r} has no vector {vector!r} (vectors: {', '.join(self._bindings)})")
        with self._locks[vector]:
            if vector not in self._loaded:
                binding = self._bindings[vector]
                behind = [projection] if (projection := self._kept(binding)) is not None else []
                self._loaded[vector] = loaded_encoder(self._name, binding, self._settings, vector, *behind)
            return self._loaded[vector]
