"""Who has an id: the first record of the source that has it. What comes again is told from it, however far apart."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

from imgvec.images import Again, Item, Record, record_id

REMEMBERED_URIS = 65_536
"""Of records whose id the source gave, the uris of the last so many: more than are on their way. Of those before, the
database has the uri."""


class Claims:
    """The ids that a run came across, in bounded memory: 24 to 48 MB a million, half as much again while it grows.

    An id is held as 8 bytes of its hash, with 8 bytes of a hash over the uri and the metadata, in an open-addressed
    table that is between a third and two thirds full. Two ids of one hash (a chance of 3 in a million among ten million
    ids, n^2 / 2^65) would refuse the second image, by name; nothing is written wrong.
    """

    def __init__(self, slots: int = 2**16) -> None:
        self._keys, self._marks = array("Q", bytes(8 * slots)), array("Q", bytes(8 * slots))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def claim(self, key: int, mark: int) -> int | None:
        """The mark that came with the first claim of this key; None where this is the first."""
        key = key or 1  # 0 is a free slot
        slot = self._slot(key)
        if self._keys[slot]:
            return self._marks[slot]
        self._keys[slot], self._marks[slot] = key, mark
        self._count += 1
        if 3 * self._count > 2 * len(self._keys):
            self._grow()
        return None

    def _slot(self, key: int) -> int:
        keys, mask = self._keys, len(self._keys) - 1
        slot = key & mask
        while keys[slot] and keys[slot] != key:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        keys, marks = self._keys, self._marks
        self._keys, self._marks = array("Q", bytes(16 * len(keys))), array("Q", bytes(16 * len(keys)))
        for key, mark in zip(keys, marks, strict=True):
            if key:
                slot = self._slot(key)
                self._keys[slot], self._marks[slot] = key, mark


def claimed(items: Iterable[Item]) -> Iterator[Item]:
    """The items of a source, where a record whose id came before gives way to an `Again`.

    Only the order of the source decides, not what became of the first: an image that could not be read today still has
    its id, so that a run's outcome does not depend on where an earlier one was cut.
    """
    claims = Claims()
    uris: dict[str, str] = {}
    for item in items:
        if not isinstance(item, Record):
            yield item
            continue
        mark = _hash(item.uri, _canonical(item.metadata))
        former = claims.claim(_hash(item.id), mark)
        from_uri = item.id == record_id(item.uri)
        if former is not None:
            yield Again(item.id, item.uri, former == mark, item.uri if from_uri else uris.get(item.id))
            continue
        if not from_uri:
            uris[item.id] = item.uri
            if len(uris) > REMEMBERED_URIS:
                del uris[next(iter(uris))]
        yield item


def _hash(*texts: str) -> int:
    found = blake2b(digest_size=8)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8) + data)
    return int.from_bytes(found.digest())


def _canonical(metadata: object) -> str:
    """One text for equal values, whatever the order of their keys."""
    if not metadata:
        return ""
    try:
        return json.dumps(metadata, sort_keys=True, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys of several types, a value within itself
        return repr(metadata)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)
