"""What a collection's scores are worth, measured on its own pictures."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from typing_extensions import Unpack

from imgvec.collection import ImageCollection
from imgvec.encoders.purposes import finds_more_copies
from imgvec.errors import EncoderError, SourceError, UnreadableImage, UsageError
from imgvec.filters import Filter, field
from imgvec.images import DecodePolicy, decode
from imgvec.images.edits import EDITS
from imgvec.options import documented, settled
from imgvec.plurals import counted
from imgvec.progress import Telling
from imgvec.quality import calibration as kept
from imgvec.quality.calibrating import FEWEST, FITTED, Copies, Query, Ranked, calibrated, check_enough, ranked
from imgvec.quality.calibration import Calibration, Positives
from imgvec.quality.labels import label_type, labels_of
from imgvec.quality.options import CalibrateOptions
from imgvec.rows import IMAGE_ID
from imgvec.search.forms import ImageBytes
from imgvec.stored import VectorField, taken_out
from imgvec.vectors import Vectors, has_direction, norms

_AT_ONCE = 500
_PICTURES_AT_ONCE = 16
"""Of which all edited copies are encoded together."""


@documented(CalibrateOptions)
def calibrate(collection: ImageCollection, **options: Unpack[CalibrateOptions]) -> Calibration:
    """Measure from which score on a hit is a match, and keep that with the collection, for every client.

    From then on an answer has a `verdict`, at the false-match rate of the search, and hits have `p_value` and
    `probability`. What is promised is the rate: of query pictures that have no match in the collection, and come from
    where its pictures come from, at most this share is given one. No labels are needed: the collection's own pictures,
    each searched for without itself, are the queries without a match. Matches are edited copies of its pictures, made
    here where these can be opened again; or, with `label`, pictures of the same label. A quarter of the pictures is
    fitted to, the others are promised and judged by (`imgvec.quality.calibration` has the method and its sources). In
    the outcome `found` says how many of the matches are found at each of `rates`, by kind of edit. Other clients see it
    when they open or `refresh` the collection. Raises `UsageError`, with the number needed, where there are
    too few pictures for the lowest of `rates`, or none can be opened and `edits` are demanded; `FilterError`,
    `QueryError`, `BackendError`.
    """
    collection = collection.pinned()
    asked = settled(CalibrateOptions, options)
    vector, rates, label = asked["vector"], sorted(set(asked["rates"])), asked["label"]
    store, tell = collection.store, Telling("calibrate", asked["on_progress"])
    if not rates:
        raise UsageError("give at least one false-match rate to promise")
    if label is not None and asked["edits"]:
        raise UsageError("matches are either edited copies or of one label: give edits or label")
    by = store.vector(vector)
    if label is not None:
        label_type(label, store.fields, dynamic=store.dynamic)
    chosen = _sampled(collection, label, asked["sample"], asked["seed"])
    check_enough(len(chosen) - len(chosen) // FITTED, rates[0], label=label)
    vectors, chosen = _vectors(collection, chosen, vector, by)
    params = collection.handle.target.search_defaults(vector).params
    names = [str(row[IMAGE_ID]) if store.most_views is not None else row["id"] for row in chosen]

    def find(what: Vectors, queries: Sequence[Query], *, own: bool, step: str) -> Ranked:
        return ranked(
            store, what, queries, vector=vector, params=params, own=own,
            on_rows=lambda done: tell(step, done, len(queries)),
        )  # fmt: skip

    queries = [
        Query(name, row.get("content_hash") or "", _others(collection, label, row))
        for name, row in zip(names, chosen, strict=True)
    ]
    negatives = find(vectors, queries, own=True, step="searching for each picture without itself")
    positives: Positives = "edits" if label is None else "label"
    copies: Copies | None
    if label is not None:
        plain = [Query(query.id, query.content_hash) for query in queries]
        nearest = find(vectors, plain, own=True, step="searching by label")
        copies = _same_label(collection, label, chosen, plain, nearest)
    else:
        copies = _edited(collection, asked, chosen, names, find, tell)
    found = calibrated(
        store, vector, names, negatives, copies,
        positives=positives if copies is not None else "none", label=label, rates=rates, seed=asked["seed"],
    )  # fmt: skip
    kept.keep(store, found)
    _tell_of_purposes(collection, asked, found, rates[0])
    return found


def _tell_of_purposes(collection: ImageCollection, asked: CalibrateOptions, found: Calibration, rate: float) -> None:
    """Say how many copies are found, where a collection that is meant for them would find more."""
    copies = found.found_at(rate) if found.positives == "edits" else None
    if copies is None or asked["on_notice"] is None or not finds_more_copies(collection.bindings[asked["vector"]]):
        return
    low, high = copies.interval
    asked["on_notice"](
        f"{copies.share:.0%} of the edited copies are found at a false-match rate of {rate:.2g} ({low:.0%} to "
        f"{high:.0%}): to find more of them, make the collection with `purpose: copies` in its encoder, at the cost of "
        f"finding fewer pictures of the same kind"
    )


def _sampled(collection: ImageCollection, label: str | None, most: int, seed: int) -> list[dict[str, Any]]:
    """Some of the rows that pictures ask by: the whole picture's where there is one, else any of its views.

    Each has the same chance (Vitter, Random Sampling with a Reservoir, 1985), in bounded memory.
    """
    store = collection.store
    views = store.most_views is not None
    names = [name for name in ("uri", "content_hash") if name in store.fields]
    fields = [*names, *([IMAGE_ID] if views else []), *([label] if label else [])]
    chance = random.Random(seed)  # noqa: S311  no secret
    kept: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    seen = {True: 0, False: 0}
    for row in (row for rows in store.scan(fields) for row in rows):
        if label is not None and not labels_of(row.get(label)):
            continue
        whole = not views or row["id"] == row[IMAGE_ID]
        seen[whole] += 1
        if len(kept[whole]) < most:
            kept[whole].append(row)
        elif (place := chance.randrange(seen[whole])) < most:
            kept[whole][place] = row
    if kept[True]:
        return kept[True]
    return list({row[IMAGE_ID]: row for row in kept[False]}.values()) if views else []


def _vectors(
    collection: ImageCollection, rows: Sequence[dict[str, Any]], vector: str, by: VectorField
) -> tuple[Vectors, list[dict[str, Any]]]:
    """(n, dim) vectors of the rows that are still there and have one, and these rows."""
    made, there = [], []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        found = collection.store.get([row["id"] for row in some], output_fields=[vector])
        known = [row for row in some if row["id"] in found]
        if not known:
            continue
        vectors = taken_out([dict(found[row["id"]]) for row in known], vector, by)
        usable = has_direction(norms(vectors))
        made.append(vectors[usable])
        there += [row for row, fine in zip(known, usable.tolist(), strict=True) if fine]
    return (np.concatenate(made) if made else np.empty((0, by.dim), np.float32)), there


def _others(collection: ImageCollection, label: str | None, row: dict[str, Any]) -> str:
    """The rows that have none of the row's labels; all, where labels do not count."""
    if label is None:
        return ""
    value = row[label]
    known = collection.store.fields.get(label)
    if known is not None and known.type == "ARRAY":
        return collection.store.rendered(~field(label).contains_any(list(value)))
    condition: Filter = field(label) != value
    return collection.store.rendered(condition)


def _same_label(
    collection: ImageCollection, label: str, rows: Sequence[dict[str, Any]], queries: Sequence[Query], found: Ranked
) -> Copies:
    """Each picture whose nearest other one has its label, or not: that is what a person sees as found."""
    store, labels = collection.store, dict[str, frozenset[str]]()
    name = "id" if store.most_views is None else IMAGE_ID
    for start in range(0, len(found.nearest), _AT_ONCE):
        ids = [id_ for id_ in found.nearest[start : start + _AT_ONCE] if id_]
        if name == "id":
            labels |= {id_: labels_of(each.get(label)) for id_, each in store.get(ids, output_fields=[label]).items()}
        else:
            among = store.rendered(field(IMAGE_ID).in_(ids))
            for some in store.scan([IMAGE_ID, label], among):
                labels |= {row[IMAGE_ID]: labels_of(row.get(label)) for row in some}
    right = [
        not labels_of(row[label]).isdisjoint(labels.get(nearest, frozenset()))
        for row, nearest in zip(rows, found.nearest, strict=True)
    ]
    return Copies(["label"] * len(rows), [query.id for query in queries], found.scores, right)


def _edited(
    collection: ImageCollection, asked: CalibrateOptions, rows: Sequence[dict[str, Any]], names: Sequence[str],
    find: Any, tell: Telling,
) -> Copies | None:  # fmt: skip
    """Edited copies of some pictures, as they are found; None where too few can be opened, which is told."""
    order = np.random.default_rng(asked["seed"] + 1).permutation(len(rows))[: asked["copies"]].tolist()
    kinds, ids, own_hashes, vectors = list[str](), list[str](), list[str](), list[Vectors]()
    problem = ""
    for start in range(0, len(order), _PICTURES_AT_ONCE):
        some = order[start : start + _PICTURES_AT_ONCE]
        tell("encoding edited copies", start, len(order))
        forms, places = list[ImageBytes](), list[int]()
        for place in some:
            try:
                made = [ImageBytes(each) for each in _copies(collection, rows[place])]
            except (SourceError, UnreadableImage) as exc:
                problem = str(exc)
                continue
            forms += made
            places.append(place)
        if not forms:
            if start == 0:
                break  # none of so many: those of other sources would be among them
            continue
        try:
            vectors.append(collection.vectors(forms, vector=asked["vector"]))
        except EncoderError as exc:
            problem = str(exc)
            break
        for place in places:
            kinds += EDITS
            ids += [names[place]] * len(EDITS)
            own_hashes += [str(rows[place].get("content_hash") or "")] * len(EDITS)
    if len(ids) < 2 * FEWEST * len(EDITS):
        made_of = counted(len(ids) // len(EDITS), "picture")
        said = f"edited copies could be made of {made_of} only, and {2 * FEWEST} are needed"
        if asked["edits"]:
            raise UsageError(f"{said}{': ' if problem else ''}{problem}")
        if asked["on_notice"]:
            asked["on_notice"](
                f"{said}; so hits have no probability, and nobody knows how many matches are found; the rate is "
                f"promised all the same{': ' if problem else ''}{problem}"
            )
        return None
    found = find(np.concatenate(vectors), [Query(id_) for id_ in ids], own=False, step="searching for edited copies")
    right = _right(collection, ids, own_hashes, found.nearest)
    return Copies(kinds, ids, found.scores, right)


def _copies(collection: ImageCollection, row: dict[str, Any]) -> Iterator[bytes]:
    settings = collection.settings
    uri = str(row.get("uri") or "")
    data = collection.handle.target.reopen(uri, hashed=row.get("content_hash") or None)
    policy = DecodePolicy(settings.formats, collection.definition.images.sixteen_bit)
    image = decode(data, uri=uri, max_pixels=settings.max_pixels, policy=policy).image
    for edit in EDITS.values():
        yield edit(image)


def _right(
    collection: ImageCollection, ids: Sequence[str], hashes: Sequence[str], nearest: Sequence[str]
) -> list[bool]:
    """Whether each copy found its own picture, or one of the same bytes."""
    other = sorted({found for id_, found in zip(ids, nearest, strict=True) if found and found != id_})
    known = dict[str, str]()
    if "content_hash" in collection.store.fields:
        for start in range(0, len(other), _AT_ONCE):
            known |= collection.store.content_hashes(other[start : start + _AT_ONCE])
    return [
        found == id_ or bool(own and known.get(found) == own)
        for id_, own, found in zip(ids, hashes, nearest, strict=True)
    ]
