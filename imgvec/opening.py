"""Creates and opens collections: store, definition, binding and encoder, checked against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import SecretStr
from typing_extensions import TypedDict, Unpack

from imgvec.database import connected, must_exist, settings_with
from imgvec.definition import Definition, bundled, description
from imgvec.encoders.protocol import Binding, Encoder
from imgvec.errors import CollectionExists, CollectionReplaced, DefinitionError
from imgvec.loading import check_lengths, first_encoder
from imgvec.milvus import Connection, Store
from imgvec.milvus.companions import PICTURES, Companion
from imgvec.milvus.incarnation import Incarnation
from imgvec.settings import Settings


class Opened(NamedTuple):
    """What an `ImageCollection` is made of."""

    connection: Connection
    store: Store
    definition: Definition
    binding: Binding
    settings: Settings
    encoder: Encoder | None


class OpenOptions(TypedDict, total=False):
    """Where a collection is: what is left out is that of the settings."""

    uri: str | None
    token: str | SecretStr | None
    db_name: str | None
    encoder: Encoder | None
    settings: Settings | None


class CreateOptions(OpenOptions, total=False):
    """What a new collection is, besides where."""

    definition: str | Path | Mapping[str, Any] | Definition | None
    gpu: bool
    exist_ok: bool
    on_notice: Callable[[str], None] | None


def create_parts(name: str, **options: Unpack[CreateOptions]) -> Opened:
    """`ImageCollection.create`."""
    definition, encoder, on_notice = options.get("definition"), options.get("encoder"), options.get("on_notice")
    gpu = options.get("gpu", False)
    given = None if definition is None else Definition.load(definition)
    settings = settings_with(options.get("settings"), options.get("uri"), options.get("token"), options.get("db_name"))
    connection = connected(settings)
    try:
        if connection.has(name):
            if not options.get("exist_ok", False):
                raise CollectionExists(f"the collection {name!r} already exists: open it, or drop it first")
            opened = _opened(connection, name, settings, encoder, given)
            if gpu and not opened.store.index.type.startswith("GPU_"):
                raise DefinitionError(
                    f"the collection {name!r} already exists with a {opened.store.index.type} index: drop it "
                    f"first, or omit gpu"
                )
            return opened
        wanted = given or Definition.load(name if name in bundled() else "photos")
        return _made(connection, name, wanted, settings, encoder, gpu=gpu, on_notice=on_notice)
    except BaseException:
        connection.close()
        raise


def open_parts(name: str, **options: Unpack[OpenOptions]) -> Opened:
    """`ImageCollection.open`."""
    settings = settings_with(options.get("settings"), options.get("uri"), options.get("token"), options.get("db_name"))
    must_exist(settings)
    connection = connected(settings)
    try:
        return _opened(connection, name, settings, options.get("encoder"), None)
    except BaseException:
        connection.close()
        raise


def opened_store(name: str, settings: Settings, incarnation: Incarnation) -> Store:
    """The collection's store on a connection of its own, for another process; raises where it is another by now.

    By its alias if it was opened by one, so that the writes stop where that is moved.
    """
    store = connected(settings).open(name)
    if store.incarnation != incarnation:
        if store.link.alias is not None:
            raise CollectionReplaced(f"the alias {name!r} was moved to {store.name!r} since this began: start again")
        raise incarnation.error(name, store.incarnation)
    return store


def opened_journal(name: str, settings: Settings, incarnation: Incarnation) -> Companion:
    """What the collection keeps of its pictures, for another process; raises as `opened_store`."""
    connection = connected(settings)
    store = connection.open(name)
    if store.incarnation != incarnation:
        raise incarnation.error(name, store.incarnation)
    return connection.companion(store, PICTURES)


def _made(
    connection: Connection,
    name: str,
    wanted: Definition,
    settings: Settings,
    encoder: Encoder | None,
    *,
    gpu: bool,
    on_notice: Callable[[str], None] | None,
) -> Opened:
    device: Literal["cpu", "gpu"] = "gpu" if gpu else "cpu"
    # what the backend cannot do is said before the weights are fetched
    connection.check(wanted, device=device)
    if wanted.partition_key and not connection.capabilities.partition_key and on_notice:
        on_notice(
            f"{connection.capabilities.name} writes upserted rows to the wrong partition (milvus#30607), so "
            f"{wanted.partition_key} becomes an ordinary field: same hits, slower search"
        )
    section = wanted.index.gpu if gpu else wanted.index.cpu
    if on_notice and section and (danger := connection.capabilities.danger(section.type)):
        on_notice(danger)
    encoder = encoder or first_encoder(wanted, settings, on_notice)
    check_lengths(wanted, encoder.binding)
    kinds = ["learned", *([PICTURES.name] if wanted.views else [])]
    remembered = description.write(wanted, encoder.binding, connection.companion_names(name, kinds))
    store = connection.create(name, wanted, dim=encoder.binding.dim, description=remembered, device=device)
    return Opened(connection, store, wanted, encoder.binding, settings, encoder)


def _opened(
    connection: Connection, name: str, settings: Settings, encoder: Encoder | None, wanted: Definition | None
) -> Opened:
    store = connection.open(name)
    remembered = description.read(name, store.description)
    definition, binding = remembered.definition, remembered.binding
    if wanted is not None and not description.is_made_from(definition, wanted):
        raise DefinitionError(
            f"the collection {name!r} was made from another definition: omit the definition, or choose another name"
        )
    if encoder is not None:
        description.check_binding(name, binding, encoder.binding)
    return Opened(connection, store, definition, binding, settings, encoder)
