"""Which collection `reembed` fills: one that an earlier run has begun, or a new one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import count
from typing import Any, TypeAlias

from imgvec import kept, succession
from imgvec.collection import ImageCollection
from imgvec.definition import Definition, description
from imgvec.encoders.protocol import Encoder
from imgvec.errors import CollectionExists, EncoderMismatch, UsageError
from imgvec.exchange import NoEncoder
from imgvec.migration.options import SucceedOptions
from imgvec.milvus import Connection, names
from imgvec.rows import VECTOR
from imgvec.succession import INTO

_A_MOMENT = 1.0

Model: TypeAlias = str | Mapping[str, Any] | Encoder


def now(collection: ImageCollection) -> ImageCollection:
    """Pinned, with what it remembers now."""
    collection = collection.pinned()
    collection.store.refresh()
    return collection


def opened(collection: ImageCollection, name: str) -> ImageCollection:
    """By its own name, on a connection of its own; the encoders that are in memory serve it too."""
    loaded = collection.handle.target.encoders.loaded if name == collection.name else {}
    return ImageCollection.open(name, encoders=loaded, settings=collection.settings)


def refuse_faces(collection: ImageCollection) -> None:
    """Raise `UsageError` where rows are what an encoder found, and not what any encoder makes of a picture."""
    if collection.definition.has_faces:
        raise UsageError(
            f"{collection.name!r} has rows of faces, and another model does not find the same ones: create a new "
            "collection, ingest the pictures and enrol the people there, and let an alias lead there"
        )


def succeeding_definition(definition: Definition, vector: str, model: Model, asked: SucceedOptions) -> Definition:
    """The same with another encoder of that vector; raises `DefinitionError`."""
    section: dict[str, Any]
    if isinstance(model, str):
        section = {"model": model}
    else:
        section = {**model} if isinstance(model, Mapping) else {"model": model.binding.model}
    for name in ("revision", "layer", "pooling", "image_size", "projection", "purpose"):
        if asked[name] is not None:
            section[name] = asked[name]
    if (purpose := definition.vector_fields[vector].encoder.purpose) is not None:
        section.setdefault("purpose", purpose)
    made = definition.model_dump(exclude_defaults=True)
    if vector == VECTOR:
        made["encoder"] = section
    else:
        made["vectors"][vector]["encoder"] = section
    return Definition.load({**made, "images": definition.images.model_dump()})


def successor(
    source: ImageCollection, name: str, definition: Definition, model: Model, vector: str, asked: SucceedOptions
) -> ImageCollection:
    """The collection that `source` is being re-embedded to: the one that an earlier run has begun, or a new one.

    Raises `UsageError` where the source's own encoder is that one.
    """
    connection, note = source.handle.connection, source.store.remembered.get(INTO)
    given = {} if isinstance(model, str | Mapping) else {vector: model}
    if note is not None and asked["into"] in (None, note["name"]) and connection.has(note["name"]):
        with ImageCollection.open(note["name"], settings=source.settings) as found:
            fits = is_made_by(found, definition, model, vector) and _is_its(source, found)
        if fits:
            return ImageCollection.open(note["name"], encoders=given, settings=source.settings)
        if asked["on_notice"] is not None:
            asked["on_notice"](f"{note['name']}, which was begun with another model, is left as it is")
    into = asked["into"] or free_name(connection, name, 2)
    names.check_new(into)  # before it is noted: the next run would look for it
    source.store.remember(INTO, {"name": into})
    others: dict[str, Encoder] = {each: NoEncoder(bound) for each, bound in source.bindings.items() if each != vector}
    now = source.store.link.deployment()
    try:
        new = ImageCollection.create(
            into,
            definition=definition.model_copy(update={"replicas": now.number, "resource_groups": now.resource_groups}),
            encoders={**others, **given},
            gpu=definition.index.gpu is not None and source.store.index.type.startswith("GPU_"),
            settings=source.settings,
            on_notice=asked["on_notice"],
        )
    except CollectionExists:
        if asked["into"] is not None:
            raise
        time.sleep(_A_MOMENT)  # another run has begun just now: its collection is gone on with
        source.store.refresh()
        return successor(source, name, definition, model, vector, asked)
    try:
        kept.keep_missing(new.store, new.bindings, kept.of_all(source.store, source.bindings))  # of other vectors
        try:
            description.check_binding(source.name, source.bindings[vector], new.bindings[vector], vector)
        except EncoderMismatch:
            return new
        raise UsageError(f"the vectors of {source.name!r} are of {new.bindings[vector].model} already, made like that")
    except BaseException:
        new.drop()
        new.close()
        raise


def is_made_by(collection: ImageCollection, definition: Definition, model: Model, vector: str) -> bool:
    """Whether its vectors are of that model, or encoder, already."""
    if collection.definition.vector_fields[vector].encoder != definition.vector_fields[vector].encoder:
        return False
    if isinstance(model, str | Mapping):
        return True
    try:
        description.check_binding(collection.name, collection.bindings[vector], model.binding, vector)
    except EncoderMismatch:
        return False
    return True


def _is_its(source: ImageCollection, found: ImageCollection) -> bool:
    """Whether the one was made of the other, or was about to be when that was killed, or was gone back from."""
    of = succession.of(found.store.remembered).key
    back = succession.of(source.store.remembered).key == found.store.incarnation.key
    return back or of == source.store.incarnation.key or (not of and not found.count())


def free_name(connection: Connection, name: str, first: int) -> str:
    """`name`, _ and the first number, from `first` on, that makes a name which nothing has."""
    return next(each for number in count(first) if not connection.has(each := f"{name}_{number}"))
