"""How good a collection's hits are, by labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import Unpack

from imgvec import quality
from imgvec.collection import ImageCollection
from imgvec.errors import SourceError, UnreadableImage, UsageError
from imgvec.options import documented, settled, taken
from imgvec.plurals import counted
from imgvec.quality import Comparison, Evaluation
from imgvec.quality.options import EvaluateOptions, JudgeOptions
from imgvec.sources import Record, Source, load_metadata


@documented(EvaluateOptions)
def evaluate(collection: ImageCollection, **options: Unpack[EvaluateOptions]) -> Evaluation:
    """Measure a collection's hits by the labels in its field `label`.

    Each stored picture is a query against all others; with views it asks by its whole view, and hits are pictures. Or
    `queries` are images' paths with their labels, or a folder whose images the file `query_labels` labels (CSV, JSON
    lines or Parquet, with the columns path, and `label` or "label"). `vector` names the one to search by.
    `imgvec.quality.evaluate` says what is measured, and what the other options are; what cannot be read is
    `unreadable` in the outcome, and `on_notice` is told of images without a label. Raises `UsageError`, `SourceError`,
    `FilterError`, `QueryError`.
    """
    collection = collection.pinned()
    asked = settled(EvaluateOptions, options)
    images, refused = _labelled(asked)
    found = quality.evaluate(collection, queries=images, **taken(JudgeOptions, asked))
    return replace(found, unreadable=(*refused, *found.unreadable))


@documented(EvaluateOptions)
def compare(
    first: ImageCollection,
    second: ImageCollection,
    *,
    second_vector: str | None = None,
    **options: Unpack[EvaluateOptions],
) -> Comparison:
    """Evaluate two collections, of two encoders, layers or indexes, on the queries that both have.

    The options are those of `evaluate`, and so are the errors. Of the second one `second_vector` is searched by, if it
    is another than of the first: `first` and `second` may then be one collection, whose two vectors are compared.
    """
    asked = settled(EvaluateOptions, options)
    images, refused = _labelled(asked)
    found = quality.compare(
        first.pinned(), second.pinned(), queries=images, second_vector=second_vector, **taken(JudgeOptions, asked)
    )
    return replace(found, first=replace(found.first, unreadable=(*refused, *found.first.unreadable)))


def _labelled(asked: EvaluateOptions) -> tuple[Mapping[str, Any] | None, list[UnreadableImage]]:
    """The queries' labels by path, and what is refused before it is read; None if stored rows ask."""
    queries, file, label, on_notice = asked["queries"], asked["query_labels"], asked["label"], asked["on_notice"]
    if queries is None or isinstance(queries, Mapping):
        if file is not None:
            raise UsageError("query_labels needs queries, the folder of the labelled images")
        return queries, []
    if file is None:
        raise UsageError("the query images need labels: give query_labels too")
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
            f"{file} has no labels for the images in {queries}: it needs the columns path and {label} (or label)"
        )
    if on_notice and bare:
        on_notice(f"{counted(bare, 'image')} in {queries} without a label in {file}")
    if on_notice and known.unused:
        on_notice(f"{counted(len(known.unused), 'row')} of {file} without an image (the first: {known.unused[0]})")
    return images, refused
