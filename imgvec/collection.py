"""The object that applications hold: one Milvus collection of images, with its definition and its encoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Self

from typing_extensions import Unpack

from imgvec import filling
from imgvec.definition import Definition
from imgvec.definition.description import Remembered
from imgvec.encoders.protocol import Binding, Encoder
from imgvec.filling import as_source
from imgvec.filters import Filter
from imgvec.ingest import IngestOptions, StoredPictures
from imgvec.milvus import Connection, Store, scratch
from imgvec.milvus.companions import Companion
from imgvec.milvus.defaults import SearchDefaults
from imgvec.opening import CreateOptions, OpenOptions, create_parts, open_parts
from imgvec.options import documented, settled
from imgvec.report import IngestReport
from imgvec.search.answer import Answer, Hit
from imgvec.search.guessing import Query, all_guessed, guessed
from imgvec.search.request import SearchOptions
from imgvec.settings import Settings
from imgvec.sources import Source, Spec, reopen
from imgvec.sources.reopening import Roots
from imgvec.target import Handle, Target
from imgvec.vectors import Vectors


class ImageCollection:
    """A Milvus collection of images.

    Made by `create` or `open`; a context manager that closes its connection. The encoder is loaded when it is first
    needed: counting, filtering, deleting, and searching by vector or stored id do without.
    """

    def __init__(
        self,
        connection: Connection,
        store: Store,
        definition: Definition,
        binding: Binding,
        settings: Settings,
        encoder: Encoder | None = None,
    ) -> None:
        self.settings, self._connection = settings, connection
        opener = partial(reopen, roots=settings.roots, guards=filling.guards(settings))
        target = Target(store, Remembered(definition, binding), settings, encoder, opener)
        self.handle = Handle(connection, target, settings, encoder, store.link.alias)

    @classmethod
    def create(cls, name: str, **options: Unpack[CreateOptions]) -> Self:
        """Make a collection from a `definition`: a YAML file, a bundled one's name, or a mapping.

        Without a definition, the bundled one called like the collection, else `photos`. `gpu` builds the definition's
        GPU index. With `exist_ok` a collection that is there is opened, unless another definition was given than made
        it. `encoder` takes the place of the one that the definition names. `uri`, `token` and `db_name` say where it
        is, in place of the `settings`. `on_notice` is told where the definition's fallback model was taken. Raises
        `DefinitionError`, `CollectionExists`, `EncoderUnavailable`, `UnsupportedByBackend`, `BackendUnavailable`.
        """
        return cls(*create_parts(name, **options))

    @classmethod
    def open(cls, name: str, **options: Unpack[OpenOptions]) -> Self:
        """Open a collection that imgvec made; its encoder is the one that the collection remembers.

        `uri`, `token` and `db_name` say where it is, in place of the `settings`. Raises `CollectionNotFound`,
        `EncoderMismatch` where `encoder` is another one, `BackendUnavailable`.
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
        """Where the collection is, without a password."""
        return self._connection.uri

    @property
    def store(self) -> Store:
        """The Milvus side: rows in, hits out."""
        return self.handle.target.store

    @property
    def definition(self) -> Definition:
        return self.handle.target.remembered.definition

    @property
    def binding(self) -> Binding:
        """Which encoder made the vectors."""
        return self.handle.target.remembered.binding

    @property
    def journal(self) -> Companion | None:
        """What is kept of each picture, where pictures have several rows; None where a row is a picture."""
        return self.handle.target.journal

    @property
    def pictures(self) -> StoredPictures:
        """The pictures, whatever number of rows each has: listed, counted and deleted."""
        return self.handle.target.pictures

    @property
    def encoder(self) -> Encoder:
        """The encoder that the collection remembers; raises `EncoderUnavailable` and `EncoderMismatch`."""
        return self.handle.target.encoder

    def pinned(self) -> Self:
        """Itself, or where it was opened by an alias, where that leads now and from then on.

        What takes several steps takes them in one collection: reads go on there when the alias is moved, and writes
        raise `CollectionReplaced`. It shares the connection.
        """
        if (handle := self.handle.pinned()) is self.handle:
            return self
        pinned = copy.copy(self)
        pinned.handle = handle
        return pinned

    def refresh(self) -> None:
        """See what other clients have changed since it was opened: the index, the search defaults, the fields, and
        where the alias leads that it was opened by.

        Raises `CollectionReplaced`, `EncoderMismatch` or `CollectionNotFound` where it is another collection by now,
        and a retryable `BackendError` while somebody else is building the index.
        """
        self.handle.writing().store.refresh()

    def count(self, where: Filter | str | None = None) -> int:
        """How many rows there are, or match `where`; whatever was acknowledged before the call is counted."""
        return self.handle.read(lambda target: target.store.count(target.rendered(where)))

    def count_pictures(self, where: Filter | str | None = None) -> int:
        """How many pictures there are, or have a row that matches `where`.

        In a collection of whole pictures each has one row. With views, a filter lists the rows that match.
        """
        return self.handle.read(lambda target: target.count_pictures(where))

    @documented(IngestOptions)
    def ingest(self, source: Source | Spec, **options: Unpack[IngestOptions]) -> IngestReport:
        """Bring in a folder, a file, a glob, an archive, a manifest, a list, a URL, or an iterable of these.

        A `Source` says more of it: `Source("~/Pictures", root="~", exclude=["raw/"])`. New and changed images are
        encoded and written, unchanged ones skipped: the same call goes on after a crash. `metadata` is a CSV,
        JSON-lines or Parquet file with a `path` column, a data frame of pandas or polars, an Arrow table, or a mapping
        from path to fields. `strict` raises the first refused image, `errors` names a JSON-lines file for all of them.
        Raises `SourceError` where the source cannot be read, or breaks off: after what came before is written. `engine`
        runs it on a cluster: `RayEngine(workers=4, gpus_per_worker=1)`; `via` names a folder that the rows are written
        to as Milvus's bulk-import Parquet files, for `imgvec.import_vectors`.
        """
        return filling.ingest(self.pinned(), as_source(source), settled(IngestOptions, options))

    def prune(
        self,
        source: Source | Spec,
        *,
        confirm: Callable[[int, int], bool] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> int:
        """Delete this source's pictures whose file, or member of an archive, is gone; returns how many.

        What the source excludes is left as it is. A link is there as long as it is, wherever it leads. `confirm` is
        asked first, with the pictures to delete and those looked at. Relative uris are taken to lie below the source's
        root, whichever root they were ingested with. `on_notice` is told of rows that are left because nobody can say
        whether they are gone. Raises `SourceError` where a source is not there or holds none of the collection's
        images: a disk that is not mounted looks just like that, and so does a folder that was moved; the message says
        how to delete its rows.
        """
        return filling.prune(self.pinned(), as_source(source), confirm=confirm, on_notice=on_notice)

    def reopen(self, picture: str | Hit, *, roots: Roots | None = None, source: Source | None = None) -> bytes:
        """The file's bytes of a stored picture, by its uri, or of a hit: whose `content_hash` then says whether it is
        still the same picture.

        `roots` are the folders that files are opened below, None for `IMGVEC_ROOTS` or, without that, all that this
        process may read; relative uris start from them. `source` says what a table's columns are, where they have
        names of their own. Raises `NotKept` where the picture came as bytes that nobody kept, else `UnreadableImage`.
        """
        uri, fields = (picture, {}) if isinstance(picture, str) else (picture.uri, picture.fields)
        return filling.reopened(self.settings, uri, fields.get("content_hash"), roots, source)

    @documented(SearchOptions)
    def search(self, query: Query, **options: Unpack[SearchOptions]) -> Answer:
        """The stored images most similar to one query, best first.

        The query is a form (`ImageFile`, `Text`, `StoredId`, …), or what a form is guessed from: a path, bytes, a PIL
        image, an array, a vector, `"id:…"`, a text (`imgvec.search.guessing`). `where` is a typed filter
        (`field("width") >= 800`) or a Milvus boolean expression; `params` go before `search_defaults`. Raises
        `OptionError`, `QueryError`, `UnreadableImage`, `FilterError`.
        """
        return self.handle.search([guessed(query)], options)[0]

    @documented(SearchOptions)
    def search_many(self, queries: Iterable[Query], **options: Unpack[SearchOptions]) -> list[Answer]:
        """`search` for many queries at once: one pass through the encoder, one call to Milvus; answers in order."""
        return self.handle.search(all_guessed(queries), options)

    @property
    def search_defaults(self) -> SearchDefaults:
        """The search parameters that hold where a search does not say, and where they come from."""
        return self.handle.target.search_defaults

    def scratch(
        self, *, without: Collection[str] = (), only: Sequence[str] | None = None
    ) -> AbstractContextManager[Store]:
        """A copy of the rows in a collection of its own, to try indexes on (`store.build_index`); dropped at the end.

        The ids in `without` are left out; `only` names those to copy, if not all. Its index is FLAT at first. It takes
        the place of the collection once more, on disk and in memory.
        """
        return scratch.scratch(self._connection, self.store, self.definition, without=without, only=only)

    def vectors(self, queries: Iterable[Query]) -> Vectors:
        """(n, dim) float32 vectors of queries of any form, in their order."""
        return self.handle.vectors(all_guessed(queries))

    def get(self, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, dict[str, Any]]:
        """Stored rows by id; an id without a row is absent."""
        return self.handle.read(lambda target: target.store.get(ids, output_fields=["*"], with_vector=with_vector))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete pictures, with all of their rows, by their ids or those of their rows; returns how many there were."""
        return self.handle.writing().pictures.delete(ids)

    def delete_where(self, where: Filter | str) -> int:
        """Delete the pictures of which a row matches, with all of their rows; returns how many there were."""
        target = self.handle.writing()
        return target.pictures.delete(target.pictures.matching(target.rendered(where)))

    def describe(self) -> dict[str, Any]:
        """What the collection is, for JSON."""
        target = self.handle.reading()
        aliases = self._connection.aliases_of(target.store.name)
        return {"name": target.store.name, "aliases": aliases, "uri": self.uri, **target.describe()}

    def drop(self) -> None:
        """Delete the whole collection, and copies of it that a killed `scratch` has left behind.

        Raises `UsageError` where it was opened by an alias, or an alias leads to it.
        """
        self.handle.drop()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ImageCollection {self.name!r} at {self.uri}, {self.binding.model}, dim {self.binding.dim}>"
