"""What a name stands for: one collection, with its definition and its encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from imgvec import kept, noting
from imgvec.definition.description import Remembered
from imgvec.encoders.protocol import Encoder
from imgvec.errors import OptionError, QueryError
from imgvec.filters import Filter
from imgvec.images import DecodePolicy
from imgvec.ingest import StoredPictures
from imgvec.loading import Encoders
from imgvec.meant import suggestion
from imgvec.milvus import Store, defaults
from imgvec.milvus.companions import PICTURES, Companion
from imgvec.milvus.defaults import SearchDefaults
from imgvec.quality.judges import Judges
from imgvec.rows import VECTOR
from imgvec.search.encoding import Reopen
from imgvec.search.facets import MOST_COUNTED, Facet, check_facets, of_rows
from imgvec.search.searcher import Searcher
from imgvec.settings import Settings


class Target:
    """One collection that was opened, with all that belongs to it; never changed, only replaced by another."""

    def __init__(
        self,
        store: Store,
        remembered: Remembered,
        settings: Settings,
        encoders: Mapping[str, Encoder],
        reopen: Reopen,
    ) -> None:
        self.store, self.remembered = store, remembered
        noting.observe(store)
        self._settings = settings
        self.encoders = Encoders(store.name, remembered.bindings, settings, encoders, partial(kept.kept, store))
        self.reopen = reopen
        self.journal = Companion(store.link.database, store, PICTURES) if remembered.definition.views else None
        """What is kept of each picture, where pictures have several rows."""
        self.judges = Judges(store)
        """What the collection's calibrations say of scores."""
        self.searcher = Searcher(
            store,
            self.encoders.of,
            max_pixels=settings.max_pixels,
            max_bytes=settings.max_file_bytes,
            decoding=DecodePolicy(settings.formats, remembered.definition.images.sixteen_bit),
            defaults=lambda vector: self.search_defaults(vector).params,
            reopen=reopen,
            least_side=max(binding.image_size for binding in remembered.bindings.values()),
            threads=settings.threads,
            judge=self.judges,
        )

    @property
    def encoder(self) -> Encoder:
        """That of `vector`, which the collection remembers; raises `EncoderUnavailable` and `EncoderMismatch`."""
        return self.encoders.of(VECTOR)

    def search_defaults(self, vector: str = VECTOR) -> SearchDefaults:
        """How it is searched by that vector where a search does not say."""
        return defaults.read(self.store, self.remembered.definition, vector)

    @property
    def pictures(self) -> StoredPictures:
        """The pictures, whatever number of rows each has."""
        return StoredPictures(self.store, self.journal)

    def count_pictures(self, where: Filter | str | None = None) -> int:
        """`ImageCollection.count_pictures`."""
        if self.journal is None:
            return self.store.count(self.rendered(where))
        return self.pictures.count() if where is None else len(self.pictures.matching(self.rendered(where)))

    def facets(self, fields: Sequence[str], where: Filter | str | None) -> dict[str, Facet]:
        """`ImageCollection.facets`."""
        if isinstance(fields, str):
            raise OptionError("fields", f"give a list of fields, not {fields!r} alone")
        check_facets(fields, self.store)
        found = of_rows(fields, self.store, self.rendered(where), pictures=self.store.most_views is not None)
        if found is None:
            raise QueryError(f"more than {MOST_COUNTED:,} rows match, which are too many to count: narrow the filter")
        for name, facet in found.items():  # a dynamic field takes any name
            if name not in self.store.fields and facet.counts.keys() == {None}:
                raise QueryError(f"no matching row has a field {name!r}{suggestion(name, self.store.fields)}")
        return found

    def delete(self, ids: Sequence[str]) -> int:
        """`ImageCollection.delete`."""
        return self.pictures.delete(_listed(ids))

    def delete_where(self, where: Filter | str) -> int:
        """`ImageCollection.delete_where`."""
        return self.pictures.delete(self.pictures.matching(self.rendered(where)))

    def get(self, ids: Sequence[str], with_vector: bool) -> dict[str, dict[str, Any]]:
        """`ImageCollection.get`."""
        further = self.remembered.encoders if with_vector else ()
        return self.store.get(_listed(ids), output_fields=["*", *further], with_vector=with_vector)

    def rendered(self, where: Filter | str | None) -> str:
        """The Milvus expression of a filter; raises `FilterError`."""
        return self.store.rendered(where)

    def describe(self) -> dict[str, Any]:
        """What the collection is, for JSON."""
        store, definition = self.store, self.remembered.definition
        return {
            "name": store.name,
            "about": definition.about,
            "rows": store.count(),
            "pictures": self.count_pictures(),
            **self._described(VECTOR),
            "vectors": {vector: self._described(vector) for vector in self.remembered.encoders},
            "deployment": store.loaded(),
            "fields": {name: str(kind) for name, kind in store.fields.items()},
            "definition": definition.model_dump(exclude_defaults=True),
        }

    def _described(self, vector: str) -> dict[str, Any]:
        field = self.store.vector(vector)
        return {
            "vector": {"type": field.vector_type, "dim": field.dim, "metric_type": field.metric_type},
            "index": {"type": field.index.type, "params": dict(field.index.params)},
            "encoder": self.remembered.bindings[vector].to_dict(),
            "calibration": self.judges.about(vector),
        }

    def has(self, vector: str, lengths: set[int]) -> bool:
        """Whether its vectors of that name are of those lengths."""
        known = self.store.vectors.get(vector)
        return known is not None and lengths == {known.dim}

    def is_same(self, other: Target) -> bool:
        """Whether it is the same collection under the same name."""
        return (self.store.name, self.store.incarnation) == (other.store.name, other.store.incarnation)

    def without_encoders(self) -> Target:
        """The same without the encoders' memory; queries that have begun keep theirs."""
        return Target(self.store, self.remembered, self._settings, {}, self.reopen)


def _listed(ids: Sequence[str]) -> Sequence[str]:
    """One id is a sequence too, but of letters, which are ids of nothing."""
    return [ids] if isinstance(ids, str) else ids
