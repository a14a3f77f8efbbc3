"""What a recommendation goes by: examples of what is wanted, and of what is not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

from imgvec.errors import QueryError, UnreadableImage
from imgvec.filters import Filter, Raw, field
from imgvec.images import FileReader, content_hash
from imgvec.rows import CONTENT_HASH, ID, IMAGE_ID
from imgvec.search.forms import FORMS, Crop, Form, ImageBytes, ImageFile, Like, StoredId
from imgvec.search.paths import as_present
from imgvec.search.strategies import Strategy
from imgvec.store import Reads


@dataclass(frozen=True, slots=True)
class Examples:
    """Forms with their weights, all above 0, and how they make one score."""

    positive: Sequence[tuple[Form, float]]
    negative: Sequence[tuple[Form, float]]
    strategy: Strategy

    def __post_init__(self) -> None:
        pairs = [*self.positive, *self.negative]
        for form, weight in pairs:
            if not isinstance(form, FORMS):
                raise QueryError(f"a {type(form).__name__} is not an example: give a form, an id:… or a path")
            if not 0 < weight <= 1e100:  # NaN too
                raise QueryError(f"the weight of an example must be a number above 0, not {weight!r}")
        if not pairs:
            raise QueryError("a recommendation takes at least one example")
        if not self.positive and self.strategy != "sum":
            raise QueryError(f"the strategy {self.strategy!r} takes at least one positive example: use 'sum' without")
        if self.strategy == "best" and any(weight != 1 for _, weight in pairs):
            raise QueryError("the strategy 'best' takes no weights: it compares with each example by itself")

    def to_dict(self) -> dict[str, Any]:
        shown = {
            name: [{**form.to_dict(), "weight": weight} for form, weight in pairs]
            for name, pairs in (("positive", self.positive), ("negative", self.negative))
        }
        return {"recommend": {**shown, "strategy": self.strategy}}

    @property
    def forms(self) -> list[Form]:
        """Positive ones first."""
        return [form for form, _ in (*self.positive, *self.negative)]


def others_than(
    ids: Sequence[str], where: Filter | str | None, store: Reads, hashes: Sequence[str] = ()
) -> Filter | None:
    """What matches `where` and is not one of these rows, nor of a file of these `content_hash`es.

    Where rows are views, it is not of the same pictures either.
    """
    key = ID
    if ids and store.most_views is not None:
        key, rows = IMAGE_ID, store.get(ids, output_fields=[IMAGE_ID])
        ids = list(dict.fromkeys(row[IMAGE_ID] for row in rows.values()))
    conditions: list[Filter] = [] if where is None else [Raw(where) if isinstance(where, str) else where]
    conditions += [field(key).not_in(ids)] if ids else []
    conditions += [field(CONTENT_HASH).not_in(hashes)] if hashes else []
    return reduce(and_, conditions) if conditions else None


def given(forms: Sequence[Form], max_bytes: int) -> tuple[list[str], list[str]]:
    """The ids of the stored rows among the forms, and the `content_hash`es of the image files."""
    parts = [part for form in forms for part in _parts(form)]
    hashes = [_hash(part, max_bytes) for part in parts if isinstance(part, ImageFile | ImageBytes)]
    return (
        list(dict.fromkeys(part.id for part in parts if isinstance(part, StoredId))),
        list(dict.fromkeys(found for found in hashes if found)),
    )


def _parts(form: Form) -> Iterator[Form]:
    if isinstance(form, Like):
        for part, _ in form.parts:
            yield from _parts(part)
    elif isinstance(form, Crop):
        yield from _parts(form.form)
    else:
        yield form


def _hash(form: ImageFile | ImageBytes, max_bytes: int) -> str:
    """Empty where the file cannot be read: that is said where it is decoded."""
    if isinstance(form, ImageBytes):
        return content_hash(form.data)
    with suppress(UnreadableImage, OSError, ValueError, RuntimeError):
        path = os.path.realpath(as_present(Path(form.path)))
        return content_hash(FileReader(path, path).read(max_bytes))
    return ""
