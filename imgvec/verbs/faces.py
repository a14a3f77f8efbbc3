"""Whose faces they are: people are enrolled, identified, compared and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from typing_extensions import Unpack

from imgvec.collection import ImageCollection
from imgvec.errors import QueryError, UsageError
from imgvec.faces.looking import Seen, called, fit_to_enrol
from imgvec.faces.matching import Enrolment, FaceComparison, Forgotten, Identification, IdentifiedFace
from imgvec.faces.options import EnrolOptions, IdentifyOptions, VerifyFacesOptions
from imgvec.faces.people import People, checked_name
from imgvec.forgetting import forgetting_of
from imgvec.options import documented, settled
from imgvec.verbs.known_faces import (
    Picture,
    finish_forgetting,
    forms_of,
    limit_of,
    looker_of,
    of_faces,
    or_raise,
    people_of,
    published,
    stacked,
    uri_of,
)


@documented(EnrolOptions)
def enrol_person(
    collection: ImageCollection, person: str, pictures: Iterable[Picture], **options: Unpack[EnrolOptions]
) -> Enrolment:
    """Keep faces by which a person is known from now on, of pictures that show them and nobody else.

    Refused, each with its reason in the outcome, are pictures in which no face is found, or several, and faces that are
    turned to the side or less than 40 pixels wide; a stored face is taken as it is. Raises `QueryError` where none
    could be taken, and `UsageError` for a name that is none.
    """
    asked = settled(EnrolOptions, options)
    collection, name = of_faces(collection), checked_name(person)
    people = people_of(collection)
    forms = forms_of(pictures)
    if not forms:
        raise UsageError(f"give at least one picture of {name}")
    good: list[tuple[str, Seen]] = []
    refused: dict[str, str] = {}
    for form, face in looker_of(collection).one(forms):
        wrong = fit_to_enrol(form, face) if isinstance(face, Seen) else face
        if isinstance(face, Seen) and wrong is None:
            good.append((uri_of(collection, form), face))
        else:
            refused[called(form)] = str(wrong)
    if not good:
        raise QueryError(f"{name} was not enrolled: " + "; ".join(refused.values()))
    finish_forgetting(collection)
    if on_notice := asked["on_notice"]:
        _tell_of_others(collection, people, name, good, on_notice)
    added = people.enrol(name, good)
    return Enrolment(name, added, len(good) - added, refused)


def enrolled_people(collection: ImageCollection) -> dict[str, int]:
    """How many faces each enrolled person is known by, by name."""
    return people_of(of_faces(collection)).counts()


@documented(IdentifyOptions)
def identify_faces(
    collection: ImageCollection, pictures: Iterable[Picture], **options: Unpack[IdentifyOptions]
) -> Identification:
    """Whose the faces in pictures are, of the people who are enrolled: all faces of each picture, the largest first.

    A face is taken for the person whose nearest enrolled face is the nearest of all, if that is no further than the
    limit; otherwise it is nobody known. The limit is the largest distance at which no more than `rate` of the known
    faces would be taken for somebody else if their own person were not enrolled, and never more than the model's
    published one (`imgvec.faces.rates`). Raises `QueryError`, `OptionError`.
    """
    asked = settled(IdentifyOptions, options)
    collection = of_faces(collection)
    people, most = people_of(collection), collection.store.most_views or 1
    bound = limit_of(collection, people, asked, asked["rate"], "anybody")
    found: list[tuple[str, Seen]] = []
    bare: list[str] = []
    refused: dict[str, str] = {}
    for form, faces in looker_of(collection).faces(forms_of(pictures), most):
        if not isinstance(faces, list):
            refused[called(form)] = str(faces)
        elif faces:
            found += [(called(form), face) for face in faces]
        else:
            bare.append(called(form))
    nearest = people.nearest(stacked(collection, [face for _, face in found]), asked["candidates"])
    identified = tuple(
        IdentifiedFace(
            picture,
            face.box,
            near[0].person if near and near[0].distance <= bound.distance else None,
            tuple(near),
        )
        for (picture, face), near in zip(found, nearest, strict=True)
    )
    return Identification(identified, bound, tuple(bare), refused)


@documented(VerifyFacesOptions)
def verify_faces(
    collection: ImageCollection, first: Picture, second: Picture | None = None, **options: Unpack[VerifyFacesOptions]
) -> FaceComparison:
    """Whether the faces in two pictures are one person's, or whether the face in one is an enrolled `person`'s.

    Each picture shows one face. They are, where their distance is no further than the limit: the largest at which no
    more than `rate` of the comparisons of different people's faces would pass, and never more than the model's
    published one (`imgvec.faces.rates`). The outcome says how many were compared, and how sure that rate is. Raises
    `QueryError`, `UnreadableImage`, `SourceError`, `OptionError`, `UsageError`.
    """
    asked = settled(VerifyFacesOptions, options)
    if (second is None) == (asked["person"] is None):
        raise UsageError("compare with a second picture, or with an enrolled person")
    collection = of_faces(collection)
    people, looker = people_of(collection), looker_of(collection)
    name = None if asked["person"] is None else checked_name(asked["person"])
    theirs = None if name is None else people.of(name)
    seen = [or_raise(face) for _, face in looker.one(forms_of([first] if second is None else [first, second]))]
    others = seen[1].vector[np.newaxis] if theirs is None else theirs
    distance = float(np.linalg.norm(others.astype(np.float64) - seen[0].vector, axis=1).min())
    bound = limit_of(collection, people, asked, asked["rate"], "pair" if theirs is None else "person")
    return FaceComparison(distance <= bound.distance, distance, bound, name)


def forget_person(collection: ImageCollection, person: str) -> Forgotten:
    """Delete everything that is kept of a person: the faces they are enrolled by, and each stored face with their name.

    The pictures' other faces stay, and an ingest of the same pictures does not bring the deleted ones back; a picture
    that changes is looked at again, so take it out of the source. Other people's limits are no longer calibrated by the
    faces. Milvus frees the disk when it next compacts. A call that was cut short is finished by the next one, and by
    the next ingest, enrolment or `name_faces`; what is returned then counts what was left. Raises `QueryError` where
    nothing of that name is kept.
    """
    name, collection = checked_name(person), of_faces(collection)
    found = forgetting_of(collection.handle.writing()).forget(name)
    if found is None:
        raise people_of(collection).nobody(name)
    return found


def _tell_of_others(
    collection: ImageCollection,
    people: People,
    name: str,
    good: list[tuple[str, Seen]],
    on_notice: Callable[[str], object],
) -> None:
    """Say which faces look like those of somebody else who is enrolled."""
    usual = published(collection)
    for (uri, _), near in zip(good, people.nearest(stacked(collection, [face for _, face in good]), 2), strict=True):
        for each in near:
            if each.person != name and each.distance <= usual:
                on_notice(f"{uri} looks like {each.person} too (distance {each.distance:.3f})")
