"""What is known of a collection of faces: its people, how far their faces are apart, and how pictures are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from imgvec import forgetting
from imgvec.collection import ImageCollection
from imgvec.errors import OptionError, UsageError
from imgvec.faces.finding import model_of
from imgvec.faces.looking import Asked, Looker, Refusal, Seen, called
from imgvec.faces.options import LimitOptions
from imgvec.faces.people import People
from imgvec.faces.rates import MOST_COMPARED, Limit, Source, Wrong, limit
from imgvec.forgetting import forgetting_of
from imgvec.rows import URI, VECTOR
from imgvec.search.forms import Crop, ImageBytes, ImageFile, Pixels, StoredId
from imgvec.vectors import Vectors
from imgvec.verbs.queries import some_of

Picture: TypeAlias = str | Path | Asked
"""The path of an image file, a form of a picture, or a stored face (`StoredId`)."""


def of_faces(collection: ImageCollection) -> ImageCollection:
    """The collection, which keeps to where its alias leads now; raises `UsageError` for one of other rows."""
    collection = collection.pinned()
    if not collection.definition.has_faces:
        raise UsageError(f"{collection.name!r} is not a collection of faces: create one with `--definition faces`")
    return collection


def people_of(collection: ImageCollection) -> People:
    """Who is enrolled."""
    return forgetting.people_of(collection.handle.target)


def finish_forgetting(collection: ImageCollection) -> None:
    """Forget whom somebody began to forget and did not: before anything is written that could keep what is to go."""
    forgetting_of(collection.handle.writing()).finish()


def looker_of(collection: ImageCollection) -> Looker:
    """What finds and encodes the faces of query pictures."""
    searcher, threads = collection.handle.target.searcher, collection.settings.threads
    return Looker(collection.store, collection.encoder, searcher.picture, threads)


def forms_of(pictures: Iterable[Picture]) -> list[Asked]:
    """The pictures as forms: a string is a path and nothing else. Raises `UsageError`."""
    if isinstance(pictures, str | Path):
        raise UsageError("give a list of pictures")
    found: list[Asked] = []
    for each in pictures:
        if isinstance(each, str | Path):
            found.append(ImageFile(each))
        elif isinstance(each, ImageFile | ImageBytes | Pixels | Crop | StoredId):
            found.append(each)
        else:
            raise UsageError(f"a {type(each).__name__} is not a picture: give paths, or forms like ImageFile")
    return found


def uri_of(collection: ImageCollection, form: Asked) -> str:
    """Where a face came from."""
    if isinstance(form, StoredId):
        return str(collection.store.get([form.id], output_fields=[URI])[form.id][URI])
    return called(form)


def or_raise(face: Seen | Refusal) -> Seen:
    """The face; raises why there is none."""
    if not isinstance(face, Seen):
        raise face
    return face


def stacked(collection: ImageCollection, faces: list[Seen]) -> Vectors:
    """(faces, dim)"""
    return np.stack([face.vector for face in faces]) if faces else np.empty((0, collection.store.dim), np.float32)


def published(collection: ImageCollection) -> float:
    """The model's usual limit."""

    model = model_of(collection.encoder)
    assert model is not None
    return model.distance


def limit_of(collection: ImageCollection, people: People, asked: LimitOptions, rate: float, wrong: Wrong) -> Limit:
    """The limit by those whose people are known; `rates.limit`."""
    label = asked["label"]
    by: Source = "enrolled people" if label is None else "labelled faces"
    known = some_of(people.faces() if label is None else _labelled(collection, label), MOST_COMPARED)
    vectors = np.stack([vector for _, vector in known]) if known else np.empty((0, collection.store.dim), np.float32)
    return limit(
        vectors,
        [person for person, _ in known],
        rate=rate,
        published=published(collection),
        wrong=wrong,
        by=by,
        given=asked["distance"],
    )


def _labelled(collection: ImageCollection, label: str) -> Iterator[tuple[str, Vectors]]:
    kind = collection.store.fields.get(label)
    if kind is None or kind.type not in ("VARCHAR", "INT64", "INT32"):
        raise OptionError("label", f"{label!r} is not a field of texts or whole numbers")
    for rows in collection.store.scan([label, VECTOR]):
        yield from ((str(row[label]), row[VECTOR]) for row in rows if row[label] not in (None, ""))
