"""Tells apart collections that had the same name one after another.

A handle may outlive its collection: another client can drop it and create a new one under the same name. Newer
descriptions contain 128 random bits to tell them apart. For older ones the server's `collection_id` is used; on Milvus
Lite that is always 0, so the description and the schema are compared, and only an identical new collection goes
unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from imgvec.definition import description
from imgvec.errors import CollectionNotFound, CollectionReplaced, EncoderMismatch, ImgvecError


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One collection, from when it was made until it is dropped; a renamed one stays the same."""

    description: str
    collection_id: int
    fields: str
    """Names, types and parameters."""

    @classmethod
    def of(cls, described: Mapping[str, Any], text: str) -> Incarnation:
        """The one that `describe_collection` tells of, whose description is `text`."""
        fields = [
            (each["name"], int(each["type"]), sorted((k, str(v)) for k, v in each["params"].items()))
            for each in described["fields"]
        ]
        return cls(text, int(described.get("collection_id") or 0), repr(fields))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Incarnation):
            return NotImplemented
        own = description.incarnation(self.description)
        if own or description.incarnation(other.description):
            # an altered text, or a field added, is still the same collection
            return own == description.incarnation(other.description)
        mine = (self.collection_id, self.description, self.fields)
        return mine == (other.collection_id, other.description, other.fields)

    def __hash__(self) -> int:
        return hash(description.incarnation(self.description) or self.description)

    @property
    def key(self) -> str:
        """A short text that says the same: the random bits, or where there are none a hash of what stands for them."""
        told = f"{self.collection_id}\n{self.description}".encode()
        return description.incarnation(self.description) or blake2b(told, digest_size=16).hexdigest()

    def error(self, name: str, now: Incarnation) -> ImgvecError:
        """What to raise where `name` is another collection `now`: the encoders' mismatch before all else."""
        try:
            before = description.read(name, self.description).bindings
            bound = description.read(name, now.description).bindings
            description.check_bindings(name, bound, before)
        except EncoderMismatch as exc:
            return EncoderMismatch(f"{exc}; it was dropped and recreated since it was opened: open it again")
        except CollectionNotFound:  # one of them is not an image collection
            pass
        return CollectionReplaced(
            f"the collection {name!r} was dropped and recreated since it was opened: open it again"
        )
