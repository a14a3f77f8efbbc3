"""One collection in Milvus: rows in, hits out, and its index. The same on Milvus Lite and on a server."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import Unpack

from imgvec import store
from imgvec.filters import Dialect, FieldType
from imgvec.milvus import replicas
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.collection_link import LOAD_SECONDS, CollectionLink
from imgvec.milvus.deployment import Deployment
from imgvec.milvus.described import Schema
from imgvec.milvus.incarnation import Incarnation
from imgvec.milvus.link import Link
from imgvec.milvus.paging import SCAN_BATCH, Paging
from imgvec.milvus.reading import Reader
from imgvec.milvus.vector_index import VectorIndex
from imgvec.milvus.words import WordReader
from imgvec.milvus.writing import Writer
from imgvec.progress import OnProgress
from imgvec.rows import VECTOR
from imgvec.store import NearestOf
from imgvec.stored import IndexInfo, IndexState, Nearest, VectorField
from imgvec.vectors import Vectors


class Store(store.Store):
    """A loaded collection; made by `Connection.create` and `Connection.open`.

    Any number of threads may read; on Milvus Lite writes take turns. A read without a consistency level sees this
    store's own earlier writes, and others' as the collection's level says. Failures are `BackendError`s; those after
    which the same call may succeed later are `retryable`.
    """

    def __init__(
        self, link: Link, schema: Schema, alias: str | None = None, *, like: CollectionLink | None = None
    ) -> None:
        self.link = CollectionLink(link, schema, alias, like=like)
        self._index = VectorIndex(self.link)
        self._reader = Reader(self.link, self._index.load)
        self._paging = Paging(self.link, self._reader)
        self._words = WordReader(self.link, self._reader)
        self._writer = Writer(self.link, self._reader)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, dim={self.dim}, {self.index.type}, {self.capabilities.name})"

    @property
    def name(self) -> str:
        return self.link.name

    @property
    def incarnation(self) -> Incarnation:
        """Which collection of that name it is."""
        return self.link.incarnation

    @property
    def capabilities(self) -> Capabilities:
        return self.link.capabilities

    @property
    def description(self) -> str:
        return self.link.schema.description

    @property
    def dim(self) -> int:
        return self.link.schema.dim

    @property
    def vector_type(self) -> str:
        return self.link.schema.vector_type

    @property
    def metric_type(self) -> str:
        """The index's; a search always uses it."""
        return self.link.schema.metric_type

    @property
    def index(self) -> IndexInfo:
        return self.link.schema.index

    @property
    def vectors(self) -> Mapping[str, VectorField]:
        """Every vector by name: `vector` first, of which `dim`, `vector_type`, `metric_type` and `index` tell too."""
        return self.link.schema.vectors

    def vector(self, name: str) -> VectorField:
        """The vector of that name; raises `QueryError`."""
        return self.link.schema.vector(name)

    @property
    def fields(self) -> Mapping[str, FieldType]:
        """Every scalar field, `id` among them; vectors are not."""
        return self.link.schema.fields

    @property
    def words(self) -> frozenset[str]:
        """The fields that `search_words` takes."""
        return frozenset(self.link.schema.words)

    @property
    def most_views(self) -> int | None:
        """Rows that a picture has at most, of a collection of views; None where a row is a whole picture."""
        return self.link.schema.most_views

    @property
    def dynamic(self) -> bool:
        return self.link.schema.dynamic

    @property
    def dialect(self) -> Dialect:
        """What the expressions of its filters can say."""
        return self.capabilities.dialect

    @property
    def consistency_level(self) -> str:
        return self.link.schema.consistency_level

    @property
    def deployment(self) -> Deployment:
        """How it is to be loaded, as of opening or of the last `refresh`."""
        return self.link.schema.deployment

    @property
    def remembered(self) -> Mapping[str, Mapping[str, Any]]:
        """What `remember` has kept, as of opening or of the last `refresh`."""
        return self.link.schema.remembered

    def check_same(self) -> None:
        """Raise if the opened collection no longer exists: one call, which takes half a millisecond to one.

        `EncoderMismatch` or `CollectionReplaced` if a different one has its name, `CollectionNotFound` if none has.
        """
        self.link.check_same()

    def refresh(self) -> None:
        """Pick up changes by other clients since it was opened: index, search defaults, fields.

        Raises like `check_same`, and a retryable `BackendError` while somebody else is building the index.
        """
        self.link.refresh()

    def count(self, filter: str = "") -> int:
        """The number of rows, or of those that match; sees every write acknowledged before."""
        return self._reader.count(filter)

    def rows_known(self) -> int:
        """The number of rows as it is known at the moment: waits for nothing, and may lack the last writes."""
        return self._reader.counted("", "Eventually")

    def version(self) -> Hashable | None:
        """A value that no other state of the rows has: it is another one after every write, whoever wrote.

        What was read after it was asked for is what the rows still say while it is the same. None where it is not
        known.
        """
        return self._reader.version()

    def upsert(
        self, rows: Sequence[Mapping[str, Any]], vectors: Vectors, more: Mapping[str, Vectors] | None = None
    ) -> int:
        """Write rows, each replacing any row with the same id; returns how many were written.

        `vectors` is (n, dim) float32, a row's vector at its position, of unit length where the metric is COSINE or IP.
        `more` are the further vectors alike, by name: all that the collection has, and no others. Of rows with equal
        ids the last is written. All is checked before anything is sent. Raises `WriteFailed`, and like `check_same`
        where the collection that was opened is there no more.
        """
        return self._writer.upsert(rows, vectors, more)

    def discard(self, ids: Sequence[str]) -> None:
        """Delete the rows with those ids, as far as there are any; nothing is looked up."""
        self._writer.discard(ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the rows with those ids; returns how many there were."""
        return self._writer.delete(ids)

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> list[Nearest]:
        """The nearest rows to each of (n, dim) float32 vectors: best first, equal scores in the order of their ids.

        `NearestOf` says what may be asked; parameters that Milvus wants no smaller than the limit are raised to it.
        Raises `QueryError`.
        """
        return self._reader.search(vectors, asked)

    def search_words(self, words: Sequence[str], field: str, **asked: Unpack[NearestOf]) -> list[Nearest]:
        """The rows that have any of the words of each text in a field of `words`, best first by BM25.

        The score is BM25's, above 0; raises `QueryError`.
        """
        return self._words.search(words, field, asked)

    def check_search(self, params: Mapping[str, Any], *, limit: int = 1, vector: str = VECTOR) -> dict[str, Any]:
        """What a search by `vector` with those parameters sends for `limit` hits; raises `QueryError`."""
        return self._reader.search_params(params, limit, vector)

    def get(
        self,
        ids: Sequence[str],
        *,
        output_fields: Sequence[str] = (),
        with_vector: bool = False,
        consistency_level: str | None = "Strong",
    ) -> dict[str, dict[str, Any]]:
        """The fields of the rows with those ids, by id, in the order requested; unknown ids are left out.

        `output_fields` as in `search`; with `with_vector` each has its `vector`, (dim,) float32. A Strong read sees
        every write that was acknowledged before, and waits for it: 0.2 to 0.4 s on a server.
        """
        return self._reader.get(
            ids, output_fields=output_fields, with_vector=with_vector, consistency_level=consistency_level
        )

    def content_hashes(self, ids: Sequence[str], *, consistency_level: str | None = "Strong") -> dict[str, str]:
        """The stored `content_hash` by id, of the rows that are there."""
        rows = self.get(ids, output_fields=["content_hash"], consistency_level=consistency_level)
        return {each: row["content_hash"] for each, row in rows.items()}

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = SCAN_BATCH
    ) -> Iterator[list[dict[str, Any]]]:
        """All rows, or those that match, in the order of their ids: lists of at most `batch_size` rows.

        Each row comes once, with its `id`. Rows written during the scan may or may not be included. Memory holds one
        page; on Milvus Lite, which holds all rows in this process, a copy of the columns that are asked for.
        """
        return self._paging.scan(output_fields, filter, batch_size)

    def first(
        self, output_fields: Sequence[str], filter: str, most: int, last: str | None = None
    ) -> list[dict[str, Any]]:
        """At most `most` of the rows that match, those with the smallest ids after `last`; as `scan`, and no more is
        read."""
        return self._paging.first(output_fields, filter, most, last)

    def wait_until_indexed(self, timeout: float) -> None:
        """Flush, and wait until each vector's index covers every row; raises `BackendError` after `timeout` seconds.

        A server says "Finished" before it is, so rows are counted. Segments below 1024 rows are searched without an
        index and count as indexed.
        """
        started = time.monotonic()
        self.flush(timeout)
        rows = self.count()
        for name in self.vectors:
            VectorIndex(self.link, name).wait(rows, timeout, started=started)

    def build_index(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        timeout: float = 3600.0,
        on_progress: OnProgress | None = None,
        vector: str = VECTOR,
    ) -> float:
        """Replace the index of `vector`, wait for its true end, load; returns the seconds from the request to that end.

        What the backend cannot build is refused before any call: `UnsupportedByBackend`, `DefinitionError`. A build
        that fails, is interrupted or takes longer than `timeout` seconds raises its error with the former index back;
        one that only cannot be loaded stays.
        The collection cannot be searched meanwhile.
        """
        return VectorIndex(self.link, vector).build(type, params, self.count, timeout=timeout, on_progress=on_progress)

    def index_state(self, vector: str = VECTOR) -> IndexState:
        """How far the index of `vector` is, and whether it is loaded."""
        return VectorIndex(self.link, vector).state()

    def flush(self, timeout: float = 120.0) -> None:
        """Seal what was written, so that indexes are built over it."""
        self.link.flush(timeout)

    def load(self, timeout: float = LOAD_SECONDS) -> None:
        """Load into memory what searches need, and wait for it."""
        self._index.load(timeout)

    def release(self) -> None:
        """Free the memory that `load` took; the next read loads again."""
        self.link.release()

    def loaded(self) -> dict[str, Any]:
        """How it is to be loaded, and what is loaded where, for JSON; `replicas.told`."""
        return replicas.told(self.link)

    def remember(self, key: str, value: Mapping[str, Any] | None) -> None:
        """Store a JSON object with the collection, for every client, also after a restart; None removes it."""
        self.link.remember(key, value)
