"""Forgets people, so that whatever is killed amid that is finished by whoever comes next.

Notes of what is to go stand in a companion before the first row is deleted, and are removed after the last:

    of a person    all that is kept of them goes: the faces that they are enrolled by, and stored faces with their name
    of a picture   these faces of it go, by their boxes, and so many stay

A picture's rows are numbered through, as its journal counts them, so those that stay move up: what a kill leaves may
have a face twice, or one that was to go. Rows are written in the order of their numbers and a face only moves up, so
each that stays is there at any moment. A picture that is not whole although no face was moved has lost them otherwise:
then its note waits until an ingest has made all of its faces again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from imgvec.faces.matching import Forgotten
from imgvec.faces.people import People
from imgvec.filters import field
from imgvec.filters.fields import text_literal
from imgvec.ingest.items import Ready
from imgvec.ingest.journal import TORN, ViewedPictures
from imgvec.rows import BOX, CONTENT_HASH, FROM_IMAGE, ID, IMAGE_ID, PERSON, URI, VIEW, VIEWS, view_counts, view_id
from imgvec.store import Notes, Store

_AT_ONCE = 64
_OF_PERSON, _OF_PICTURE = "forgetting.person", "forgetting.picture"
_UNKNOWN = -1

Box = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """What was left of others' forgetting."""

    people: tuple[Forgotten, ...]
    """Who is forgotten now."""
    waiting: int
    """Pictures that an ingest has to make again first."""


@dataclass(frozen=True, slots=True)
class _OfPicture:
    picture: str
    content_hash: str
    gone: list[list[int]]
    """The boxes of faces."""
    stay: int
    """How many faces do; `_UNKNOWN` where it was not whole."""


class Forgetting:
    """Forgets people of one collection; any number of processes may."""

    def __init__(self, store: Store, journal: Notes, people: People, notes: Notes, further: Collection[str]) -> None:
        """`notes` are rows with the texts `key`, `generation` and `data` and a time `at`; `further` vectors' names."""
        self._store, self._journal, self._people, self._notes = store, journal, people, notes
        self._pictures = ViewedPictures(store, journal, 1, further)

    def forget(self, person: str) -> Forgotten | None:
        """Delete all that is kept of a person, and finish what others have begun; None where nothing is kept."""
        begun = {row["data"]: row[ID] for row in self._listed(_OF_PERSON)}
        if person not in begun and not self._people.counts().get(person) and not self._store.count(self._of(person)):
            self.finish()
            return None
        if person not in begun:
            self._add(_OF_PERSON, [person])
        return next((each for each in self.finish().people if each.person == person), Forgotten(person, 0, 0))

    def finish(self) -> Finished:
        """Finish what was begun and not finished, as a kill leaves it."""
        self._mend()
        people = []
        for row in list(self._listed(_OF_PERSON)):
            people.append(Forgotten(row["data"], self._people.forget(row["data"]), self._take_out(row["data"])))
            self._notes.delete([row[ID]])
        return Finished(tuple(people), self._mend())

    def _take_out(self, person: str) -> int:
        """Take the faces with that name out of all pictures; returns how many there were."""
        taken, where = 0, self._of(person)
        while self._store.count(where):
            matching: dict[str, list[str]] = {}
            for rows in self._store.scan([IMAGE_ID], where):
                for row in rows:
                    matching.setdefault(row[IMAGE_ID], []).append(row[ID])
            ids = list(matching)
            before = taken
            for start in range(0, len(ids), _AT_ONCE):
                taken += self._take_out_of(person, {id_: matching[id_] for id_ in ids[start : start + _AT_ONCE]})
            if taken == before:  # others delete them at this very moment
                break
        return taken

    def _take_out_of(self, person: str, matching: Mapping[str, Sequence[str]]) -> int:
        entries = self._journal.get(list(matching), output_fields=[URI, CONTENT_HASH, VIEWS])
        whole = {id_: view_counts(each[VIEWS]) for id_, each in entries.items() if each[CONTENT_HASH] != TORN}
        ready, notes, lone, taken = list[Ready](), list[_OfPicture](), list[str](), 0
        for id_, (rows, vectors) in self._pictures.rows(whole).items():
            stay = [number for number, row in enumerate(rows) if row[PERSON] != person]
            gone = [_box(row) for row in rows if row[PERSON] == person]
            ready.append(_ready(id_, entries[id_], rows, vectors, stay))
            notes.append(_OfPicture(id_, entries[id_][CONTENT_HASH], [list(each) for each in gone], len(stay)))
            taken += len(gone)
        done = {each.picture for each in notes}
        for id_ in (each for each in matching if each not in done):
            found = self._store.get(matching[id_], output_fields=[BOX, CONTENT_HASH])
            for content_hash in {row[CONTENT_HASH] for row in found.values()}:
                boxes = [[*_box(row)] for row in found.values() if row[CONTENT_HASH] == content_hash]
                notes.append(_OfPicture(id_, content_hash, boxes, _UNKNOWN))
            lone += found
        ids = self._add(_OF_PICTURE, [json.dumps(asdict(each)) for each in notes])
        self._pictures.write(ready, lambda call: call())
        taken += self._store.delete(lone) if lone else 0
        self._notes.delete(ids[: len(ready)])
        return taken

    def _mend(self) -> int:
        """Finish the pictures that were begun; returns how many have to wait."""
        of: dict[str, list[tuple[str, _OfPicture]]] = {}
        for row in self._listed(_OF_PICTURE):
            note = _OfPicture(**json.loads(row["data"]))
            of.setdefault(note.picture, []).append((row[ID], note))
        waiting, ids = 0, list(of)
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            entries = self._journal.get(some, output_fields=[URI, CONTENT_HASH, VIEWS])
            there = self._pictures.present({id_: view_counts(each[VIEWS]) for id_, each in entries.items()})
            ready, done = list[Ready](), list[str]()
            for id_ in some:
                made = self._mended(id_, entries.get(id_), there.get(id_), [note for _, note in of[id_]])
                if made is None:
                    waiting += 1
                else:
                    ready += made
                    done += [note for note, _ in of[id_]]
            self._pictures.write(ready, lambda call: call())
            if done:
                self._notes.delete(done)
        return waiting

    def _mended(
        self, id_: str, entry: Mapping[str, Any] | None, there: Any, notes: Sequence[_OfPicture]
    ) -> list[Ready] | None:
        """The picture as it is to be written, or none where there is nothing to do; None where it has to wait."""
        notes = [note for note in notes if entry is not None and entry[CONTENT_HASH] in (TORN, note.content_hash)]
        if entry is None or not notes:  # it is gone, or another picture by now
            return []
        content_hash = notes[0].content_hash
        gone = {tuple(box) for note in notes for box in note.gone}
        rows, vectors = there
        first = dict[Box, int]()
        for number, row in enumerate(rows):
            if row[CONTENT_HASH] == content_hash and _box(row) not in gone:
                first.setdefault(_box(row), number)
        stay = list(first.values())
        if entry[CONTENT_HASH] == TORN:
            if len(stay) != min(note.stay for note in notes):
                return None
        elif len(stay) == len(rows) == sum(view_counts(entry[VIEWS]).values()):
            return []
        return [_ready(id_, {**entry, CONTENT_HASH: content_hash}, rows, vectors, stay)]

    def _add(self, key: str, texts: Sequence[str]) -> list[str]:
        at = time.time_ns() // 1_000_000
        ids = [f"{key}.{blake2b(text.encode(), digest_size=16).hexdigest()}" for text in texts]
        same = {"key": key, "generation": "", "at": at}
        if texts:
            self._notes.upsert([{**same, ID: id_, "data": text} for id_, text in zip(ids, texts, strict=True)])
        return ids

    def _listed(self, key: str) -> Iterator[dict[str, Any]]:
        for rows in self._notes.scan(["data"], f"key == {text_literal(key)}"):
            yield from rows

    def _of(self, person: str) -> str:
        return self._store.rendered(field(PERSON) == person)


def _ready(
    id_: str, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], vectors: Any, stay: list[int]
) -> Ready:
    """The picture with those of its rows that stay, numbered through."""
    kept, kinds = [], dict[str, int]()
    for number in stay:
        kind = rows[number][VIEW]
        row = {**rows[number], ID: view_id(id_, kind, kinds.get(kind, 0))}
        kept.append({name: value for name, value in row.items() if name != FROM_IMAGE or value})
        kinds[kind] = kinds.get(kind, 0) + 1
    left = {name: each[stay] for name, each in vectors.items()}
    return Ready({ID: id_, **entry}, kept, left, encoded=False, known=view_counts(entry[VIEWS]))


def _box(row: Mapping[str, Any]) -> Box:
    return tuple(map(int, row[BOX]))
