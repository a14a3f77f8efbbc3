"""The index types whose graph and whole vectors lie on a disk."""

from __future__ import annotations

from imgvec.catalog.entries import DOCS, IndexType, Parameter
from imgvec.catalog.vector_types import FLOAT_METRICS, FLOATS

DISK = (
    IndexType(
        "DISKANN",
        "a graph on disk, with codes in memory",
        "disk",
        "graph",
        (2, 2),
        FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, _params: rows * dim * width / 4,
        DOCS + ": about a quarter of the raw vectors in memory, the rest on NVMe",
        search=(Parameter("search_list", "candidates kept while searching", low=1, high=65_535, at_least_limit=True),),
        needs="a fast local disk and queryNode.enableDisk; max_degree and search_list_size are set in the server's "
        "yaml",
        cannot=("mmap",),
    ),
    IndexType(
        "AISAQ",
        "DISKANN with its codes on disk as well",
        "disk",
        "graph",
        (2, 6, 4),
        FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, _params: rows * dim * width / 100,
        "knowhere: codes stay on disk; entry points and caches remain, below a hundredth of the raw vectors",
        build=(
            # no default here: it would be sent, and the server's own is -1; max_degree, its true bound, is in the yaml
            Parameter("inline_pq", "codes kept beside each node on disk; -1 for as many as fit", low=-1, high=2048),
            Parameter("rearrange", "order codes on disk by what is read together", kind="bool", default=True),
            Parameter("num_entry_points", "places a search can start from", low=0, high=1000, default=100),
        ),
        search=(
            Parameter(
                "search_list", "candidates kept while searching", low=1, high=65_535, default=16, at_least_limit=True
            ),
            Parameter("vectors_beamwidth", "vectors read from disk at once", low=1, high=4, default=1),
        ),
        needs="a fast local disk and queryNode.enableDisk; max_degree and search_list_size are set in the server's "
        "yaml",
        cannot=("mmap",),
    ),
)
