"""A person is forgotten in a process of its own, killed at a write: `forget_killer.py URI PERSON POINT`.

POINT is `before N` or `amid N`: the Nth write of rows, of the collection or of one beside it, counted from 1.
"""

from __future__ import annotations

import sys

from name_killer import Killer
from square_faces import Squares

import imgvec
from imgvec import FaceEncoder, ImageCollection
from imgvec.faces import forgetting
from imgvec.milvus.store import Store


def main(uri: str, person: str, point: str) -> None:
    forgetting._AT_ONCE = 2  # so that a small album takes several rounds
    killer = Killer(point)
    with ImageCollection.open("club", uri=uri, encoder=FaceEncoder(Squares())) as club:
        for method in ("upsert", "delete", "discard"):
            setattr(Store, method, killer.around(getattr(Store, method)))
        imgvec.forget_person(club, person)


if __name__ == "__main__":
    main(*sys.argv[1:])
