"""Guesses a form from what a Python caller or the command line gives. Nothing else may call this: see `forms`.

In the order in which they are recognised:

- a form: itself;
- `bytes`: an encoded image; `PIL.Image.Image`: an image;
- an array of one dimension, or a sequence of numbers: a vector;
- an array of two or three dimensions: an image;
- a `Path`: an image file; a `str`: `id:HEX`, a stored row; else the path of an existing file; else a text.

A URL is refused, because queries are not fetched, and so is the path of a missing image: a mistyped path must not
become a text search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray
from PIL import Image

from imgvec.errors import QueryError, UnreadableImage
from imgvec.search.failing import Unasked, Wanted
from imgvec.search.forms import (
    FORMS,
    STORED,
    Form,
    ImageBytes,
    ImageFile,
    Pixels,
    StoredId,
    Text,
    VectorQuery,
    as_array,
)
from imgvec.search.hybrid import Hybrid
from imgvec.search.paths import as_present, is_url, no_url
from imgvec.sources import IMAGE_SUFFIXES

Query: TypeAlias = Form | str | Path | bytes | Image.Image | NDArray[Any] | Sequence[float]


def guessed(query: Query) -> Form:
    """The form of a query; raises `QueryError` and `UnreadableImage`."""
    if isinstance(query, FORMS):
        return query
    if isinstance(query, Hybrid):
        raise QueryError("a Hybrid is asked by search, and by itself: neither among other queries nor page by page")
    if isinstance(query, bytes | bytearray | memoryview):
        return ImageBytes(bytes(query))
    if isinstance(query, Image.Image):
        return Pixels(query)
    if isinstance(query, Path):
        return ImageFile(query)
    if isinstance(query, str):
        return _of_text(query)
    kind = type(query).__name__
    array = as_array(query)
    if array.ndim == 1 and array.dtype.kind in "fiu":
        return VectorQuery(array)
    if array.ndim in (2, 3):
        return Pixels(array)
    raise QueryError(f"a {kind} is not a query: use a path, bytes, a PIL image, an array, a vector, a string or a form")


def all_guessed(queries: Iterable[Query]) -> list[Form]:
    """The forms of many queries; raises `QueryError` for one alone, which would be taken apart."""
    _check_several(queries, "search_many")
    return [guessed(query) for query in queries]


def each_guessed(queries: Iterable[Query]) -> Iterator[Wanted]:
    """The forms of any number of queries, each guessed in its turn: a path or a text that cannot be asked is told of.

    Raises `QueryError` for what is none at all, and at once for one alone.
    """
    _check_several(queries, "search_each")
    return map(_guessed_or_not, queries)


def _guessed_or_not(query: Query) -> Wanted:
    try:
        return guessed(query)
    except (QueryError, UnreadableImage) as exc:
        if isinstance(query, str | Path) and str(query):
            return Unasked(ImageFile(query), exc)
        raise


def _check_several(queries: Iterable[Query], method: str) -> None:
    if isinstance(queries, (*FORMS, str, bytes, bytearray, memoryview, Path, Image.Image)) or not isinstance(
        queries, Iterable
    ):
        raise QueryError(f"{method} takes a sequence of queries; search takes one")


def _of_text(text: str) -> Form:
    if text.startswith(STORED):
        return StoredId(text.removeprefix(STORED))
    if not text:
        raise QueryError("the query is empty")  # as a path it would be the working directory
    path = Path(text)
    try:
        path = as_present(path)
        is_path = path.exists()
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL, nobody's home: some text
        is_path = False
    if is_path:
        return ImageFile(path)
    if is_url(text):
        raise no_url(text)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise UnreadableImage(text, "missing", "no such file")
    return Text(text, guessed=True)
