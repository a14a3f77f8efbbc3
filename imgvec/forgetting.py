"""What forgets the people of a collection of faces, and who they are: from where each of it is kept."""

from __future__ import annotations

from imgvec.faces.forgetting import Forgetting
from imgvec.faces.people import People
from imgvec.milvus import companions
from imgvec.milvus.companions import Companion
from imgvec.milvus.learned import LEARNED
from imgvec.target import Target


def people_of(target: Target) -> People:
    """Who is enrolled."""
    store = target.store
    return People(Companion(store.link.database, store, companions.people(store.dim)), store.dim)


def forgetting_of(target: Target) -> Forgetting:
    """What forgets people, of a collection of faces."""
    store = target.store
    assert target.journal is not None
    notes = Companion(store.link.database, store, LEARNED)
    return Forgetting(store, target.journal, people_of(target), notes, tuple(target.remembered.encoders))
