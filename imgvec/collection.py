"""The main object of the API: one Milvus collection of images, with its definition and its encoder."""

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

    Made by `create` or `open`; a context manager that closes its connection. The encoder is loaded on first use:
    counting, filtering, deleting, and searching by vector or stored id work without it.
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
        """Create a collection from a `definition`: a YAML file, the name of a bundled definition, or a mapping.

        The default definition is the bundled one with the collection's name, else `photos`. `gpu` builds the
        definition's GPU index. With `exist_ok` an existing collection is opened, unless it was made from a different
        definition. `encoder` replaces the one named in the definition. `uri`, `token` and `db_name` override the
        `settings`. `on_notice` is told if the definition's fallback model was used. Raises `DefinitionError`,
        `CollectionExists`, `EncoderUnavailable`, `UnsupportedByBackend`, `BackendUnavailable`.
        """
        return cls(*create_parts(name, **options))

    @classmethod
    def open(cls, name: str, **options: Unpack[OpenOptions]) -> Self:
        """Open a collection made by imgvec, with the encoder that it remembers.

        `uri`, `token` and `db_name` override the `settings`. Raises `CollectionNotFound`, `EncoderMismatch` if
        `encoder` is a different one, `BackendUnavailable`.
        """
        return cls(*open_parts(name, **options))

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def uri(self) -> str:
        """The address of the collection, without a password."""
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
        """Pick up changes made by other clients since it was opened: the index, the search defaults, the fields.

        Raises `CollectionReplaced`, `EncoderMismatch` or `CollectionNotFound` if it is a different collection by now,
        and a retryable `BackendError` while another client is building the index.
        """
        self._store.refresh()

    def count(self, where: Filter | str | None = None) -> int:
        """The number of rows, or of those that match `where`; includes everything acknowledged before the call."""
        return self._store.count(render(where, self._store.fields, dynamic=self._store.dynamic))

    @documented(IngestOptions)
    def ingest(self, source: Source | Spec, **options: Unpack[IngestOptions]) -> IngestReport:
        """Ingest a folder, a file, a glob, an archive, a manifest, a list, a URL, or an iterable of these.

        A `Source` takes options: `Source("~/Pictures", root="~", exclude=["raw/"])`. New and changed images are encoded
        and written, unchanged ones are skipped, so repeat the call to resume after a crash. `metadata` is a CSV,
        JSON-lines or Parquet file with a `path` column, a data frame of pandas or polars, an Arrow table, or a mapping
        from path to fields. `strict` raises on the first refused image; `errors` names a JSON-lines file for all of
        them. Raises `SourceError` if the source cannot be read or ends early, after everything before that point is
        written. `engine` runs it on a cluster: `RayEngine(workers=4, gpus_per_worker=1)`. `via` names a folder for
        Milvus bulk-import Parquet files instead, to be loaded by `imgvec.import_vectors`.
        """
        return filling.ingest(self, as_source(source), settled(IngestOptions, options))

    def prune(
        self,
        source: Source | Spec,
        *,
        confirm: Callable[[int, int], bool] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> int:
        """Delete the rows of this source whose file or archive member is gone; returns how many.

        Excluded paths are not touched, and a link counts as present even if its target is gone. `confirm` is called
        first with the number of rows to delete and the number checked. Relative uris are resolved against the source's
        root, whatever root they were ingested with. `on_notice` is told about rows that are kept because it is unclear
        whether they are gone. Raises `SourceError` if a source is missing or contains none of the collection's images,
        which is what an unmounted disk or a moved folder looks like; the message says how to delete its rows.
        """
        return filling.prune(self, as_source(source), confirm=confirm, on_notice=on_notice)

    def reopen(self, picture: str | Hit, *, roots: Roots | None = None, source: Source | None = None) -> bytes:
        """The file bytes of a stored picture, by its uri or from a hit. With a hit, its `content_hash` is checked, so
        that a different picture at the same place is refused.

        `roots` are the folders from which files may be opened; relative uris start there. None means `IMGVEC_ROOTS` or,
        without it, everything this process may read. `source` gives the columns of a table with unusual names. Raises
        `NotKept` if the picture was ingested from bytes that were not kept, else `UnreadableImage`.
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
        """Find the stored images most similar to one query, best first.

        The query is a form (`ImageFile`, `Text`, `StoredId`, …), or anything a form can be guessed from: a path, bytes,
        a PIL image, an array, a vector, `"id:…"`, a text (see `imgvec.search.guessing`). `where` is a typed filter
        (`field("width") >= 800`) or a Milvus boolean expression; `params` override `search_defaults`. Raises
        `OptionError`, `QueryError`, `UnreadableImage`, `FilterError`.
        """
        return self._searcher.search([guessed(query)], **options)[0]

    @documented(SearchOptions)
    def search_many(self, queries: Iterable[Query], **options: Unpack[SearchOptions]) -> list[Answer]:
        """`search` for many queries at once: one pass through the encoder, one call to Milvus; answers in order."""
        return self._searcher.search(all_guessed(queries), **options)

    @property
    def search_defaults(self) -> SearchDefaults:
        """The default search parameters, and where they come from."""
        return defaults.read(self._store, self.definition)

    def scratch(
        self, *, without: Collection[str] = (), only: Sequence[str] | None = None
    ) -> AbstractContextManager[Store]:
        """A temporary copy of the rows in a collection of its own, to try indexes on (`store.build_index`).

        The ids in `without` are left out; `only` gives the ids to copy, if not all. Its index is FLAT at first. It
        takes as much disk and memory as the collection.
        """
        return scratch.scratch(self._connection, self._store, self.definition, without=without, only=only)

    def vectors(self, queries: Iterable[Query]) -> Vectors:
        """Encode queries of any form, as (n, dim) float32 vectors in the same order."""
        return self._searcher.vectors(all_guessed(queries))

    def get(self, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, dict[str, Any]]:
        """Stored rows by id; unknown ids are absent."""
        return self._store.get(ids, output_fields=["*"], with_vector=with_vector)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows by id; returns how many there were."""
        return self._store.delete(ids)

    def delete_where(self, where: Filter | str) -> int:
        """Delete all rows that match; returns how many there were."""
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
        """Delete the whole collection, including copies left behind by a killed `scratch`."""
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
