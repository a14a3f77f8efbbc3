"""Evaluates a collection: each query's hits against the rows with its label."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from imgvec.by_vector import searches_by
from imgvec.errors import OptionError, QueryError, UnreadableImage
from imgvec.meant import suggestion
from imgvec.options import documented, settled
from imgvec.plurals import counted
from imgvec.progress import Telling
from imgvec.quality import metrics
from imgvec.quality.gallery import Asked, Gallery, Searched
from imgvec.quality.labels import Labels, given_labels, label_type
from imgvec.quality.options import JudgeOptions
from imgvec.quality.rankings import ExactRanking, IndexRanking, Ranking
from imgvec.rows import VECTOR
from imgvec.search.forms import ImageFile
from imgvec.store import Searches
from imgvec.vectors import Vectors

Values = NDArray[np.float64]

_IMAGES = 64
"""Encoded at once: where one of them cannot be read, they are read again one by one."""


@dataclass(frozen=True, slots=True)
class ClassResult:
    """The queries of one label, and the mean of each measure over them."""

    label: str
    queries: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`. Measures are named as in `metrics`: `precision@5`, `map@10`, `map`."""

    collection: str
    label: str
    where: str
    """The Milvus expression that rows had to match; empty for all."""
    ranking: Literal["index", "exact"]
    rows: int
    unlabelled: int
    """Rows without a label (null, empty text, empty array): ranked, relevant to nothing, no queries."""
    without_relevant: Mapping[str, int]
    """By label, the queries to which no row is relevant; they are in no mean."""
    unreadable: tuple[UnreadableImage, ...]
    """Given images that cannot be read; they are in no mean."""
    measures: tuple[str, ...]
    names: tuple[str, ...] = field(repr=False)
    """The queries that were measured: uris of rows, or paths of images."""
    labels: tuple[Labels, ...] = field(repr=False)
    """Of each query."""
    values: Values = field(repr=False, compare=False)
    """(queries, measures)."""
    ranked: Literal["rows", "pictures"] = "rows"
    """What `rows` counts, and queries are ranked against: pictures, each by its best view, in a collection of views."""
    vector: str = VECTOR
    """The name of the vector that pictures were ranked by."""
    left_out: int = 0
    """Queries to which no row is relevant; one of several labels counts once here."""

    @property
    def micro(self) -> dict[str, float]:
        """The mean of each measure over the queries."""
        return self._named(self.values.mean(axis=0))

    @property
    def macro(self) -> dict[str, float]:
        """The mean over classes of the mean over a class's queries: a rare class counts like a frequent one."""
        return self._named(np.mean([self.values[rows].mean(axis=0) for rows in self.members.values()], axis=0))

    @property
    def classes(self) -> list[ClassResult]:
        """By label; a query with several labels is in each of these classes."""
        return [
            ClassResult(label, len(rows), self._named(self.values[rows].mean(axis=0)))
            for label, rows in self.members.items()
        ]

    @property
    def members(self) -> dict[str, NDArray[np.int64]]:
        """By label, the positions of its queries."""
        found: dict[str, list[int]] = {}
        for position, labels in enumerate(self.labels):
            for label in labels:
                found.setdefault(label, []).append(position)
        return {label: np.array(found[label]) for label in sorted(found)}

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but the values of single queries."""
        return {
            "collection": self.collection,
            "label": self.label,
            "where": self.where,
            "vector": self.vector,
            "ranking": self.ranking,
            "rows": self.rows,
            "ranked": self.ranked,
            "unlabelled": self.unlabelled,
            "queries": len(self.names),
            "left_out": self.left_out,
            "without_relevant": dict(self.without_relevant),
            "unreadable": [{"uri": each.uri, "reason": each.reason} for each in self.unreadable],
            "micro": self.micro,
            "macro": self.macro,
            "classes": [{"label": each.label, "queries": each.queries, **each.values} for each in self.classes],
        }

    def _named(self, values: Values) -> dict[str, float]:
        return dict(zip(self.measures, values.tolist(), strict=True))


@documented(JudgeOptions)
def evaluate(
    collection: Searched,
    *,
    queries: Mapping[str, Any] | None = None,
    among: Collection[str] | None = None,
    **options: Unpack[JudgeOptions],
) -> Evaluation:
    """Measure a collection's search quality by the labels in its field `label`.

    A row is relevant to a query when their labels are equal; with an ARRAY of labels, when they share at least one. A
    label is a VARCHAR, an integer or a BOOL, in a field of its own, in an ARRAY or in a key of the dynamic field.

    Each stored row is a query against all others (leave-one-out): its own row is left out of its hits, and of what
    there is to find. Or `queries` are images' paths with their labels, encoded by the collection's encoder; text is
    read as the field's type, for an ARRAY as a JSON list or items separated by `;`. Rows of the same uri, or of the
    same bytes, are left out then. `among` takes only the queries of these names, `sample` so many by chance.

    In a collection of views pictures take the place of rows: each asks by its whole view and is ranked by its best one,
    and none of a query's own views is a hit.

    The collection's own search ranks, `max(k)` hits deep, with the search parameters `params`; or, with `exact`, matrix
    products rank every row, which adds `map` over the whole ranking. `where` narrows the rows, and with them the stored
    rows that are queries. `vector` names the one to search by; its encoder encodes the images.

    Memory holds the ids, uris and labels of the rows, a few numbers a query, and blocks of vectors; for `exact` the
    vectors lie in a temporary file. Raises `OptionError`; `FilterError` where `label` is no such field; `QueryError` if
    no row has a label of `queries` (it is named), and if no query is left.
    """
    wanted = settled(JudgeOptions, options)
    label, exact, ks = wanted["label"], wanted["exact"], tuple(sorted(set(wanted["k"])))
    if not ks:
        raise OptionError("k", "k is empty: give the numbers of hits to score")
    tell, store = Telling("evaluate", wanted["on_progress"]), searches_by(collection.store, wanted["vector"])
    declared = label_type(label, store.fields, dynamic=store.dynamic)
    expression = store.rendered(wanted["where"])
    with tempfile.TemporaryFile() as file:
        gallery = Gallery(store, label, expression, hashes=queries is not None, vectors_to=file if exact else None)
        ranking: Ranking = (
            ExactRanking(gallery, store.metric_type) if exact else IndexRanking(collection, gallery, wanted, ks[-1])
        )
        if queries is None:
            asked = gallery.rows_as_queries()
        else:
            images = {name: given_labels(value, declared) for name, value in queries.items()}
            _check_labels(images, gallery, store, label, expression)
            asked = gallery.images_as_queries(images)
        if among is not None:
            asked = [query for query in asked if query.name in among]
        relevant = {query: gallery.relevant(query) for query in asked}
        lone = [query for query in asked if not relevant[query]]
        without = Counter(each for query in lone for each in query.labels)
        asked = _sampled([query for query in asked if relevant[query]], wanted["sample"], wanted["seed"])
        measured: list[Asked] = []
        values: list[list[float]] = []
        unreadable: list[UnreadableImage] = []
        step = min(ranking.block, _IMAGES) if queries is not None else ranking.block
        for start in range(0, len(asked), step):
            block = asked[start : start + step]
            if queries is None:
                block, vectors = _stored(store, gallery, block)
            else:
                block, vectors, refused = _encoded(collection, wanted["vector"], block)
                unreadable += refused
            for query, ranks in zip(block, ranking.ranks(block, vectors), strict=True):
                values.append(metrics.measured(ranks, relevant[query], ks, whole=exact))
            measured += block
            tell(f"queries of {collection.name}", min(start + step, len(asked)), len(asked))
    if not measured:
        fields = collection.store.fields
        unknown = "" if label in fields else f"; there is no field {label!r}{suggestion(label, fields)}"
        raise QueryError(
            f"no queries left to measure: {counted(len(gallery), 'row')}, {gallery.unlabelled:,} without {label}; "
            f"{counted(len(lone), 'query', 'queries')} without a relevant row, {len(unreadable):,} unreadable"
            f"{unknown}"
        )
    return Evaluation(
        collection=collection.name,
        label=label,
        where=expression,
        ranking="exact" if exact else "index",
        rows=len(gallery),
        unlabelled=gallery.unlabelled,
        without_relevant=dict(sorted(without.items())),
        unreadable=tuple(unreadable),
        measures=metrics.names(ks, whole=exact),
        names=tuple(query.name for query in measured),
        labels=tuple(query.labels for query in measured),
        values=np.array(values),
        ranked="pictures" if gallery.views else "rows",
        vector=wanted["vector"],
        left_out=len(lone),
    )


def _check_labels(images: Mapping[str, Labels], gallery: Gallery, store: Searches, label: str, expression: str) -> None:
    """Refuse labels that no row has; those of rows that the filter leaves out are known, and have nothing to find."""
    if bare := [name for name, labels in images.items() if not labels]:
        raise QueryError(
            f"{counted(len(bare), 'query', 'queries')} without a label, starting with {bare[0]}: label all of them"
        )
    given, known = frozenset().union(*images.values()), gallery.labels.known
    if given - known and expression:
        known = Gallery(store, label, "").labels.known
    if unknown := sorted(given - known):
        there = ", ".join(sorted(known)[:20]) or "none"
        more = f" and {len(known) - 20:,} more" if len(known) > 20 else ""
        raise QueryError(f"no row has the {label} {', '.join(unknown)}; existing: {there}{more}")


def _sampled(asked: list[Asked], sample: int | None, seed: int) -> list[Asked]:
    if sample is None or sample >= len(asked):
        return asked
    chosen = np.random.default_rng(seed).choice(len(asked), sample, replace=False)
    return [asked[i] for i in np.sort(chosen)]


def _stored(store: Searches, gallery: Gallery, block: list[Asked]) -> tuple[list[Asked], Vectors]:
    """The stored rows that are still there, and their vectors."""
    positions = [query.own[0] for query in block]
    if len(gallery.vectors):
        return block, gallery.query_vectors(positions)
    ids = [gallery.ids[position] for position in positions]
    rows = store.get(ids, with_vector=True)
    there = [(query, rows[id_]["vector"]) for query, id_ in zip(block, ids, strict=True) if id_ in rows]
    vectors = np.array([vector for _, vector in there], np.float32).reshape(len(there), store.dim)
    return [query for query, _ in there], vectors


def _encoded(
    collection: Searched, vector: str, block: list[Asked]
) -> tuple[list[Asked], Vectors, list[UnreadableImage]]:
    """The images that can be read, their vectors, and the others' errors."""
    try:
        return block, collection.vectors([ImageFile(query.name) for query in block], vector=vector), []
    except UnreadableImage as exc:
        if len(block) == 1:
            return [], np.empty((0, collection.store.vectors[vector].dim), np.float32), [exc]
    parts = [_encoded(collection, vector, [query]) for query in block]
    return (
        [query for read, _, _ in parts for query in read],
        np.concatenate([vectors for _, vectors, _ in parts]),
        [exc for _, _, refused in parts for exc in refused],
    )
