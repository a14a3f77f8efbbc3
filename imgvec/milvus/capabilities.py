"""What a backend can do, checked before acting so that nothing degrades silently."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from imgvec import catalog
from imgvec.catalog import MAX_LIMIT
from imgvec.catalog.vector_types import MAX_VECTORS
from imgvec.errors import BackendError, UnsupportedByBackend
from imgvec.filters.dialect import EVERYWHERE, LITE_FUNCTIONS, SINCE, Dialect

Kind = Literal["lite", "server"]


@dataclass(frozen=True)
class Capabilities:
    """What one backend can do, from its kind and version and the catalogue of index types."""

    kind: Kind
    version: tuple[int, ...]
    index_types: frozenset[str]
    scalar_indexes: frozenset[str]
    vector_types: frozenset[str]
    field_types: frozenset[str]
    """The types of scalar fields that not every backend has."""
    nullable: bool
    """Fields that hold nulls; 2.3 drops the property without a word."""
    gpu: bool | None
    """None if it cannot be known before a GPU index is tried."""
    partition_key: bool
    cluster: bool = False
    """Collections have shards, and are loaded in replicas on the query nodes of resource groups."""
    live_replicas: bool = False
    """The replicas of a loaded collection are changed while it is searched; else it is released for that."""
    partition_key_isolation: bool = False
    """An index of its own for each value of the partition key."""
    bm25: bool = False
    """Fields whose words are searched for, ranked by BM25."""
    max_vectors: int = 1
    """Vector fields of one collection. A server has no number to ask for: what an administrator set lower, or higher,
    is not known."""
    embedded: bool = False
    """The server of the `milvus` wheel, which keeps its data in local files."""
    reported: str = ""
    """The version as the backend tells it; a build of a line alone, `2.6-20250101-abc`, counts as its first release."""
    max_dim: int = catalog.MAX_DIM
    max_limit: int = MAX_LIMIT
    max_queries: int = MAX_LIMIT
    """Query vectors in one call."""

    @property
    def name(self) -> str:
        """For a person: `Milvus Lite 3.2.2`."""
        return ("Milvus Lite " if self.kind == "lite" else "Milvus ") + ".".join(map(str, self.version))

    @cached_property
    def dialect(self) -> Dialect:
        """What its filter expressions can say; of Milvus Lite 3.2.2 and Milvus 2.3.5 seen by running them."""
        if self.kind == "lite":
            return Dialect(
                self.name,
                functions=EVERYWHERE | LITE_FUNCTIONS,
                infix=True,
                loose_end=True,
                length_order=True,
                degrees=True,
            )
        return Dialect(
            self.name,
            functions=EVERYWHERE | {name for name, since in SINCE.items() if since <= self.version},
            infix=self.version >= (2, 4),
            remainder=True,
            float_remainder=self.version < (2, 4),
            sums=True,
            any_shape=True,
            json_length=True,
        )

    def why_not(self, name: str) -> str | None:
        """Why this backend lacks the index type, scalar index, vector type or later parameter of that name.

        None if it has it.
        """
        if name in self.index_types | self.scalar_indexes | self.vector_types:
            return None
        if self.kind == "lite":
            accepted = name in catalog.INDEX_TYPES
            return "accepts the name, but searches by brute force" if accepted else f"Milvus Lite has no {name}"
        entry = catalog.INDEX_TYPES.get(name) or catalog.SCALAR_INDEXES.get(name)
        later = catalog.LATER_PARAMETERS.get(name)
        since = entry.since if entry else later or catalog.VECTOR_TYPES[name][1]
        if since > self.version:
            return f"needs Milvus {'.'.join(map(str, since))}, this is {'.'.join(map(str, self.version))}"
        if later:
            return None
        if name.startswith("GPU_"):
            return "this build has no GPU indexes"
        return f"this build lacks the {name} engine: its rows would stay pending forever"

    def check_search(self, index_type: str, search: Iterable[str]) -> None:
        """Refuse search parameters, by name, that this backend would ignore; raises `UnsupportedByBackend`."""
        if lacks := [name for name in search if name in catalog.LATER_PARAMETERS and self.why_not(name)]:
            raise self.refusal(f"no {', '.join(lacks)} for searches of {index_type}")

    def scalar_index(self, wanted: str, field: str, field_type: str) -> str | None:
        """The scalar index to build where a definition wants `wanted`: a type's name, or AUTO for the best there is.

        None only where AUTO finds none. Raises `UnsupportedByBackend`.
        """
        fits = self._scalar_indexes_for(field_type)
        if wanted == "AUTO":
            return fits[0] if fits else None
        if wanted not in fits:
            raise self.refusal(f"no {wanted} index on {field} ({field_type})", [*fits, "AUTO"])
        return wanted

    def _scalar_indexes_for(self, field_type: str) -> list[str]:
        """Those that this backend builds on fields of that type, the one to prefer first."""
        if self.kind == "lite" and field_type in ("ARRAY", "JSON"):
            return []
        if self.kind == "lite" and field_type == "TIMESTAMPTZ":
            return ["INVERTED"]  # servers have it sorted instead
        if field_type == "JSON" and self.version < (2, 5, 11):
            return []  # a JSON index came later than INVERTED, and wants a path
        known = [i for i in catalog.SCALAR_INDEXES.values() if i.name in self.scalar_indexes]
        return [i.name for i in known if field_type in i.field_types]

    def danger(self, index_type: str) -> str | None:
        """A warning to show before such an index is built here, if any.

        An index without the raw vectors has them read from the stored files, through a cache. On the wheel's 2.3.5 the
        cache's file is the stored file itself where its path is absolute, and goes with the cache when the collection
        is released (seen: "file not exist: …/insert_log/…" at the next build, forever).
        """
        if not self.embedded or index_type not in ("IVF_SQ8", "IVF_PQ"):
            return None
        return (
            f"the server in the milvus wheel ({self.name}) deletes stored vectors that were read under "
            f"{index_type} once the collection is released, unless its localStorage.path is relative: start it "
            f"with LOCALSTORAGE_PATH=data, or use FLAT, IVF_FLAT, SCANN or HNSW"
        )

    def check_deployment(
        self, *, replicas: int = 1, num_shards: int = 1, resource_groups: Sequence[str] = (), isolation: bool = False
    ) -> None:
        """Refuse by name what this backend would ignore; raises `UnsupportedByBackend`. Query nodes are not counted."""
        asked = {"replicas": replicas > 1, "num_shards": num_shards > 1, "resource_groups": bool(resource_groups)}
        if not self.cluster and (ignored := [name for name, is_asked in asked.items() if is_asked]):
            one = "one replica of a collection, in one shard, and no resource groups"
            raise self.refusal(f"{one}: leave out {' and '.join(ignored)}, or use a server")
        if isolation and not self.partition_key_isolation:
            raise self.refusal("no partition_key_isolation, which Milvus has from 2.5.4: leave it out")

    def refusal(self, lacks: str, accepted: list[str] | frozenset[str] = frozenset()) -> UnsupportedByBackend:
        """The error that says what this backend lacks and what it would accept."""
        instead = f": it accepts {', '.join(sorted(accepted))}" if accepted else ""
        return UnsupportedByBackend(f"{self.name} has {lacks}{instead}")


def capabilities(version_text: str) -> Capabilities:
    """Capabilities of the backend that calls itself so: `milvus_lite-3.2.2`, `v2.3.5-lite`, `2.6-20250101-abc-gpu`.

    Raises `BackendError` where that names no version.
    """
    found = re.search(r"\d+(?:\.\d+)+", version_text)
    if found is None:
        raise BackendError(f"{version_text!r} is not a Milvus version")
    version = tuple(int(part) for part in found[0].split("."))
    if version_text.startswith("milvus_lite"):
        return Capabilities(
            kind="lite",
            version=version,
            # it accepts every other name too, and then searches by brute force
            index_types=frozenset(i.name for i in catalog.INDEX_TYPES.values() if i.lite),
            scalar_indexes=frozenset({"INVERTED"}),
            vector_types=frozenset({"FLOAT_VECTOR"}),
            field_types=frozenset(catalog.LATER_TYPES),
            nullable=True,
            gpu=False,
            partition_key=True,
            bm25=True,
            max_vectors=MAX_VECTORS,
            reported=version_text,
        )
    gpu = _has_gpu(version_text, version)
    # the wheel's knowhere is built without DiskANN: the server takes the request, its index node fails every three
    # seconds with "bad_function_call", disk indexes enabled, and the rows stay pending
    absent = {"gpu": gpu is False, "disk": "-lite" in version_text}
    return Capabilities(
        kind="server",
        version=version,
        index_types=frozenset(
            i.name for i in catalog.INDEX_TYPES.values() if i.since <= version and not absent.get(i.device)
        ),
        scalar_indexes=frozenset(i.name for i in catalog.SCALAR_INDEXES.values() if i.since <= version),
        vector_types=frozenset(name for name, (_, since) in catalog.VECTOR_TYPES.items() if since <= version),
        field_types=frozenset(name for name, since in catalog.LATER_TYPES.items() if since <= version),
        nullable=version >= (2, 5),
        gpu=gpu,
        # before 2.4 an upsert hashes the primary key instead of the partition key, and a filter on that key then looks
        # in partitions where the rows are not (milvus#30607; seen on 2.3.5)
        partition_key=version >= (2, 4),
        cluster=True,
        # before, a load with another number is refused for a loaded collection (milvus#36417; seen on 2.3.5)
        live_replicas=version >= (2, 4, 13),
        # milvus#39245; the code was there from 2.4.6, for Zilliz Cloud alone
        partition_key_isolation=version >= (2, 5, 4),
        bm25=version >= (2, 5),
        # before 2.4 "multiple vector fields is not supported"
        max_vectors=MAX_VECTORS if version >= (2, 4) else 1,
        embedded="-lite" in version_text,
        reported=version_text,
    )


def _has_gpu(version_text: str, version: tuple[int, ...]) -> bool | None:
    """GPU builds tag their version `-gpu`, the wheel's CPU build `-lite`; a cluster's other nodes stay unknown."""
    if "-gpu" in version_text:
        return True
    return False if "-lite" in version_text or version < (2, 3) else None
