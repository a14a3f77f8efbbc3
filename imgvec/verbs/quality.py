"""How good a collection's hits are, by labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from imgvec import quality
from imgvec.collection import ImageCollection
from imgvec.errors import SourceError, UnreadableImage, UsageError
from imgvec.filters import Filter
from imgvec.progress import OnProgress
from imgvec.quality import Comparison, Evaluation
from imgvec.sources import Record, Source, load_metadata


def evaluate(
    collection: ImageCollection,
    *,
    label: str,
    k: Sequence[int] = (1, 5, 10),
    where: Filter | str | None = None,
    exact: bool = False,
    queries: str | Path | Mapping[str, Any] | None = None,
    query_labels: str | Path | None = None,
    sample: int | None = None,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Evaluation:
    """Measure a collection's hits by the labels in its field `label`.

    Each stored row is a query against all others. Or `queries` are images' paths with their labels, or a folder whose
    images the file `query_labels` labels (CSV, JSON lines or Parquet, with the columns path, and `label` or "label").
    `imgvec.quality.evaluate` says what is measured, and what the other arguments are; what cannot be read is
    `unreadable` in the outcome, and `on_notice` is told of images without a label. Raises `UsageError`, `SourceError`,
    `FilterError`, `QueryError`.
    """
    collection = collection.pinned()
    images, refused = _labelled(queries, query_labels, label, on_notice)
    found = quality.evaluate(
        collection, label=label, k=k, where=where, exact=exact, queries=images, sample=sample, seed=seed,
        params=params, on_progress=on_progress,
    )  # fmt: skip
    return replace(found, unreadable=(*refused, *found.unreadable))


def compare(
    first: ImageCollection,
    second: ImageCollection,
    *,
    label: str,
    k: Sequence[int] = (1, 5, 10),
    where: Filter | str | None = None,
    exact: bool = False,
    queries: str | Path | Mapping[str, Any] | None = None,
    query_labels: str | Path | None = None,
    sample: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Comparison:
    """Evaluate two collections, of two encoders, layers or indexes, on the queries that both have.

    The arguments are those of `evaluate`, and so are the errors.
    """
    images, refused = _labelled(queries, query_labels, label, on_notice)
    found = quality.compare(
        first.pinned(), second.pinned(), label=label, k=k, where=where, exact=exact, queries=images, sample=sample,
        seed=seed, on_progress=on_progress,
    )  # fmt: skip
    return replace(found, first=replace(found.first, unreadable=(*refused, *found.first.unreadable)))


def _labelled(
    queries: str | Path | Mapping[str, Any] | None,
    file: str | Path | None,
    label: str,
    on_notice: Callable[[str], None] | None,
) -> tuple[Mapping[str, Any] | None, list[UnreadableImage]]:
    """The queries' labels by path, and what is refused before it is read; None where stored rows ask."""
    if queries is None or isinstance(queries, Mapping):
        if file is not None:
            raise UsageError("query_labels label the images of a folder: give it as queries")
        return queries, []
    if file is None:
        raise UsageError("the images of a folder need labels: give query_labels too")
    known = load_metadata(file)
    images: dict[str, Any] = {}
    refused: list[UnreadableImage] = []
    bare = 0
    for item in Source(queries).read(metadata=known):
        if isinstance(item, UnreadableImage):
            refused.append(item)
        elif not isinstance(item, Record):
            continue
        elif (value := item.metadata.get(label, item.metadata.get("label"))) is None:
            bare += 1
        else:
            images[item.uri] = value
    if not images:
        raise SourceError(
            f"{file} gives no image of {queries} a label: it needs the columns path, and {label} or label"
        )
    if on_notice and bare:
        on_notice(f"{bare:,} images of {queries} have no label in {file}")
    if on_notice and known.unused:
        on_notice(f"{len(known.unused):,} rows of {file} belong to no image (the first: {known.unused[0]})")
    return images, refused
