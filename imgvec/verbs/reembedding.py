"""A collection made again with another encoder, beside the one that goes on serving, and swapped in under its name."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

from typing_extensions import Unpack

from imgvec import succession
from imgvec.collection import ImageCollection
from imgvec.encoders.protocol import Encoder
from imgvec.errors import SwapRefused, UsageError
from imgvec.migration import LIVE, Reembedding, Since
from imgvec.migration.options import BringOptions, ReembedOptions
from imgvec.options import documented, settled, taken
from imgvec.plurals import counted
from imgvec.progress import Telling
from imgvec.quality import Comparison
from imgvec.rows import VECTOR
from imgvec.succession import OF, Succession
from imgvec.verbs.quality import compare
from imgvec.verbs.succeeding import Moving, forget, kept_beside
from imgvec.verbs.successors import Model, is_made_by, now, opened, refuse_faces, succeeding_definition, successor

HOLD_SECONDS = 60.0
"""How long the former collection is kept at least: a handle follows its alias within a second, and no call that has
begun before takes longer than its timeout."""


@documented(ReembedOptions)
def reembed(collection: ImageCollection, model: Model, **options: Unpack[ReembedOptions]) -> Reembedding:
    """Make the collection again with the encoder `model`, while it goes on serving; then swap the two.

    The new collection stands beside the old one: the same ids, fields and further vectors, and new vectors of the
    pictures, which are opened again by their uris. Both are compared by id, content hash and moment of ingest until
    nothing differs, so that what clients write and delete meanwhile comes too; once more after the swap. `model` is a
    model's name, an encoder section of a definition, or an encoder.

    The name by which the collection was opened leads to the new one then: an alias is moved at once, and of a
    collection's own name an alias is made, with all aliases of it; handles that have it open follow. The old one stays,
    for `rollback_reembedding`, until `finish_reembedding`. A run that was stopped or killed is gone on with by the same
    call. Raises `SwapRefused`, with the outcome, where pictures cannot be read again, unless `allow_missing`, and where
    the comparison by `label` finds the new one certainly worse, unless `allow_worse`; `UsageError` for a collection of
    faces, of which another model finds others; `EncoderUnavailable`, `BackendError`.

    In a collection of views (grid, regions) all rows of a picture are made again in one pass, as an ingest by the new
    model makes them: regions lie where that one sees something, and further vectors are made of the same views.
    """
    outcome = _reembedded(collection, model, settled(ReembedOptions, options))
    if outcome.swapped:
        collection.handle.follow()
    return outcome


def _reembedded(collection: ImageCollection, model: Model, asked: ReembedOptions) -> Reembedding:
    name, vector, tell = collection.alias or collection.name, asked["vector"], Telling("reembed", asked["on_progress"])
    collection = now(collection)
    collection.store.vector(vector)
    refuse_faces(collection)
    definition = succeeding_definition(collection.definition, vector, model, asked)
    how, told = settled(BringOptions, taken(BringOptions, asked)), succession.of(collection.store.remembered)
    is_made = is_made_by(collection, definition, model, vector)
    if told.state in ("swapping", "swapped") and not told.back and told.alias == name and is_made:
        with _former(collection, told) as source, opened(collection, collection.name) as target:
            moving = Moving(source, target, name, vector, how, tell)
            return _ended(moving) if told.state == "swapping" else moving.outcome(swapped=True)
    with (
        opened(collection, collection.name) as source,
        successor(source, name, definition, model, vector, asked) as target,
    ):
        moving = Moving(source, target, name, vector, how, tell)
        moving.begin()
        if not moving.bring(LIVE):
            return moving.outcome(interrupted=True)
        compared = _compared(moving, asked)
        outcome = moving.outcome(comparison=compared)
        if not asked["swap"]:
            _write_lost(outcome, how)
            return outcome
        _check(outcome, how)
        if compared is not None and not asked["allow_worse"]:
            _check_better(compared, outcome)
        moving.swap()
        return replace(_ended(moving), comparison=compared)


@documented(BringOptions)
def rollback_reembedding(
    collection: ImageCollection, *, encoder: Encoder | None = None, **options: Unpack[BringOptions]
) -> Reembedding:
    """Let the name lead to the collection from before `reembed` again, with what was written and deleted since.

    That is brought over as `reembed` does it, by the former encoder, and swapped likewise; both stay, and `reembed`'s
    collection becomes the former one: a second call leads there again. `encoder` is used instead of loading the former
    one. Raises as `reembed`, and `UsageError` where there is nothing to go back to.
    """
    outcome = _gone_back(collection, encoder, settled(BringOptions, options))
    if outcome.swapped:
        collection.handle.follow()
    return outcome


def _gone_back(collection: ImageCollection, encoder: Encoder | None, how: BringOptions) -> Reembedding:
    name, tell = collection.alias or collection.name, Telling("reembed", how["on_progress"])
    collection = now(collection)
    told = succession.of(collection.store.remembered)
    if told.state not in ("swapping", "swapped"):
        raise UsageError(f"{name!r} was not re-embedded, or that was finished: there is nothing to go back to")
    with opened(collection, collection.name) as live, _former(collection, told, encoder) as former:
        vector = _changed_vector(live, former)
        if told.back and told.state == "swapping":  # this very call was killed
            return _ended(Moving(former, live, name, vector, how, tell))
        moving = Moving(live, former, name, vector, how, tell)
        moving.begin(back=True)
        if not moving.bring(LIVE, kept_beside(live)[1]):
            return moving.outcome(interrupted=True)
        _check(moving.outcome(), how)
        moving.swap()
        return _ended(moving)


def finish_reembedding(collection: ImageCollection) -> str:
    """Drop the collection from before `reembed`, or before going back; returns its name.

    Waits until a minute has gone since the swap, so that no handle holds it any more. Raises `UsageError` where there
    is none, or another alias leads to it.
    """
    name = collection.alias or collection.name
    collection = now(collection)
    told = succession.of(collection.store.remembered)
    if told.state != "swapped":
        why = "was not re-embedded, or that was finished"
        if told.state == "swapping":
            why = "was not swapped to the end: start that again first"
        raise UsageError(f"{name!r} {why}")
    with _former(collection, told) as former:
        former.handle.check_drop()
        time.sleep(max(0.0, min(HOLD_SECONDS, told.at / 1000 + HOLD_SECONDS - time.time())))
        former.drop()
    with opened(collection, collection.name) as live:
        forget(live)
        live.store.remember(OF, replace(told, state="finished").to_dict())
    return told.name


def _former(collection: ImageCollection, told: Succession, encoder: Encoder | None = None) -> ImageCollection:
    """The collection that this one took the place of; raises `UsageError` where it is not there any more."""
    former = ImageCollection.open(told.name, encoder=encoder, settings=collection.settings)
    if former.store.incarnation.key != told.key:
        former.close()
        raise UsageError(f"{told.name!r} is another collection by now: there is nothing to go back to")
    return former


def _changed_vector(live: ImageCollection, former: ImageCollection) -> str:
    """The one that was re-embedded."""
    return next((name for name, each in live.bindings.items() if former.bindings.get(name) != each), VECTOR)


def _ended(moving: Moving) -> Reembedding:
    """Once more after the swap: what was written to the former collection until handles had followed."""
    before = moving.done
    marks, lost = kept_beside(moving.target)
    if not moving.bring(Since(marks), lost):
        return moving.outcome(interrupted=True, swapped=True)
    moving.settle()
    return moving.outcome(swapped=True, late=moving.done - before)


def _compared(moving: Moving, asked: ReembedOptions) -> Comparison | None:
    if (label := asked["label"]) is None:
        return None
    on_progress = moving.tell.part("comparing")
    return compare(
        moving.source,
        moving.target,
        label=label,
        vector=moving.vector,
        sample=asked["sample"],
        on_progress=on_progress,
    )


def _write_lost(outcome: Reembedding, how: BringOptions) -> None:
    if how["errors"] is not None:
        lines = [json.dumps(each, ensure_ascii=False) for each in outcome.to_dict()["lost"]]
        Path(how["errors"]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _check(outcome: Reembedding, how: BringOptions) -> None:
    _write_lost(outcome, how)
    if outcome.lost and not how["allow_missing"]:
        first = outcome.lost[0]
        raise SwapRefused(
            f"the pictures of {counted(len(outcome.lost), 'row')} of {outcome.source!r} cannot be read again (the "
            f"first: {first.uri}: {first.reason}): make them readable and start again, or allow that "
            "they are missing (allow_missing)",
            outcome,
        )


def _check_better(compared: Comparison, outcome: Reembedding) -> None:
    deepest = [each for each in compared.micro if each.measure.startswith("map@")][-1]
    if deepest.high is not None and deepest.high < 0:
        raise SwapRefused(
            f"{outcome.target!r} is worse than {outcome.source!r}: {deepest.measure} {deepest.second:.3f} instead of "
            f"{deepest.first:.3f} (difference {deepest.low:.3f} to {deepest.high:.3f}): allow it "
            "(allow_worse), or do not",
            outcome,
        )
