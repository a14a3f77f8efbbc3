"""The configured database: connections to it, and the collections in it that were made by imgvec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr

from imgvec.definition import Definition, description
from imgvec.encoders.protocol import Binding
from imgvec.errors import CollectionNotFound
from imgvec.home import at_home
from imgvec.milvus import Capabilities, Connection, connect
from imgvec.settings import Settings


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection made by imgvec, as returned by `list_collections`."""

    name: str
    aliases: tuple[str, ...]
    definition: Definition
    binding: Binding


def list_collections(settings: Settings | None = None) -> list[CollectionInfo]:
    """The collections made by imgvec, sorted by name; loads none of them."""
    found = []
    settings = settings or Settings.load()
    must_exist(settings)
    with connected(settings) as connection:
        leads: dict[str, list[str]] = {}
        for alias, name in connection.aliases().items():
            leads.setdefault(name, []).append(alias)
        for name in connection.collections():
            try:
                remembered = description.read(name, connection.description(name))
            except CollectionNotFound:  # somebody else's, or dropped meanwhile
                continue
            found.append(CollectionInfo(name, tuple(leads.get(name, ())), remembered.definition, remembered.binding))
    return found


def backend(settings: Settings) -> Capabilities:
    """What the backend can do; does not create a missing Milvus Lite file."""
    lite = lite_file(settings)
    with TemporaryDirectory() as elsewhere:
        if lite is not None and lite.suffix == ".db" and not lite.exists():
            settings = settings_with(settings, str(Path(elsewhere) / "looked_at.db"), None, None)
        with connected(settings) as connection:
            return connection.capabilities


def connected(settings: Settings) -> Connection:
    return connect(
        settings.uri,
        token=settings.token,
        db_name=settings.db_name,
        timeout=settings.timeout,
        retry_seconds=min(settings.read_retry_seconds, settings.retry_seconds),
    )


def settings_with(
    settings: Settings | None, uri: str | None, token: str | SecretStr | None, db_name: str | None
) -> Settings:
    """The settings, by default from the environment, with the other arguments overriding them."""
    given = {"uri": uri, "token": token, "db_name": db_name}
    if settings is None:
        return Settings.load(**given)
    # through `load`, so that a plain text becomes a secret
    return Settings.load(**{**settings.model_dump(), **{k: v for k, v in given.items() if v is not None}})


def lite_file(settings: Settings) -> Path | None:
    """The file of Milvus Lite (in fact a folder), if that is the backend."""
    return None if "://" in settings.uri else at_home(settings.uri).absolute()


def must_exist(settings: Settings) -> None:
    """Opening for reading never creates a file: a mistyped path would then look like an empty database."""
    lite = lite_file(settings)
    if lite is not None and lite.suffix == ".db" and not lite.exists():
        raise CollectionNotFound(f"no Milvus Lite file at {settings.uri}: check the path, or create it with an ingest")
