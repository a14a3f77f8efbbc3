"""The projections that collections keep beside them in Milvus, so that every client finds them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from imgvec.definition import description
from imgvec.encoders.projected import ProjectedEncoder
from imgvec.encoders.projection import Projection
from imgvec.encoders.protocol import Binding, Encoder
from imgvec.errors import EncoderUnavailable
from imgvec.milvus import Connection, Store
from imgvec.milvus.learned import Learned


def keep(connection: Connection, store: Store, encoders: Mapping[str, Encoder]) -> None:
    """Keep with the collection the projections that its `encoders` bring, by their digests."""
    for encoder in encoders.values():
        if isinstance(encoder, ProjectedEncoder) and encoder.binding.keeps_projection:
            _write(connection, store, encoder.binding, encoder.projection)


def to_keep(encoder: Encoder) -> Encoder:
    """The encoder of a new collection: a projection from a file is kept with that, and named so."""
    if not isinstance(encoder, ProjectedEncoder) or not encoder.from_file:
        return encoder
    return ProjectedEncoder(encoder.inner, encoder.projection, encoder.projection.learned_name)


def kept(store: Store, binding: Binding) -> Projection | None:
    """The projection that a vector of the collection is bound to; None where it is bound to none that it keeps.

    Raises `EncoderUnavailable` where it is not there, `BackendError`.
    """
    if not binding.keeps_projection:
        return None
    arrays = Learned(Connection(store.link.database), store).read(_key(binding))
    if arrays is None:
        raise EncoderUnavailable(
            f"the collection {store.name!r} does not keep its projection {binding.projection}: search it by vector "
            "or stored id, or import an export of the collection that its rows came from, which brings it"
        )
    return Projection(*(np.ascontiguousarray(arrays[name], np.float32) for name in ("mean", "matrix")))


def of_all(store: Store, bindings: Mapping[str, Binding]) -> dict[str, Projection]:
    """The projections that a collection of these bindings keeps, by the names that these call them.

    Those that are not there are left out: the rows can be copied and exported all the same. Raises `BackendError`.
    """
    found: dict[str, Projection] = {}
    for binding in bindings.values():
        with suppress(EncoderUnavailable):
            if (projection := kept(store, binding)) is not None:
                found[str(binding.projection)] = projection
    return found


def keep_missing(store: Store, bindings: Mapping[str, Binding], projections: Mapping[str, Projection]) -> None:
    """Of `projections`, by the names that bindings call them, keep those that the collection is bound to and lacks."""
    wanted = {str(each.projection): each for each in bindings.values() if each.keeps_projection}
    if wanted := {name: each for name, each in wanted.items() if name in projections}:
        there = of_all(store, bindings)
        for name, binding in wanted.items():
            if name not in there:
                _write(Connection(store.link.database), store, binding, projections[name])


def behind(store: Store, vector: str, bound: Binding, encoder: Encoder) -> Encoder:
    """The encoder that was given for a vector; where that lacks only the projection that the collection keeps, with it.

    Raises `EncoderMismatch` where it is another one.
    """
    given = encoder.binding
    if not bound.keeps_projection or given.projection is not None:
        description.check_binding(store.name, bound, given, vector)
        return encoder
    description.check_binding(store.name, bound, replace(given, dim=bound.dim, projection=bound.projection), vector)
    projection = kept(store, bound)
    assert projection is not None
    return ProjectedEncoder(encoder, projection, projection.learned_name)


def _write(connection: Connection, store: Store, binding: Binding, projection: Projection) -> None:
    Learned(connection, store).write(_key(binding), {"mean": projection.mean, "matrix": projection.matrix})


def _key(binding: Binding) -> str:
    return f"projection.{binding.projection_digest}"
