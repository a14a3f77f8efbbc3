"""Creates and opens collections: store, definition, binding and encoder, checked against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import SecretStr
from typing_extensions import TypedDict, Unpack

from imgvec import kept, noting
from imgvec.database import connected, must_exist, settings_with
from imgvec.definition import Definition, bundled, description
from imgvec.definition.description import Remembered
from imgvec.encoders.protocol import Encoder
from imgvec.errors import BackendError, CollectionExists, CollectionReplaced, DefinitionError, UsageError
from imgvec.faces import check_encoder
from imgvec.loading import check_lengths, first_encoder
from imgvec.milvus import Connection, Store
from imgvec.milvus.companions import PICTURES, Companion
from imgvec.milvus.incarnation import Incarnation
from imgvec.options import python_only, settled
from imgvec.rows import VECTOR
from imgvec.settings import Settings


class Opened(NamedTuple):
    """What an `ImageCollection` is made of."""

    connection: Connection
    store: Store
    remembered: Remembered
    settings: Settings
    encoders: Mapping[str, Encoder]
    """Those that are there already, by the vector's name."""


class OpenOptions(TypedDict, total=False):
    """Where a collection is, and what encodes its queries."""

    uri: Annotated[str | None, python_only(help="The server or file; None is that of the settings.")]
    token: Annotated[str | SecretStr | None, python_only(help="`user:password` or a key; None is the settings'.")]
    db_name: Annotated[str | None, python_only(help="The database; None is that of the settings.")]
    encoder: Annotated[Encoder | None, python_only(help="Used instead of loading that of `vector`.")]
    encoders: Annotated[
        Mapping[str, Encoder] | None, python_only(help="The same for further vectors, by the vector's name.")
    ]
    settings: Annotated[Settings | None, python_only(help="None reads them from the environment.")]
    load: Annotated[
        bool, python_only(True, help="Load it into memory. False leaves it as it is, and the first read loads it.")
    ]


class CreateOptions(OpenOptions, total=False):
    """What a new collection is, besides where."""

    definition: Annotated[
        str | Path | Mapping[str, Any] | Definition | None,
        python_only(help="A YAML file, a bundled definition's name, or a mapping."),
    ]
    gpu: Annotated[bool, python_only(False, help="Build the definition's GPU index.")]
    projection: Annotated[
        bool, python_only(True, help="False leaves out every projection that the definition or its purpose means.")
    ]
    exist_ok: Annotated[
        bool, python_only(False, help="Open an existing collection, unless its definition is a different one.")
    ]
    on_notice: Annotated[
        Callable[[str], None] | None, python_only(help="Receives notices, such as that a fallback model is used.")
    ]


def create_parts(name: str, **options: Unpack[CreateOptions]) -> Opened:
    """`ImageCollection.create`."""
    asked = settled(CreateOptions, options)
    definition, encoders, gpu = asked["definition"], _given(asked), asked["gpu"]
    given = None if definition is None else Definition.load(definition)
    if given is not None and not asked["projection"]:
        given = given.without_projections()
    settings = _settings(asked)
    connection = connected(settings)
    try:
        if connection.has(name):
            if not asked["exist_ok"]:
                raise CollectionExists(f"the collection {name!r} already exists: open it, or drop it first")
            opened = _opened(connection, name, settings, encoders, given, load=asked["load"])
            if gpu and not opened.store.index.type.startswith("GPU_"):
                raise DefinitionError(
                    f"the collection {name!r} already exists with a {opened.store.index.type} index: drop it "
                    f"first, or omit gpu"
                )
            if not asked["projection"] and any(each.projection for each in opened.remembered.bindings.values()):
                raise DefinitionError(
                    f"the collection {name!r} already exists with a projection: drop it first, or omit that there is "
                    f"to be none"
                )
            return opened
        wanted = given or Definition.load(name if name in bundled() else "photos")
        if not asked["projection"]:
            wanted = wanted.without_projections()
        return _made(
            connection, name, wanted, settings, encoders, gpu=gpu, load=asked["load"], on_notice=asked["on_notice"]
        )
    except BaseException:
        connection.close()
        raise


def open_parts(name: str, **options: Unpack[OpenOptions]) -> Opened:
    """`ImageCollection.open`."""
    asked = settled(OpenOptions, options)
    settings = _settings(asked)
    must_exist(settings)
    connection = connected(settings)
    try:
        return _opened(connection, name, settings, _given(asked), None, load=asked["load"])
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
    noting.observe(store)
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
    given: Mapping[str, Encoder],
    *,
    gpu: bool,
    load: bool,
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
    elif wanted.partition_key and connection.capabilities.kind == "lite" and on_notice:
        # its searches take names of partitions, but one that keeps a row's former key would give the row once more
        on_notice(
            f"{connection.capabilities.name} looks through all partitions, whatever a filter says of "
            f"{wanted.partition_key}, and has 16 of them whatever num_partitions says: same hits, no faster"
        )
    section = wanted.index.gpu if gpu else wanted.index.cpu
    if on_notice and section and (danger := connection.capabilities.danger(section.type)):
        on_notice(danger)
    _check_names(name, wanted.vector_fields, given)
    encoders = {
        vector: kept.to_keep(
            given.get(vector) or first_encoder(each.encoder, settings, on_notice, of_parts=wanted.of_parts)
        )
        for vector, each in wanted.vector_fields.items()
    }
    check_encoder(wanted.has_faces, encoders[VECTOR])
    bindings = {vector: encoder.binding for vector, encoder in encoders.items()}
    check_lengths(wanted, bindings)
    dims = {vector: binding.dim for vector, binding in bindings.items()}
    remembered = Remembered(wanted, bindings.pop(VECTOR), bindings)
    kinds = ["learned", *([PICTURES.name] if wanted.views else []), *(["people"] if wanted.has_faces else [])]
    text = description.write(wanted, remembered.binding, connection.companion_names(name, kinds), encoders=bindings)
    store = connection.create(name, wanted, dim=dims.pop(VECTOR), description=text, device=device, dims=dims, load=load)
    try:
        kept.keep(connection, store, encoders)
    except BaseException:
        with suppress(BackendError):
            connection.drop_opened(store)
        raise
    return Opened(connection, store, remembered, settings, encoders)


def _opened(
    connection: Connection,
    name: str,
    settings: Settings,
    given: Mapping[str, Encoder],
    wanted: Definition | None,
    *,
    load: bool,
) -> Opened:
    store = connection.open(name, load=False)
    remembered = description.read(name, store.description)
    if wanted is not None:
        _check_definition(name, store, remembered.definition, wanted)
    _check_names(name, remembered.bindings, given)
    encoders = {
        vector: kept.behind(store, vector, remembered.bindings[vector], encoder) for vector, encoder in given.items()
    }
    if load:
        store.load()
    return Opened(connection, store, remembered, settings, encoders)


def _check_definition(name: str, store: Store, made_from: Definition, given: Definition) -> None:
    """Raise `DefinitionError` where `given` is another definition, or wants other replicas than are wanted now."""
    now = {"replicas": store.deployment.number, "resource_groups": store.deployment.resource_groups}
    made_from = made_from.model_copy(update=now)
    if given.model_fields_set.isdisjoint(now):  # it says nothing of them
        given = given.model_copy(update=now)
    if description.is_made_from(made_from, given):
        return
    as_given = {"replicas": given.replicas, "resource_groups": given.resource_groups}
    if description.is_made_from(made_from.model_copy(update=as_given), given):
        groups = "".join(f" --resource-group {each}" for each in given.resource_groups)
        raise DefinitionError(
            f"the collection {name!r} is kept in other replicas than the definition says: change that with "
            f"`imgvec collections load {name} --replicas {given.replicas}{groups}`, or omit the definition"
        )
    raise DefinitionError(
        f"the collection {name!r} was made from another definition: omit the definition, or choose another name"
    )


def _settings(options: OpenOptions) -> Settings:
    return settings_with(options["settings"], options["uri"], options["token"], options["db_name"])


def _given(options: OpenOptions) -> dict[str, Encoder]:
    """The caller's own encoders, by the vector's name."""
    encoder, encoders = options["encoder"], options["encoders"]
    return {**({} if encoder is None else {VECTOR: encoder}), **(encoders or {})}


def _check_names(name: str, vectors: Iterable[str], given: Mapping[str, Encoder]) -> None:
    if unknown := given.keys() - set(vectors):
        raise UsageError(f"{name!r} has no vector {', '.join(sorted(unknown))}: encoders are named like their vectors")
