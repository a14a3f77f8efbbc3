"""What was seen before, in bounded memory: 64 bits of a hash instead of the thing itself."""

from __future__ import annotations

from array import array
from hashlib import blake2b


class Seen:
    """Marks by key, both of 64 bits: 24 to 48 MB a million keys, half as much again while it grows.

    An open-addressed table that is between a third and two thirds full. The chance that any two of n keys are equal
    though what they were made of differs is n^2 / 2^65: 3 in a million for ten million keys.
    """

    def __init__(self, slots: int = 2**10) -> None:
        self._keys, self._marks = array("Q", bytes(8 * slots)), array("Q", bytes(8 * slots))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def claim(self, key: int, mark: int = 1) -> int | None:
        """The mark that came with the first claim of this key; None if this is the first."""
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


def hash64(*texts: str) -> int:
    """64 bits of blake2b over texts; where one ends and the next begins counts."""
    found = blake2b(digest_size=8)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8) + data)
    return int.from_bytes(found.digest())
