"""The main object of the API: one Milvus collection of images, with its definition and its encoder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Self

from typing_extensions import Unpack

from imgvec import filling, noting
from imgvec.definition import Definition
from imgvec.definition.description import Remembered
from imgvec.encoders.protocol import Binding, Encoder
from imgvec.errors import BackendError
from imgvec.filling import as_source
from imgvec.filters import Filter
from imgvec.handle import Handle
from imgvec.ingest import IngestOptions, StoredPictures
from imgvec.milvus import Connection, Store
from imgvec.milvus.learned import Learned
from imgvec.opening import CreateOptions, OpenOptions, create_parts, open_parts
from imgvec.options import documented, settled
from imgvec.pruning import PruneOptions
from imgvec.report import IngestReport
from imgvec.search.answer import Hit
from imgvec.search.facets import Facet
from imgvec.searchable import Searchable
from imgvec.settings import Settings
from imgvec.sources import Source, Spec, reopen
from imgvec.sources.reopening import Roots
from imgvec.target import Target


class ImageCollection(Searchable):
    """A Milvus collection of images.

    Made by `create` or `open`; a context manager that closes its connection. Each encoder is loaded on first use:
    counting, filtering, deleting, and searching by vector or stored id work without it.
    """

    def __init__(
        self,
        connection: Connection,
        store: Store,
        remembered: Remembered,
        settings: Settings,
        encoders: Mapping[str, Encoder] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        opener = partial(reopen, roots=settings.roots, guards=filling.guards(settings))
        target = Target(store, remembered, settings, encoders, opener)
        self.handle = Handle(connection, target, settings, encoders, store.link.alias)

    @classmethod
    @documented(CreateOptions)
    def create(cls, name: str, **options: Unpack[CreateOptions]) -> Self:
        """Create a collection from a `definition`: by default the bundled one with its name, else `photos`.

        Raises `DefinitionError`, `CollectionExists`, `EncoderUnavailable`, `UnsupportedByBackend`,
        `BackendUnavailable`.
        """
        return cls(*create_parts(name, **options))

    @classmethod
    @documented(OpenOptions)
    def open(cls, name: str, **options: Unpack[OpenOptions]) -> Self:
        """Open a collection made by imgvec, with the encoders that it remembers.

        Raises `CollectionNotFound`, `EncoderMismatch` if an encoder that is given is a different one,
        `BackendUnavailable`.
        """
        return cls(*open_parts(name, **options))

    @property
    def name(self) -> str:
        """Its own, whichever it was opened by."""
        return self.store.name

    @property
    def alias(self) -> str | None:
        """The alias that it was opened by, if it was: where that leads elsewhere, the handle follows."""
        return self.store.link.alias

    @property
    def uri(self) -> str:
        """The address of the collection, without a password."""
        return self.handle.connection.uri

    @property
    def store(self) -> Store:
        """The Milvus side: rows in, hits out."""
        return self.handle.target.store

    @property
    def learned(self) -> Learned:
        """Arrays that are kept with the collection: `learned.write(key, arrays)`, `learned.read(key)`."""
        return Learned(self.handle.connection, self.store)

    @property
    def definition(self) -> Definition:
        return self.handle.target.remembered.definition

    @property
    def binding(self) -> Binding:
        """Which encoder made the vectors called `vector`."""
        return self.handle.target.remembered.binding

    @property
    def bindings(self) -> dict[str, Binding]:
        """Which encoder made the vectors of each name, `vector` first."""
        return self.handle.target.remembered.bindings

    @property
    def pictures(self) -> StoredPictures:
        """The pictures, whatever number of rows each has: listed, counted and deleted."""
        return self.handle.target.pictures

    @property
    def encoder(self) -> Encoder:
        """The encoder of `vector`, which the collection remembers; raises `EncoderUnavailable`, `EncoderMismatch`."""
        return self.handle.target.encoder

    def pinned(self) -> Self:
        """The collection that its name leads to now, and from then on.

        What takes several steps takes them in one collection: reads go on there when an alias is moved, and writes
        raise `CollectionReplaced`. It shares the connection.
        """
        if (handle := self.handle.pinned()) is self.handle:
            return self
        pinned = copy.copy(self)
        pinned.handle = handle
        return pinned

    def refresh(self) -> None:
        """Pick up other clients' changes since it was opened: index, search defaults, fields, where its alias leads.

        Raises `CollectionReplaced`, `EncoderMismatch` or `CollectionNotFound` if it is a different collection by now,
        and a retryable `BackendError` while another client is building the index.
        """
        self.handle.write(lambda target: target.store.refresh())

    def count(self, where: Filter | str | None = None) -> int:
        """The number of rows, or of those that match `where`; includes everything acknowledged before the call."""
        return self.handle.read(lambda target: target.store.count(target.rendered(where)))

    def count_pictures(self, where: Filter | str | None = None) -> int:
        """The number of pictures, or of those with a row that matches `where`.

        In a collection of whole pictures each has one row. With views, a filter lists the rows that match.
        """
        return self.handle.read(lambda target: target.count_pictures(where))

    def facets(self, fields: Sequence[str], where: Filter | str | None = None) -> dict[str, Facet]:
        """How often each value of some fields occurs among all rows, or those that match `where`; of views, pictures.

        Raises `OptionError` for a field that is not there or holds JSON, and `QueryError` for one that no matching row
        has, and where more than 100,000 rows match, which are too many to be read.
        """
        return self.handle.read(lambda target: target.facets(fields, where))

    @documented(IngestOptions)
    def ingest(self, source: Source | Spec, **options: Unpack[IngestOptions]) -> IngestReport:
        """Ingest a folder, a file, a glob, an archive, a manifest, a list, a URL, or an iterable of these.

        A `Source` takes options: `Source("~/Pictures", root="~", exclude=["raw/"])`. New and changed images are encoded
        and written, unchanged ones are skipped, so repeat the call to resume after a crash. `metadata` is a CSV,
        JSON-lines or Parquet file with a `path` column, a data frame of pandas or polars, an Arrow table, or a mapping
        from path to fields. `engine` runs it on a cluster: `RayEngine(workers=4, gpus_per_worker=1)`. Raises
        `SourceError` if the source cannot be read or ends early, after everything before that point is written.
        """
        return filling.ingest(self.pinned(), as_source(source), settled(IngestOptions, options))

    @documented(PruneOptions)
    def prune(self, source: Source | Spec, **options: Unpack[PruneOptions]) -> int:
        """Delete the pictures of this source whose file or archive member is gone; returns how many.

        Excluded paths are not touched, and a link counts as present even if its target is gone. Relative uris are
        resolved against the source's root, whatever root they were ingested with. Raises `SourceError` if a source is
        missing or contains none of the collection's images, which is what an unmounted disk or a moved folder looks
        like; the message says how to delete its rows.
        """
        return filling.prune(self.pinned(), as_source(source), **options)

    def reopen(self, picture: str | Hit, *, roots: Roots | None = None, source: Source | None = None) -> bytes:
        """The file bytes of a stored picture, by its uri or from a hit. With a hit, its `content_hash` is checked, so
        that a different picture at the same place is refused.

        `roots` are the folders from which files may be opened; relative uris start there. None means `IMGVEC_ROOTS` or,
        without it, everything this process may read. `source` gives the columns of a table with unusual names. Raises
        `NotKept` if the picture was ingested from bytes that were not kept, else `UnreadableImage`.
        """
        uri, fields = (picture, {}) if isinstance(picture, str) else (picture.uri, picture.fields)
        return filling.reopened(self.settings, uri, fields.get("content_hash"), roots, source)

    def get(self, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, dict[str, Any]]:
        """Stored rows by id (one, or several), with all of their vectors if `with_vector`; unknown ids are absent."""
        return self.handle.read(lambda target: target.get(ids, with_vector))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete pictures, with all rows, by the ids (one, or several) of them or their rows; returns how many."""
        return self.handle.write(lambda target: target.delete(ids))

    def delete_where(self, where: Filter | str) -> int:
        """Delete the pictures with a row that matches, and all of their rows; returns how many there were."""
        return self.handle.write(lambda target: target.delete_where(where))

    def describe(self) -> dict[str, Any]:
        """What the collection is, for JSON."""
        found = self.handle.read(lambda target: target.describe())
        return {"aliases": self.handle.connection.aliases_of(found["name"]), "uri": self.uri, **found}

    def drop(self) -> None:
        """Delete the whole collection; raises `UsageError` if it was opened by an alias, or an alias leads to it."""
        self.handle.drop()

    def close(self) -> None:
        with suppress(BackendError):  # its rows are written, whatever is said of them
            noting.settle(self.store)
        self.handle.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ImageCollection {self.name!r} at {self.uri}, {self.binding.model}, dim {self.binding.dim}>"
