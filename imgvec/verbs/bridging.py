"""A bridge between two collections of the same pictures, and the old rows in the new encoder's space by it."""

from __future__ import annotations

from functools import partial

import numpy as np
from typing_extensions import Unpack

from imgvec import kept
from imgvec.collection import ImageCollection
from imgvec.encoders.protocol import Encoder
from imgvec.errors import UsageError
from imgvec.exchange import NoEncoder
from imgvec.migration import Bridge
from imgvec.migration.bridge import BridgeOptions, fit
from imgvec.options import documented, settled
from imgvec.progress import Telling
from imgvec.retry import Retry
from imgvec.rows import FROM_IMAGE, ID, VECTOR
from imgvec.stored import taken_out
from imgvec.vectors import Vectors

_AT_ONCE = 1000


@documented(BridgeOptions)
def fit_bridge(old: ImageCollection, new: ImageCollection, **options: Unpack[BridgeOptions]) -> Bridge:
    """Fit the linear map from the vectors of `old` to those of `new`, to rows that both have, by their ids.

    `new` may be one that `reembed` has begun to fill: ids are hashes, so that what it has so far is a random sample.
    Raises `UsageError` for fewer than 20 such rows.
    """
    asked = settled(BridgeOptions, options)
    vector, tell = asked["vector"], Telling("fit", asked["on_progress"])
    had: list[Vectors] = []
    made: list[Vectors] = []
    pairs = 0
    for rows in new.store.scan([vector], batch_size=_AT_ONCE):
        there = old.store.get([row[ID] for row in rows], output_fields=[vector])
        both = [row for row in rows if row[ID] in there][: asked["sample"] - pairs]
        if both:
            had.append(taken_out([dict(there[row[ID]]) for row in both], vector, old.store.vectors[vector]))
            made.append(taken_out(both, vector, new.store.vectors[vector]))
            pairs += len(both)
        tell("reading the vectors", pairs, asked["sample"])
        if pairs >= asked["sample"]:
            break
    if not pairs:
        raise UsageError(f"{old.name!r} and {new.name!r} have no rows in common: a bridge is fitted to 20 or more")
    return fit(np.concatenate(had), np.concatenate(made), seed=asked["seed"])


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
    try:
        kept.keep_missing(made.store, made.bindings, kept.of_all(new.store, new.bindings))
        for rows in store.scan(("*", *store.vectors, FROM_IMAGE), batch_size=_AT_ONCE):
            if not rows:
                continue
            vectors = {each: taken_out(rows, each, field) for each, field in store.vectors.items()}
            vectors[vector] = bridge(vectors[vector])
            true = new.store.get([row[ID] for row in rows], output_fields=[vector])
            for place, row in enumerate(rows):
                if row[ID] in true:
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
