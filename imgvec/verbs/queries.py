"""What tuning asks with: vectors of a folder of images, or of an .npy file."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from imgvec.collection import ImageCollection
from imgvec.errors import OptionError, UnreadableImage
from imgvec.indexes.options import TuneOptions
from imgvec.progress import Telling
from imgvec.search.forms import ImageBytes
from imgvec.sources import Record, Source
from imgvec.vectors import Vectors

T = TypeVar("T")

_ENCODED_AT_ONCE = 256


def query_vectors(collection: ImageCollection, queries: str | Path, asked: TuneOptions) -> Vectors:
    """(n, dim) vectors of an .npy file, or of a folder's images as the encoder of `asked["vector"]` makes them.

    Of them `sample` at most; which ones is up to chance, the same each time: in a file that is sorted by class the
    first ones are of one class.
    `on_notice` is told of images that cannot be read. Raises `OptionError`, `SourceError`.
    """
    most, on_notice, vector = asked["sample"], asked["on_notice"], asked["vector"]
    dim = collection.store.vector(vector).dim
    if Path(queries).suffix == ".npy":
        return _stored(Path(queries), dim, most)
    found = (each for each in Source(queries).read() if isinstance(each, Record))
    images, limit = iter(some_of(found, most)), collection.settings.max_file_bytes
    encoded: list[Vectors] = []
    tell, encode = Telling("tune", asked["on_progress"]), partial(collection.vectors, vector=vector)
    while batch := list(islice(images, _ENCODED_AT_ONCE)):
        tell("encoding queries", sum(map(len, encoded)))
        try:
            encoded.append(encode([ImageBytes(each.reader.read(limit)) for each in batch]))
        except UnreadableImage:
            for each in batch:
                try:
                    encoded.append(encode([ImageBytes(each.reader.read(limit))]))
                except UnreadableImage as exc:
                    if on_notice:
                        on_notice(f"{each.uri} cannot be used as a query: {exc.reason}")
    return np.concatenate(encoded) if encoded else np.empty((0, dim), np.float32)


def _stored(file: Path, dim: int, most: int) -> Vectors:
    try:
        vectors = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as exc:
        raise OptionError("queries", f"{file} is not a .npy file of vectors: {exc}") from exc
    if vectors.ndim != 2 or vectors.shape[1] != dim or vectors.dtype.kind != "f":
        raise OptionError(
            "queries", f"{file} contains {vectors.dtype} {vectors.shape}, but an (n, {dim}) array of floats is needed"
        )
    chosen = np.sort(np.random.default_rng(0).permutation(len(vectors))[:most])
    return np.asarray(vectors[chosen], np.float32)


def some_of(items: Iterable[T], most: int) -> list[T]:
    """That many of the items, each with the same chance (Vitter, Random Sampling with a Reservoir, 1985)."""
    chance, kept = random.Random(0), list[T]()  # noqa: S311  no secret
    for number, item in enumerate(items):
        if number < most:
            kept.append(item)
        elif (place := chance.randrange(number + 1)) < most:
            kept[place] = item
    return kept
