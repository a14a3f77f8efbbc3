"""A bridge between two collections of the same pictures, and the old rows in the new encoder's space by it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from imgvec import kept
from imgvec.collection import ImageCollection
from imgvec.encoders.protocol import Encoder
from imgvec.errors import CollectionExists, UsageError
from imgvec.exchange import NoEncoder
from imgvec.migration import Bridge, Bridged, worth_of
from imgvec.migration.bridge import BridgeOptions, fit
from imgvec.migration.options import BringOptions, SucceedOptions
from imgvec.milvus import names
from imgvec.options import documented, settled, taken
from imgvec.progress import Telling
from imgvec.quality.labels import Labels, label_type, labels_of
from imgvec.retry import Retry
from imgvec.rows import BOX, FROM_IMAGE, ID, VECTOR, VIEW
from imgvec.stored import taken_out
from imgvec.vectors import Vectors
from imgvec.verbs.succeeding import Moving
from imgvec.verbs.successors import Model, now, opened, refuse_faces, succeeding_definition, successor

_AT_ONCE = 1000


@documented(BridgeOptions)
def fit_bridge(old: ImageCollection, new: ImageCollection, **options: Unpack[BridgeOptions]) -> Bridge:
    """Fit the linear map from the vectors of `old` to those of `new`, to rows that both have, by their ids.

    `new` may be one that `reembed` has begun to fill: ids are hashes, so that what it has so far is a random sample. Of
    a collection of views these are rows that show the same box. Raises `UsageError` for fewer than 20 such rows.
    """
    asked = settled(BridgeOptions, options)
    both = _in_common(old, new, asked)
    return fit(both.had, both.made, seed=asked["seed"])


class _Both(NamedTuple):
    """The vectors of rows that two collections have."""

    had: Vectors
    made: Vectors
    whole: NDArray[np.bool_]
    """Whether a row stands for its picture."""
    labels: list[Labels]


def _in_common(old: ImageCollection, new: ImageCollection, asked: BridgeOptions, label: str | None = None) -> _Both:
    vector, tell = asked["vector"], Telling("fit", asked["on_progress"])
    box = [BOX, VIEW] if old.definition.views is not None else []
    had: list[Vectors] = []
    made: list[Vectors] = []
    whole: list[bool] = []
    labels: list[Labels] = []
    for rows in new.store.scan([vector, *box], batch_size=_AT_ONCE):
        there = old.store.get(
            [row[ID] for row in rows], output_fields=[vector, *box, *([] if label is None else [label])]
        )
        both = [row for row in rows if _is_same(row, there.get(row[ID]))][: asked["sample"] - len(whole)]
        if both:
            fields = [dict(there[row[ID]]) for row in both]
            had.append(taken_out(fields, vector, old.store.vectors[vector]))
            made.append(taken_out(both, vector, new.store.vectors[vector]))
            whole += [row.get(VIEW, "whole") == "whole" for row in both]
            labels += [labels_of(row.get(label)) if label is not None else frozenset() for row in fields]
        tell("reading the vectors", len(whole), asked["sample"])
        if len(whole) >= asked["sample"]:
            break
    if not whole:
        raise UsageError(f"{old.name!r} and {new.name!r} have no rows in common: a bridge is fitted to 20 or more")
    return _Both(np.concatenate(had), np.concatenate(made), np.array(whole), labels)


def _is_same(row: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether two rows of one id show the same of their picture: regions lie where a model sees something."""
    return other is not None and list(row.get(BOX, ())) == list(other.get(BOX, ()))


@documented(BridgeOptions)
def bridged_copy(
    old: ImageCollection, new: ImageCollection, name: str, **options: Unpack[BridgeOptions]
) -> tuple[ImageCollection, Bridge]:
    """Make the collection `name` of all rows of `old`, to be searched with the encoder of `new`; reads no picture.

    A row has the vector that `new` has for it, or else what a bridge makes of its old one (`fit_bridge`). So all rows
    answer queries of the new model, or of its text side, while `reembed` fills `new`: worse than they will, and better
    than not at all. Search it by picture, text or vector; it is a snapshot, to be dropped once `new` is whole. Raises
    as `fit_bridge`, and `CollectionExists`.
    """
    asked = settled(BridgeOptions, options)
    vector, tell = asked["vector"], Telling("project", asked["on_progress"])
    old, new = old.pinned(), new.pinned()
    bridge = fit_bridge(old, new, **options)
    encoders: dict[str, Encoder] = {each: NoEncoder(bound) for each, bound in new.bindings.items()}
    made = ImageCollection.create(name, definition=new.definition, encoders=encoders, settings=new.settings)
    store, retry, total, written = old.store, Retry(new.settings.retry_seconds), old.count(), 0
    box = [BOX] if old.definition.views is not None else []
    try:
        kept.keep_missing(made.store, made.bindings, kept.of_all(new.store, new.bindings))
        for rows in store.scan(("*", *store.vectors, FROM_IMAGE), batch_size=_AT_ONCE):
            if not rows:
                continue
            vectors = {each: taken_out(rows, each, field) for each, field in store.vectors.items()}
            vectors[vector] = bridge(vectors[vector])
            true = new.store.get([row[ID] for row in rows], output_fields=[vector, *box])
            for place, row in enumerate(rows):
                if _is_same({name: row[name] for name in box}, true.get(row[ID])):
                    vectors[vector][place] = true[row[ID]][vector]
            retry.call(partial(made.store.upsert, rows, vectors.pop(VECTOR), vectors or None))
            written += len(rows)
            tell("bridging the rows", written, max(total, written))
        loaded = new.handle.target.encoders.loaded
        return ImageCollection.open(name, encoders=loaded, settings=new.settings), bridge
    except BaseException:
        made.drop()
        raise
    finally:
        made.close()


@documented(SucceedOptions)
def bridge_reembedding(
    collection: ImageCollection, model: Model, name: str, **options: Unpack[SucceedOptions]
) -> Bridged | None:
    """Let the rows of a collection answer the encoder `model` before `reembed` has encoded their pictures.

    A `sample` of the pictures is encoded into the collection that `reembed` is going to fill, which goes on from there;
    where an earlier run has encoded more, these are taken. To them a linear map is fitted, and the collection `name` is
    made with a row for each of the old ones: of the new vector where there is one, else of what the map makes of the
    old one (`bridged_copy`). What that is worth is measured on the pictures that are encoded, each bridged by a map
    fitted to others: mAP@10 by `label`, or else how many of the ten nearest rows of the new model are found.

    Returns None where `stop` was set. Raises as `reembed`, `CollectionExists` where there is a collection of that name,
    and `UsageError` for fewer than 20 pictures.
    """
    asked = settled(SucceedOptions, options)
    vector, label, tell = asked["vector"], asked["label"], Telling("reembed", asked["on_progress"])
    led, collection = collection.alias or collection.name, now(collection)
    collection.store.vector(vector)
    refuse_faces(collection)
    names.check_new(name)
    if collection.handle.connection.has(name):
        raise CollectionExists(f"there is a collection or an alias {name!r} already: choose another name, or drop it")
    if label is not None:
        label_type(label, collection.store.fields, dynamic=collection.store.dynamic)
    definition = succeeding_definition(collection.definition, vector, model, asked)
    with (
        opened(collection, collection.name) as source,
        successor(source, led, definition, model, vector, asked) as target,
    ):
        moving = Moving(source, target, led, vector, taken(BringOptions, asked), tell)
        moving.begin()
        left = asked["sample"] - target.count_pictures()
        if left > 0 and not moving.bring_some(left):
            return None
        fitting: BridgeOptions = {"vector": vector, "sample": 10_000, "seed": 0, "on_progress": asked["on_progress"]}
        both = _in_common(source, target, fitting, label)
        copy, bridge = bridged_copy(source, target, name, **fitting)
        with copy:
            rows = copy.count()
        whole = both.whole
        labels = (
            None if label is None else [each for each, is_whole in zip(both.labels, whole, strict=True) if is_whole]
        )
        found = worth_of(both.had[whole], both.made[whole], labels)
        return Bridged(name, target.name, target.bindings[vector].model, rows, moving.done, bridge, found, tell.seconds)
