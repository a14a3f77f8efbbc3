"""Loads the encoder of a collection: the one it remembers or, for a new one, the one in its definition."""

from __future__ import annotations

from collections.abc import Callable

from imgvec.definition import Definition, description
from imgvec.encoders.protocol import Binding, Encoder, EncoderSpec
from imgvec.errors import DefinitionError, EncoderUnavailable
from imgvec.settings import Settings


def loaded_encoder(name: str, binding: Binding, settings: Settings) -> Encoder:
    """The encoder that the collection `name` remembers; raises `EncoderUnavailable` and `EncoderMismatch`."""
    if not binding.fingerprint:
        raise EncoderUnavailable(
            f"the collection {name!r} has no encoder because its vectors were made elsewhere: search it by vector "
            f"or stored id"
        )
    # brings torch and transformers, seconds that a count or a delete does not need
    from imgvec.encoders import load_encoder

    loaded = load_encoder(
        EncoderSpec.from_binding(binding), device=settings.device, dtype=settings.dtype, cache_dir=settings.cache_dir
    )
    description.check_binding(name, binding, loaded.binding)
    return loaded


def first_encoder(definition: Definition, settings: Settings, on_notice: Callable[[str], None] | None) -> Encoder:
    """The encoder of the definition, or its fallback where the first cannot be reached, which `on_notice` is told.

    Raises `EncoderUnavailable`.
    """
    from imgvec.encoders import load_with_fallback

    section = definition.encoder
    spec = EncoderSpec(
        section.model, section.revision, section.layer, section.pooling, section.image_size, section.projection
    )
    encoder, fell_back = load_with_fallback(
        spec, section.fallback, device=settings.device, dtype=settings.dtype, cache_dir=settings.cache_dir
    )
    if fell_back and on_notice:
        on_notice(f"{section.model} cannot be reached; creating the collection with {encoder.binding.model} instead")
    return encoder


def check_lengths(definition: Definition, binding: Binding) -> None:
    """Raise `DefinitionError` if the metric wants unit vectors, and the encoder leaves them as they are."""
    metric = definition.vector.metric_type
    # what has no fingerprint encodes nothing: its vectors come from elsewhere, and are checked as they come
    if metric != "L2" and binding.fingerprint and not binding.normalize:
        raise DefinitionError(
            f"{metric} needs unit vectors, but {binding.model} does not normalize them: normalize them, or use L2",
            where="vector.metric_type",
        )
