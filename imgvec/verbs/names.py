"""The names of a collection: aliases, which can be moved from one to another at once, and its own."""

from __future__ import annotations

from imgvec.collection import ImageCollection
from imgvec.milvus import aliases


def set_alias(collection: ImageCollection, alias: str) -> str | None:
    """Make an alias of the collection, or move it there; returns where it led before, None where it is new.

    Every client that has opened a collection by the alias follows within a second, its encoder loaded before it does.
    Raises `CollectionExists` where a collection has that name.
    """
    return aliases.point(collection.pinned().store, alias)


def drop_alias(collection: ImageCollection, alias: str) -> None:
    """Remove one of the collection's aliases; raises `CollectionNotFound` where it is none of its."""
    aliases.remove(collection.pinned().store, alias)


def rename(collection: ImageCollection, name: str) -> None:
    """Give the collection another name: its aliases go on leading to it, and this handle goes on too.

    Others that have it open by its former name have to open it again. Raises `UsageError` where it was opened by an
    alias, `CollectionExists`.
    """
    collection.handle.rename(name)
