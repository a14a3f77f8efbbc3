"""The stored faces of a collection: given the names of enrolled people, and grouped where they have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from typing_extensions import Unpack

from imgvec.collection import ImageCollection
from imgvec.errors import QueryError
from imgvec.faces.groups import MOST_GROUPED, StoredFace, groups
from imgvec.faces.matching import Clusters, Naming
from imgvec.faces.options import ClusterOptions, NameOptions
from imgvec.filters import field
from imgvec.options import documented, settled
from imgvec.progress import Telling
from imgvec.rows import BOX, FROM_IMAGE, ID, PERSON, URI, VECTOR
from imgvec.verbs.known_faces import finish_forgetting, limit_of, of_faces, people_of

_AT_ONCE = 500


@documented(NameOptions)
def name_faces(collection: ImageCollection, **options: Unpack[NameOptions]) -> Naming:
    """Write into the field `person` of every stored face whose it is, as `identify_faces` says; empty for nobody known.

    Run it again after people were enrolled: faces that have their name already are left as they are. Raises
    `FilterError`, `BackendError`.
    """
    asked = settled(NameOptions, options)
    collection = of_faces(collection)
    finish_forgetting(collection)
    store, people, tell = collection.store, people_of(collection), Telling("faces", asked["on_progress"])
    bound = limit_of(collection, people, asked, asked["rate"], "anybody")
    expression = collection.handle.target.rendered(asked["where"])
    named, other, seen = Counter[str](), dict[str, str](), 0
    for rows in store.scan([PERSON, VECTOR], expression, _AT_ONCE):
        nearest = people.nearest(np.stack([row[VECTOR] for row in rows]), 1)
        for row, near in zip(rows, nearest, strict=True):
            person = near[0].person if near and near[0].distance <= bound.distance else ""
            named[person] += 1
            if row[PERSON] != person:
                other[row[ID]] = person
        seen += len(rows)
        tell("comparing", seen)
    _write(collection, other, tell)
    return Naming(seen, {person: named[person] for person in sorted(named) if person}, len(other), bound)


@documented(ClusterOptions)
def cluster_faces(collection: ImageCollection, **options: Unpack[ClusterOptions]) -> Clusters:
    """Group the stored faces that have no name by likeness, so that each group can be given one.

    Faces are linked as `verify_faces` would take them for one person's, and grouped by Chinese whispers
    (`imgvec.faces.groups`). Enrol a group by its ids. Raises `QueryError` for more than 20,000 faces: narrow them by
    `where`.
    """
    asked = settled(ClusterOptions, options)
    collection = of_faces(collection)
    people, target = people_of(collection), collection.handle.target
    bound = limit_of(collection, people, asked, asked["rate"], "pair")
    unknown = field(PERSON) == ""
    where = target.rendered(unknown)
    if narrowed := target.rendered(asked["where"]):
        where = f"({where}) and ({narrowed})"
    if (count := target.store.count(where)) > MOST_GROUPED:
        raise QueryError(f"{count:,} faces without a name are more than the {MOST_GROUPED:,} that are grouped at once: "
                         f"narrow them by where")  # fmt: skip
    rows = [row for some in target.store.scan([URI, BOX, VECTOR], where) for row in some]
    faces = [StoredFace(row[ID], row[URI], row[BOX]) for row in rows]
    vectors = np.stack([row[VECTOR] for row in rows]) if rows else np.empty((0, target.store.dim), np.float32)
    found = groups(faces, vectors, bound.distance, asked["least"])
    return Clusters(tuple(map(tuple, found)), len(faces) - sum(map(len, found)), bound)


def _write(collection: ImageCollection, persons: Mapping[str, str], tell: Telling) -> None:
    """Give stored faces other names; all else of their rows stays."""
    store, further = collection.store, tuple(collection.handle.target.remembered.encoders)
    ids = list(persons)
    for start in range(0, len(ids), _AT_ONCE):
        some = store.get(ids[start : start + _AT_ONCE], output_fields=["*", FROM_IMAGE, *further], with_vector=True)
        rows = [{**row, ID: id_, PERSON: persons[id_]} for id_, row in some.items()]
        if rows:
            vectors = {name: np.stack([row.pop(name) for row in rows]) for name in (VECTOR, *further)}
            rows = [{name: value for name, value in row.items() if name != FROM_IMAGE or value} for row in rows]
            first = vectors.pop(VECTOR)
            store.upsert(rows, first, **({"more": vectors} if vectors else {}))
        tell("writing", min(start + _AT_ONCE, len(ids)), len(ids))
