"""The object that applications hold: one Milvus collection of images, with its definition and its encoder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Self

from typing_extensions import Unpack

from imgvec import filling
from imgvec.definition import Definition
from imgvec.encoders.protocol import Binding, Encoder
from imgvec.filling import as_source
from imgvec.filters import Filter, render
from imgvec.images import DecodePolicy
from imgvec.ingest import IngestOptions
from imgvec.loading import loaded_encoder
from imgvec.milvus import Connection, Store, defaults, scratch
from imgvec.milvus.defaults import SearchDefaults
from imgvec.opening import CreateOptions, OpenOptions, create_parts, open_parts
from imgvec.options import documented, settled
from imgvec.report import IngestReport
from imgvec.search.answer import Answer, Hit
from imgvec.search.guessing import Query, all_guessed, guessed
from imgvec.search.request import SearchOptions
from imgvec.search.searcher import Searcher
from imgvec.settings import Settings
from imgvec.sources import Source, Spec, reopen
from imgvec.sources.reopening import Roots
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
        self.definition, self.binding, self.settings = definition, binding, settings
        self._connection, self._store = connection, store
        self._encoder, self._encoder_lock = encoder, threading.Lock()
        self._searcher = Searcher(
            store,
            lambda: self.encoder,
            max_pixels=settings.max_pixels,
            max_bytes=settings.max_file_bytes,
            decoding=DecodePolicy(settings.formats, definition.images.sixteen_bit),
            defaults=lambda: self.search_defaults.params,
            reopen=partial(reopen, roots=settings.roots, guards=filling.guards(settings)),
        )

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
        return self._store.name

    @property
    def uri(self) -> str:
        """Where the collection is, without a password."""
        return self._connection.uri

    @property
    def store(self) -> Store:
        """The Milvus side: rows in, hits out."""
        return self._store

    @property
    def encoder(self) -> Encoder:
        """The encoder that the collection remembers; raises `EncoderUnavailable` and `EncoderMismatch`."""
        with self._encoder_lock:
            if self._encoder is None:
                self._encoder = loaded_encoder(self.name, self.binding, self.settings)
            return self._encoder

    def refresh(self) -> None:
        """See what other clients have changed since it was opened: the index, the search defaults, the fields.

        Raises `CollectionReplaced`, `EncoderMismatch` or `CollectionNotFound` where it is another collection by now,
        and a retryable `BackendError` while somebody else is building the index.
        """
        self._store.refresh()

    def count(self, where: Filter | str | None = None) -> int:
        """How many rows there are, or match `where`; whatever was acknowledged before the call is counted."""
        return self._store.count(render(where, self._store.fields, dynamic=self._store.dynamic))

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
        return filling.ingest(self, as_source(source), settled(IngestOptions, options))

    def prune(
        self,
        source: Source | Spec,
        *,
        confirm: Callable[[int, int], bool] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> int:
        """Delete this source's rows whose file, or member of an archive, is gone; returns how many.

        What the source excludes is left as it is. A link is there as long as it is, wherever it leads. `confirm` is
        asked first, with the rows to delete and the rows looked at. Relative uris are taken to lie below the source's
        root, whichever root they were ingested with. `on_notice` is told of rows that are left because nobody can say
        whether they are gone. Raises `SourceError` where a source is not there or holds none of the collection's
        images: a disk that is not mounted looks just like that, and so does a folder that was moved; the message says
        how to delete its rows.
        """
        return filling.prune(self, as_source(source), confirm=confirm, on_notice=on_notice)

    def reopen(self, picture: str | Hit, *, roots: Roots | None = None, source: Source | None = None) -> bytes:
        """The file's bytes of a stored picture, by its uri, or of a hit: whose `content_hash` then says whether it is
        still the same picture.

        `roots` are the folders that files are opened below, None for `IMGVEC_ROOTS` or, without that, all that this
        process may read; relative uris start from them. `source` says what a table's columns are, where they have
        names of their own. Raises `NotKept` where the picture came as bytes that nobody kept, else `UnreadableImage`.
        """
        uri, fields = (picture, {}) if isinstance(picture, str) else (picture.uri, picture.fields)
        return reopen(
            uri,
            self.settings.roots if roots is None else roots,
            guards=filling.guards(self.settings),
            columns=source.columns if source else None,
            hashed=fields.get("content_hash"),
        )

    @documented(SearchOptions)
    def search(self, query: Query, **options: Unpack[SearchOptions]) -> Answer:
        """The stored images most similar to one query, best first.

        The query is a form (`ImageFile`, `Text`, `StoredId`, …), or what a form is guessed from: a path, bytes, a PIL
        image, an array, a vector, `"id:…"`, a text (`imgvec.search.guessing`). `where` is a typed filter
        (`field("width") >= 800`) or a Milvus boolean expression; `params` go before `search_defaults`. Raises
        `OptionError`, `QueryError`, `UnreadableImage`, `FilterError`.
        """
        return self._searcher.search([guessed(query)], **options)[0]

    @documented(SearchOptions)
    def search_many(self, queries: Iterable[Query], **options: Unpack[SearchOptions]) -> list[Answer]:
        """`search` for many queries at once: one pass through the encoder, one call to Milvus; answers in order."""
        return self._searcher.search(all_guessed(queries), **options)

    @property
    def search_defaults(self) -> SearchDefaults:
        """The search parameters that hold where a search does not say, and where they come from."""
        return defaults.read(self._store, self.definition)

    def scratch(
        self, *, without: Collection[str] = (), only: Sequence[str] | None = None
    ) -> AbstractContextManager[Store]:
        """A copy of the rows in a collection of its own, to try indexes on (`store.build_index`); dropped at the end.

        The ids in `without` are left out; `only` names those to copy, if not all. Its index is FLAT at first. It takes
        the place of the collection once more, on disk and in memory.
        """
        return scratch.scratch(self._connection, self._store, self.definition, without=without, only=only)

    def vectors(self, queries: Iterable[Query]) -> Vectors:
        """(n, dim) float32 vectors of queries of any form, in their order."""
        return self._searcher.vectors(all_guessed(queries))

    def get(self, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, dict[str, Any]]:
        """Stored rows by id; an id without a row is absent."""
        return self._store.get(ids, output_fields=["*"], with_vector=with_vector)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows by id; returns how many there were."""
        return self._store.delete(ids)

    def delete_where(self, where: Filter | str) -> int:
        """Delete the rows that match; returns how many there were."""
        expression = render(where, self._store.fields, dynamic=self._store.dynamic)
        ids = [row["id"] for rows in self._store.scan(["id"], expression) for row in rows]
        return self._store.delete(ids)

    def describe(self) -> dict[str, Any]:
        """What the collection is, for JSON."""
        return {
            "name": self.name,
            "about": self.definition.about,
            "uri": self.uri,
            "rows": self.count(),
            "vector": {"type": self._store.vector_type, "dim": self._store.dim, "metric_type": self._store.metric_type},
            "index": {"type": self._store.index.type, "params": dict(self._store.index.params)},
            "encoder": self.binding.to_dict(),
            "fields": {name: str(kind) for name, kind in self._store.fields.items()},
            "definition": self.definition.model_dump(exclude_defaults=True),
        }

    def drop(self) -> None:
        """Delete the whole collection, and copies of it that a killed `scratch` has left behind."""
        self._store.check_same()
        scratch.drop_leftovers(self._connection, self.name)
        self._connection.drop_opened(self._store)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ImageCollection {self.name!r} at {self.uri}, {self.binding.model}, dim {self.binding.dim}>"
