"""What is known to be wrong with releases of Milvus servers, as data: one entry a fault, one test a rule.

Releases are those of Milvus's advisories, release notes and merged pull requests. Where nobody has said since when a
fault is there, it counts from the line of releases that it was reported on. To add one, add an entry to `FAULTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from imgvec.catalog.entries import Version
from imgvec.milvus.capabilities import Capabilities
from imgvec.stored import VectorField

Severity = Literal["wrong", "warning", "ok"]
_LATEST = 10**6
"""A patch release later than any."""


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """What the rules look at in a collection."""

    name: str
    vectors: Mapping[str, VectorField]
    """With the index that each has on the server, whatever the definition says."""
    rows: int
    """In sealed segments, as Milvus's own statistic tells."""
    json: bool
    """It has a JSON field, or a dynamic one, which is JSON too."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with some releases."""

    name: str
    """A CVE, or the issue that tells of it: `milvus#49864`."""
    says: str
    """What goes wrong, after the name."""
    do: str
    """What to do as long as the server is not upgraded; or at all, where no release mends it."""
    link: str
    since: Version
    mended: tuple[Version, ...]
    """The first good release of each line that has one, ascending. Older lines without one stay as they are."""
    severity: Severity
    """`wrong` where strangers get in or answers are wrong without a word; `ok` for what is only worth knowing."""
    touches: Callable[[CollectionFacts], bool] | None = None
    """Whether a collection has to do with it; None if it is the server's, whatever is in it."""

    def affects(self, version: Version) -> bool:
        """Whether that release has it. Of a line with no fix of its own, releases before the last fixed line do."""
        if version < self.since:
            return False
        for fixed in self.mended:
            if fixed[:2] == version[:2]:
                return version < fixed
        return not self.mended or version < self.mended[-1]


@dataclass(frozen=True, slots=True)
class FoundFault:
    """A fault of this server."""

    fault: Fault
    collections: tuple[str, ...]
    """The names of those that it touches; none for one of the server itself."""
    sure: bool
    """False if the server does not tell its patch release, and a later one of that line is mended."""

    @property
    def severity(self) -> Severity:
        return "warning" if self.fault.severity == "wrong" and not self.sure else self.fault.severity


def found(backend: Capabilities, collections: Sequence[CollectionFacts]) -> Iterator[FoundFault]:
    """The faults that this server has and that touch it or one of these collections; none on Milvus Lite."""
    if backend.kind == "lite":
        return
    for fault, touched in _concerning(collections):
        if fault.affects(backend.version):
            sure = len(backend.version) > 2 or fault.affects((*backend.version, _LATEST))
            yield FoundFault(fault, touched, sure)


def good_release(version: Version, collections: Sequence[CollectionFacts]) -> Version | None:
    """The nearest release after `version` without a fault that touches these collections and that some release mends.

    None if `version` has no such fault itself.
    """
    mendable = [fault for fault, _ in _concerning(collections) if fault.mended]
    if not any(fault.affects(version) for fault in mendable):
        return None
    later = sorted({fixed for fault in mendable for fixed in fault.mended if fixed > version})
    return next(each for each in later if not any(fault.affects(each) for fault in mendable))


def _concerning(collections: Sequence[CollectionFacts]) -> Iterator[tuple[Fault, tuple[str, ...]]]:
    """The faults that would touch a server with these collections, in any release, and the names of those touched."""
    for fault in FAULTS:
        touched = tuple(each.name for each in collections if fault.touches and fault.touches(each))
        if touched or fault.touches is None:
            yield fault, touched


def _any(_: CollectionFacts) -> bool:
    return True


def _on_gpu(collection: CollectionFacts) -> bool:
    """Searched on a GPU."""
    return any(each.index.type.startswith("GPU_") and not _for_cpu(each) for each in collection.vectors.values())


def _for_cpu(vector: VectorField) -> bool:
    return bool(vector.index.params.get("adapt_for_cpu"))


def _cagra_for_cpu(collection: CollectionFacts) -> bool:
    return any(each.index.type == "GPU_CAGRA" and _for_cpu(each) for each in collection.vectors.values())


def _large_cagra(collection: CollectionFacts) -> bool:
    on_gpu = [each for each in collection.vectors.values() if each.index.type == "GPU_CAGRA" and not _for_cpu(each)]
    return bool(on_gpu) and collection.rows > 100_000


def _int8_cosine_cagra(collection: CollectionFacts) -> bool:
    return any(
        (each.index.type, each.vector_type, each.metric_type) == ("GPU_CAGRA", "INT8_VECTOR", "COSINE")
        for each in collection.vectors.values()
    )


_MILVUS = "https://github.com/milvus-io/milvus"
_KNOWHERE = "https://github.com/zilliztech/knowhere"

FAULTS = (
    Fault(
        "CVE-2025-64513",
        "whoever reaches the server's port gets past its authentication, as its administrator",
        "let only machines you trust reach it",
        f"{_MILVUS}/security/advisories/GHSA-mhjq-8c7m-3f7p",
        (2, 0),
        ((2, 4, 24), (2, 5, 21), (2, 6, 5)),
        "wrong",
    ),
    Fault(
        "CVE-2026-26190",
        "whoever reaches the management port, 9091, reads secrets and changes data without a login (CVSS 9.8)",
        "close that port to others, and keep it closed: newer releases can still be stopped by it",
        f"{_MILVUS}/security/advisories/GHSA-7ppg-37fh-vcr6",
        (2, 0),
        ((2, 5, 27), (2, 6, 10)),
        "wrong",
    ),
    Fault(
        "milvus#49864",
        "GPU_CAGRA finds about 60 % of what it should in segments of more than 100,000 rows",
        "use GPU_IVF_FLAT, or an index on the CPU",
        f"{_MILVUS}/issues/49864",
        (2, 4),
        ((2, 6, 20),),  # from then on imgvec sends num_random_samplings 8
        "wrong",
        _large_cagra,
    ),
    Fault(
        "milvus#49836",
        "GPU_CAGRA built with adapt_for_cpu does not load on query nodes without a GPU",
        "build HNSW instead",
        f"{_MILVUS}/issues/49836",
        (2, 4),
        ((2, 6, 19),),
        "warning",
        _cagra_for_cpu,
    ),
    Fault(
        "knowhere#1510",
        "a search on GPU_CAGRA with adapt_for_cpu that names no ef fails",
        "name one in other clients; imgvec always does",
        f"{_KNOWHERE}/issues/1510",
        (2, 4),
        ((2, 6, 20),),
        "warning",
        _cagra_for_cpu,
    ),
    Fault(
        "knowhere#1721",
        "INT8_VECTOR under COSINE on GPU_CAGRA gets scores far outside -1 to 1",
        "use IP, or an index on the CPU",
        f"{_KNOWHERE}/issues/1721",
        (2, 6),
        ((2, 6, 21),),
        "wrong",
        _int8_cosine_cagra,
    ),
    Fault(
        "milvus#37364",
        "for up to 10 s after a query node comes back, searches may find too few rows, or none, without an error",
        "look at the answer's `complete`: imgvec asks again meanwhile, and says where rows may still be missing",
        f"{_MILVUS}/issues/37364",
        (2, 0),
        ((2, 4, 17), (2, 5)),  # milvus#37610, and #36549 before 2.5
        "warning",
        _any,
    ),
    Fault(
        "milvus#51298",
        "a collection is called loaded before it can be searched",
        "repeat the first searches after a load that fail",
        f"{_MILVUS}/pull/51298",
        (2, 6),
        ((2, 6, 21),),
        "warning",
        _any,
    ),
    Fault(
        "milvus#51489",
        "a filter that compares a key of a JSON or dynamic field with values of several types fails or loses rows",
        "compare with values of one type",
        f"{_MILVUS}/issues/51489",
        (2, 5),
        ((2, 6, 22),),
        "warning",
        lambda collection: collection.json,
    ),
    Fault(
        "milvus#51909",
        "labels of the server's metrics are wrong, so that dashboards stay empty",
        "do not take an empty chart for a quiet server",
        f"{_MILVUS}/pull/51909",
        (2, 6),
        ((2, 6, 22),),
        "ok",
    ),
    Fault(
        "milvus#38101",
        "some releases do not read gpu.initMemSize and gpu.maxMemSize from milvus.yaml",
        "compare with what nvidia-smi shows",
        f"{_MILVUS}/issues/38101",
        (2, 3),
        (),
        "ok",
        _on_gpu,
    ),
    Fault(
        "milvus#38986",
        "rows of growing and of small segments are searched on the CPU, whatever the index",
        "expect the GPU to be busy only from some hundred thousand rows",
        f"{_MILVUS}/issues/38986",
        (2, 3),
        (),
        "ok",
        _on_gpu,
    ),
)
