"""Aliases: second names that can be moved from one collection to another at once; and renaming.

Milvus Lite would drop and rename through an alias. A server from 2.4 refuses to drop what an alias leads to, where
Milvus Lite drops the alias too, and 2.3 hides it and lets no other have its name. imgvec refuses all of it everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pymilvus.exceptions import MilvusException

from imgvec.errors import BackendError, CollectionExists, CollectionNotFound, UsageError
from imgvec.milvus import described, names
from imgvec.milvus.errors import milvus_code, translated
from imgvec.milvus.link import Link
from imgvec.milvus.store import Store

RENAMED = "renamed_from"
"""The property that a collection has on Milvus Lite while it is renamed, should the process be killed."""
GIVING = "giving"
"""The property of a collection that is about to give its name to another, should the process be killed."""
_NO_ALIAS, _ALIAS_EXISTS = 1600, 1602
"""The server's codes; Milvus Lite says of the first that there is no such collection."""

log = logging.getLogger(__name__)


def resolved(link: Link, name: str) -> Mapping[str, Any]:
    """`describe_collection` of a collection, or of the one that an alias leads to; its own name is in the answer.

    Raises `CollectionNotFound`.
    """
    try:
        found = link.describe(name)
    except CollectionNotFound:
        if not mended(link, name):
            raise
        found = link.describe(name)
    if name == found["collection_name"] and name in found.get("aliases", ()):
        found = {**found, "collection_name": leads_to(link, name)}
    return found


def leads_to(link: Link, alias: str) -> str | None:
    """The collection that an alias leads to; None where there is no such alias."""
    try:
        with translated(f"look for the alias {alias!r}"):
            return str(link.client.describe_alias(alias, timeout=link.timeout)["collection_name"])
    except CollectionNotFound:
        return None
    except BackendError as exc:
        if exc.code == _NO_ALIAS:
            return None
        raise


def every(link: Link) -> dict[str, str]:
    """All aliases, each with the collection that it leads to."""
    with translated("list the aliases"):
        found = link.client.list_aliases(timeout=link.timeout)["aliases"]
    told = {alias: leads_to(link, alias) for alias in sorted(found)}
    return {alias: name for alias, name in told.items() if name is not None}


def of(link: Link, name: str) -> list[str]:
    """The aliases that lead to the collection of that name, sorted."""
    with translated(f"list the aliases of {name!r}"):
        return sorted(link.client.list_aliases(name, timeout=link.timeout)["aliases"])


def point(store: Store, alias: str) -> str | None:
    """Make an alias of the store's collection, or move it there; returns where it led before, None for nowhere.

    Raises `CollectionExists` where a collection has that name.
    """
    names.check_new(alias)
    link = store.link.database
    with link.writing:
        store.check_same()
        former = leads_to(link, alias)
        if former is None and _is_collection(link, alias):
            raise CollectionExists(f"{alias!r} is a collection, so it cannot be an alias: choose another name")
        if former != store.name:
            with translated(f"point the alias {alias!r} to {store.name!r}"):
                _point(link, store.name, alias, is_new=former is None)
    return former


def remove(store: Store, alias: str) -> None:
    """Remove an alias of the store's collection; raises `CollectionNotFound` where it is none of its."""
    names.check(alias)
    link = store.link.database
    with link.writing:
        now = leads_to(link, alias)
        if now != store.name:
            leads = f"it leads to {now!r}" if now else "there is no such alias"
            raise CollectionNotFound(f"{alias!r} is not an alias of {store.name!r}: {leads}")
        with translated(f"remove the alias {alias!r}"):
            link.client.drop_alias(alias, timeout=link.timeout)


def rename(store: Store, name: str) -> None:
    """Give the store's collection another name; aliases go on leading to it, and companions keep their names.

    What holds the collection by its former name has to open it again. Raises `UsageError` through an alias,
    `CollectionExists`.
    """
    names.check_new(name)
    refuse_alias(store.link.alias, store.name, "rename")
    link = store.link.database
    if leads_to(link, name) is not None or _is_collection(link, name):
        raise CollectionExists(f"there is a collection or an alias {name!r} already: choose another name")
    # Milvus Lite moves the folder first and the aliases last
    noted = link.capabilities.kind == "lite" and bool(of(link, store.name))
    if noted:
        store.remember(RENAMED, {"name": store.name})
    with link.writing, translated(f"rename {store.name!r} to {name!r}"):
        store.check_same()
        with link.leaving(store.name, store.incarnation.key):
            link.came(name, store.incarnation.key)
            link.client.rename_collection(store.name, name, timeout=link.timeout)


def take_name(new: Store, old: Store, former: str) -> None:
    """Let the name of `old` lead to `new`, as an alias, and so each of its aliases; `old` is called `former` then.

    `former` begins with the name and _, so that whoever asks for the name when it stands for nothing, between the two
    calls or after a kill, finds the note without a look at every collection, and finishes this. The note stays.
    """
    name, link = old.name, old.link.database
    assert _may_have_been(name, former)
    with link.writing:
        held = of(link, name)
        old.remember(GIVING, {"name": name, "to": new.name})
        rename(old, former)
        _lead(link, name, new.name)
        for alias in held:
            point(new, alias)


def refuse_alias(alias: str | None, name: str, doing: str) -> None:
    """Raise `UsageError` where what is to be dropped or renamed was named by an alias."""
    if alias is not None:
        raise UsageError(f"{alias!r} is an alias of {name!r}: {doing} that by its own name, or move the alias")


def refuse_drop(link: Link, name: str, alias: str | None) -> None:
    """Raise `UsageError` where the collection was named by an alias, or aliases lead to it."""
    refuse_alias(alias, name, "drop")
    if found := of(link, name):
        raise UsageError(
            f"the alias {', '.join(found)} leads to {name!r}: move it to another collection, or remove it, before this "
            "one is dropped"
        )


def _point(link: Link, name: str, alias: str, *, is_new: bool) -> None:
    if is_new:
        try:
            link.client.create_alias(name, alias, timeout=link.timeout)
            return
        except MilvusException as exc:
            # a server of 2.3 keeps the alias of a collection that was dropped, hidden, and takes it for there already
            if milvus_code(exc) != _ALIAS_EXISTS:
                raise
    link.client.alter_alias(name, alias, timeout=link.timeout)


def _is_collection(link: Link, name: str) -> bool:
    try:
        link.describe(name)
    except CollectionNotFound:
        return False
    return True


def mended(link: Link, name: str) -> bool:
    """Whether a name that stands for nothing leads somewhere again: a rename, or `take_name`, has left it behind."""
    missing = leads_to(link, name) if link.capabilities.kind == "lite" else None
    with translated("list the collections"):
        found = link.client.list_collections(timeout=link.timeout)
    for each in found if missing is not None else [each for each in found if _may_have_been(name, each)]:
        try:
            noted = described.remembered(link.describe(each))
        except CollectionNotFound:  # dropped meanwhile
            continue
        if missing is not None and noted.get(RENAMED, {}).get("name") == missing:
            log.warning("%s led to %s, whose renaming to %s was killed: it leads there now", name, missing, each)
            with link.writing, translated(f"point the alias {name!r} to {each!r}"):
                link.client.alter_alias(each, name, timeout=link.timeout)
            return True
        if (giving := noted.get(GIVING, {})).get("name") == name:
            log.info("%s was about to give the name %s to %s: it leads there now", each, name, giving["to"])
            _lead(link, name, giving["to"])
            return True
    return missing is None and _is_collection(link, name)  # somebody else may have done it meanwhile


def _may_have_been(name: str, former: str) -> bool:
    """Whether a collection may be called so since it gave that name away."""
    return former.startswith(f"{name}_")


def _lead(link: Link, name: str, to: str) -> None:
    """Make an alias of a name that a collection had until now; others may be doing it too."""
    with link.writing:
        if leads_to(link, name) != to:
            with translated(f"point the alias {name!r} to {to!r}"):
                _point(link, to, name, is_new=True)
