"""A server's segments written again without the rows that were deleted from them."""

from __future__ import annotations

import logging
import time

from imgvec.errors import BackendError
from imgvec.milvus.collection_link import CollectionLink
from imgvec.milvus.errors import translated

log = logging.getLogger(__name__)

FROM_ROWS = 100_000
"""The least number of rows that was measured (tests/benchmarks/README.md). Few are indexed twice in less time than a
compaction takes."""
_POLL_SECONDS = 0.25


def compact(link: CollectionLink, rows: int, timeout: float) -> None:
    """Have a server rewrite what it would rewrite anyway, and wait for it; Milvus Lite has nothing to rewrite, and few
    rows are not worth it.

    An upsert deletes each of its rows first, also where there is none. Milvus 2.3 rewrites a segment as soon as a fifth
    as many rows as it holds were deleted, which it looks for once a minute, and builds the index of what it has written
    again: after an import into an empty collection that is all of it. So an index that is built next is built once.
    It is only a saving: what fails, or takes longer than `timeout` seconds, is logged and not raised.
    """
    if link.is_lite or rows < FROM_ROWS:
        return
    deadline = time.monotonic() + timeout
    try:
        with translated(f"compact {link.name!r}"):
            job = link.client.compact(link.name, timeout=link.timeout)
            while link.client.get_compaction_state(job, timeout=link.timeout) != "Completed":
                if time.monotonic() >= deadline:
                    log.warning("%s: not compacted in %g s: its index may be built twice", link.name, timeout)
                    return
                time.sleep(_POLL_SECONDS)
    except BackendError as exc:
        log.warning("%s", exc)
