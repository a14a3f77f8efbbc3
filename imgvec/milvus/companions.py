"""Companions: small collections beside a collection, for what belongs to it and is not a row of it.

    connection.companion(store, Kind("learned", {"data": RowField("VARCHAR", 65_535)}))

A collection's description names its companions by their own names, so an alias or a rename touches the collection
alone. A companion says whose it is: `{"imgvec_companion": 1, "kind": "learned", "of": "…"}`, with the incarnation of
its owner. Where another's has the name, the next free one is taken, and remembered as a property of the owner. One
whose owner is gone was left over by a kill, or by a client that knows no companions; it goes when its name is needed.

It is made by the first write, after its owner, and dropped before it; until then it reads as empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.client.cache import GlobalCache
from typing_extensions import Unpack

from imgvec.definition import description
from imgvec.errors import BackendError, CollectionNotFound, CollectionReplaced
from imgvec.milvus import described, names
from imgvec.milvus.collection_link import CollectionLink
from imgvec.milvus.described import DESCRIPTION
from imgvec.milvus.errors import translated
from imgvec.milvus.link import Link
from imgvec.milvus.paging import SCAN_BATCH
from imgvec.milvus.schema import IndexPlan, own_options
from imgvec.milvus.store import Store
from imgvec.milvus.vector_index import create_index
from imgvec.rows import ID, JOURNAL_FIELDS, KEY, PEOPLE_FIELDS, VECTOR, RowField
from imgvec.store import NearestOf
from imgvec.stored import Found
from imgvec.vectors import Vectors

FORMAT = 1
NAMES = "companions"
"""The property of an owner that holds the names by kind which its description does not."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a companion is for, one of `names.KINDS`, and its fields beside the text key `id`."""

    name: str
    fields: Mapping[str, RowField]
    dim: int = 1
    """Of its vectors, which Milvus wants one of for each row whether there is something to compare or not."""


PICTURES = Kind("pictures", JOURNAL_FIELDS)
"""The pictures of a collection of views."""


def people(dim: int) -> Kind:
    """The enrolled faces of a collection of faces, whose vectors are compared with all of them."""
    return Kind("people", PEOPLE_FIELDS, dim)


class Companion:
    """The companion of one kind of an opened collection: rows by `id`. Any number of threads may call.

    Another one's is never read or written: raises like `Store.check_same` of its owner where that is there no more.
    """

    def __init__(self, link: Link, owner: Store, kind: Kind) -> None:
        self._link, self._owner, self.kind = link, owner, kind
        self._opened: Store | None = None

    def get(self, ids: Sequence[str], *, output_fields: Sequence[str] = ("*",)) -> dict[str, dict[str, Any]]:
        """The fields of the rows with those ids, by id, in the order asked; ids that are not there are left out.

        Sees every write that was acknowledged before, which takes 0.2 to 0.4 s on a server.
        """
        return self._read(lambda rows: rows.get(ids, output_fields=output_fields), {})

    def count(self, filter: str = "") -> int:
        """How many rows there are, or match."""
        return self._read(lambda rows: rows.count(filter), 0)

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = SCAN_BATCH
    ) -> Iterator[list[dict[str, Any]]]:
        """All rows, or those that match, each once, in the order of their ids; `Store.scan`."""
        rows = self._read(lambda rows: rows, None)
        if rows is not None:
            yield from rows.scan(output_fields, filter, batch_size)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the rows with those ids; returns how many there were."""
        return self._read(lambda rows: rows.delete(ids), 0)

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors | None = None) -> int:
        """Write whole rows, each in place of the one of the same id; returns how many. `Store.upsert`.

        `vectors` are (n, dim), of a kind whose rows are compared by them.
        """
        if not rows:
            return 0
        given = np.ones((len(rows), 1), np.float32) if vectors is None else vectors
        return self._again(lambda: self._present().upsert(rows, given))

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> Sequence[Sequence[Found]]:
        """`Store.search`, of every row: by squared Euclidean distance; sees every write acknowledged before."""
        return self._read(lambda rows: rows.search(vectors, **asked), [[] for _ in vectors])

    @property
    def name(self) -> str | None:
        """What its collection is called; None where it is not made yet."""
        return self._read(lambda rows: rows.name, None)

    def make(self) -> None:
        """Make it now, empty, where it is not there."""
        self._present()

    def _read(self, of: Callable[[Store], T], nothing: T) -> T:
        def read() -> T:
            rows = self._opened or self._found()
            return nothing if rows is None else of(rows)

        return self._again(read)

    def _again(self, call: Callable[[], T]) -> T:
        """The call, once more where the companion has gone since it was opened, or has been made again."""
        had = self._opened
        try:
            return call()
        except (CollectionNotFound, CollectionReplaced):
            if had is None:
                raise
            self._opened = None
        return call()

    def _present(self) -> Store:
        if self._opened is not None:
            return self._opened
        with self._link.writing:  # on Milvus Lite nobody else makes it, or drops its owner, meanwhile
            return self._found() or self._made()

    def _found(self) -> Store | None:
        named, of = _named(self._owner)
        if (name := named.get(self.kind.name)) is None:
            return None
        now = _described(self._link, name)
        if now is None or owner_of(now) != of:
            return None
        self._opened = self._open(name, now)
        return self._opened

    def _open(self, name: str, now: Mapping[str, Any]) -> Store:
        # by the schema of whatever had that name before pymilvus would go on
        GlobalCache.schema.clear()
        index = self._link.describe_index(name)
        if index is None:  # killed while it was made
            create_index(self._link, name, _INDEX)
            index = self._link.describe_index(name)
        # in as many replicas as its owner: a query node that fails must not take it away
        store = Store(self._link, described.read_schema(now, {VECTOR: index}), like=self._owner.link)
        store.load()
        return store

    def _made(self) -> Store:
        kind, (named, of) = self.kind.name, _named(self._owner)
        name = named.get(kind)
        if name is None or not _is_free(self._link, name):
            name = free_name(self._link, self._owner.name, kind)
            # before it is made: then it is found, and dropped with its owner
            self._owner.remember(NAMES, {**named, kind: name})
        text = json.dumps({"imgvec_companion": FORMAT, "kind": kind, "of": of}, separators=(",", ":"))
        options: dict[str, Any] = {"properties": {DESCRIPTION: text}} if self._link.capabilities.kind == "lite" else {}
        try:
            with self._link.writing, translated(f"create the collection {name!r}"):
                self._link.client.create_collection(
                    name,
                    schema=_schema(self.kind, text),
                    consistency_level="Strong",
                    num_shards=1,
                    timeout=self._link.timeout,
                    **options,
                )
        except BackendError:
            # another process was faster
            if (found := self._found()) is None:
                raise
            return found
        self._opened = self._open(name, self._link.describe(name))
        return self._opened


_INDEX = IndexPlan(VECTOR, "FLAT", {}, "L2")


def free_name(link: Link, owner: str, kind: str) -> str:
    """The first name that a companion of a collection of that name can have; what is left over there is dropped."""
    candidates = (names.companion(owner, kind, number) for number in count(1))
    return next(name for name in candidates if _is_free(link, name))


def drop_with(link: Link, owner: Store) -> None:
    """Drop the companions of a collection that is about to be dropped.

    A copy that a backup made under another name has the same description: then they stay for that.
    """
    named, of = _named(owner)
    own = [name for name in named.values() if (now := _described(link, name)) is not None and owner_of(now) == of]
    if own and _alive(link, of) == [owner.name]:
        for name in own:
            _drop(link, name)


def links(link: Link, owner: Store) -> Iterator[CollectionLink]:
    """The companions that a collection has, as they are to be loaded and released with it; opens none."""
    named, of = _named(owner)
    for name in named.values():
        now, index = _described(link, name), None
        if now is not None and owner_of(now) == of:
            index = link.describe_index(name)
        if now is not None and index is not None:
            yield CollectionLink(link, described.read_schema(now, {VECTOR: index}), like=owner.link)


def owner_of(now: Mapping[str, Any]) -> str | None:
    """Whose companion `describe_collection` tells of: its owner's incarnation; None where it is no companion."""
    try:
        found = json.loads(described.description_of(now))
        return str(found["of"]) if found["imgvec_companion"] else None
    except (ValueError, TypeError, KeyError):
        return None


def _named(owner: Store) -> tuple[dict[str, str], str]:
    """The owner's companions by kind, and its incarnation as they say it; raises like `Store.check_same`."""
    now = owner.link.described()
    told = description.companions(described.description_of(now))
    return {**told, **described.remembered(now).get(NAMES, {})}, owner.incarnation.key


def _is_free(link: Link, name: str) -> bool:
    now = _described(link, name)
    if now is None:
        return True
    of = owner_of(now)
    if of is None or _alive(link, of):
        return False
    _drop(link, name)
    return True


def _alive(link: Link, of: str) -> list[str]:
    """The names of the collections that have that incarnation."""
    while True:
        with translated("list the collections"):
            names_now = link.client.list_collections(timeout=link.timeout)
        told = {name: _described(link, name) for name in names_now}
        found = [name for name, now in told.items() if now is not None and described.incarnation(now).key == of]
        if found or None not in told.values():
            return found
        # one was renamed or dropped meanwhile: it may be that one


def _described(link: Link, name: str) -> Mapping[str, Any] | None:
    try:
        return link.describe(name)
    except CollectionNotFound:
        return None


def _drop(link: Link, name: str) -> None:
    with link.writing, translated(f"drop the collection {name!r}"):
        link.client.drop_collection(name, timeout=link.timeout)


def _schema(kind: Kind, text: str) -> CollectionSchema:
    made = MilvusClient.create_schema(enable_dynamic_field=False, description=text)
    made.add_field(ID, DataType.VARCHAR, is_primary=True, max_length=KEY.max_bytes)
    made.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=kind.dim)
    for name, field in kind.fields.items():
        made.add_field(name, DataType[field.type], **own_options(field))
    return made
