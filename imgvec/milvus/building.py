"""A collection's vector index: built anew, waited for, and put back where a build fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pymilvus import MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.exceptions import AmbiguousIndexName

from imgvec.errors import BackendError, CollectionReplaced, EncoderMismatch, ImgvecError
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.errors import translated
from imgvec.milvus.schema import IndexInfo, IndexPlan, index_info, plan_index
from imgvec.rows import VECTOR

if TYPE_CHECKING:
    from imgvec.milvus.collection import Collection

FORMER = "former_index"
"""What a collection remembers while its index is built anew, should the process be killed."""
_PUT_BACK_SECONDS = 3600.0
_POLL_SECONDS = 0.2
_DROP_SECONDS = 60.0
"""For how long other clients' searches may come between releasing a collection and dropping its index."""

log = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
"""Gets rows indexed, and rows in all."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far a vector index is. A server says "Finished" before it is: look at the rows."""

    state: str
    """Milvus's word for it."""
    indexed_rows: int
    pending_rows: int
    """Of `total_rows`, that the index does not cover."""
    total_rows: int
    """Rows of sealed segments, deleted ones among them until a server compacts; it lags behind what was written."""
    loaded: bool
    reason: str = ""
    """Why it failed."""
    rewritten_rows: int = 0
    """That a server has compacted into new segments, whose index it is building; until then it searches the former
    segments by theirs. Milvus's own statistic counts them as pending beside the indexed ones."""

    @classmethod
    def counted(cls, state: str, indexed: int, pending: int, total: int, *, loaded: bool, reason: str = "") -> Self:
        """From Milvus's own counts, in which rows can be indexed and pending at once, or indexed and gone."""
        missing = max(0, total - indexed)
        return cls(state, min(indexed, total), missing, total, loaded, reason, max(0, pending - missing))

    def covers(self, rows: int) -> bool:
        """Whether the index is built over that many rows: while the statistic tells of fewer, it does not tell all."""
        return self.total_rows >= rows and not self.pending_rows and not self.rewritten_rows


def build(
    store: Collection,
    type: str,
    params: Mapping[str, Any],
    *,
    timeout: float,
    on_progress: OnProgress | None,
) -> tuple[IndexInfo, float]:
    """`Collection.build_index` up to loading: the index as it was read back, and the seconds that it took."""
    wanted = plan_index(
        type, params, store.capabilities, vector_type=store.vector_type, metric_type=store.metric_type, dim=store.dim
    )
    former = _present(store)
    store.flush(timeout)  # a growing segment would get its index later than the others
    rows = store.count()
    store.remember(FORMER, former.kept())
    try:
        started = _replace(store, wanted)
        if store.capabilities.kind == "lite":
            store._load(timeout)  # what it has not built within the call it builds now; a failure is not mended
        wait(store, rows, timeout, on_progress, started)
        seconds = time.monotonic() - started
        built = _read_back(store, wanted)
    except (CollectionReplaced, EncoderMismatch):
        raise  # another collection bears the name, whose index is not ours to put back
    except BaseException as exc:
        _put_back(store, former, rows, exc)
        store.remember(FORMER, None)
        if isinstance(exc, BackendError):
            said = f"{exc}; the former index, {former.type}, is back"
            raise BackendError(said, code=exc.code, retryable=exc.retryable) from exc
        raise
    store.remember(FORMER, None)
    return built, seconds


def wait(
    store: Collection, rows: int, timeout: float, on_progress: OnProgress | None = None, started: float | None = None
) -> None:
    """Wait until the index covers so many rows; they cannot be counted here, where nothing may be loaded.

    `timeout` seconds run from `started`, a `time.monotonic()`, or else from now. Raises `BackendError`.
    """
    deadline = (time.monotonic() if started is None else started) + timeout
    while True:
        try:
            now = state(store)
        except BackendError as exc:
            # a server that builds with all of its processors may answer late
            if not exc.retryable or time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)
            continue
        if now.state == "Failed":
            reason = now.reason or "it gives no reason"
            raise BackendError(f"Milvus failed to build the index of {store.name!r}: {reason}")
        if on_progress:
            on_progress(min(now.indexed_rows, rows), rows)
        if now.covers(rows):
            return
        if time.monotonic() >= deadline:
            total = max(now.total_rows, rows)
            message = f"the index of {store.name!r} covers {now.indexed_rows} of {total} rows after {timeout:g} s"
            raise BackendError(message, retryable=True)
        time.sleep(_POLL_SECONDS)


def state(store: Collection) -> IndexState:
    """How far the index is; raises `BackendError` where there is none."""
    described, reason = _described(store), ""
    if described is None:
        raise BackendError(f"{store.name!r} has lost its vector index: open the collection again")
    with translated(f"read whether {store.name!r} is loaded"):
        loaded = store._client.get_load_state(store.name, timeout=store.timeout)["state"] == LoadState.Loaded
    if described["state"] == "Failed":
        # which `describe_index` leaves out
        with translated(f"read why the index of {store.name!r} failed"):
            _, reason = store._client._get_connection().get_index_state(store.name, VECTOR, timeout=store.timeout)
    return IndexState.counted(
        described["state"],
        int(described["indexed_rows"]),
        int(described["pending_index_rows"]),
        int(described["total_rows"]),
        loaded=loaded,
        reason=reason or "",
    )


def put_back_lost(
    client: MilvusClient, name: str, former: Mapping[str, Any] | None, backend: Capabilities, *, timeout: float
) -> None:
    """Ask for the index that a killed build has dropped; raises `BackendError` where nothing says which it was."""
    if not former:
        raise BackendError(
            f"the collection {name!r} has no vector index, and nothing says which it had: create one with Milvus's "
            "own client"
        )
    lost = IndexPlan(VECTOR, former["type"], former["params"], former["metric_type"], nested=backend.kind == "lite")
    log.warning("%s had lost its vector index in a build that was killed: %s is built again", name, lost.type)
    _create(client, name, lost, timeout)


def write_again(store: Collection) -> None:
    """Have Milvus Lite forget the files of all indexes; the next `load` builds and writes them."""
    vector = _present(store)
    store.remember(FORMER, vector.kept())
    _replace(store, vector)
    store.remember(FORMER, None)
    with translated(f"read the indexes of {store.name!r}"):
        fields = store._client.list_indexes(store.name, timeout=store.timeout)
        scalar = [
            IndexPlan(field, store._client.describe_index(store.name, field, timeout=store.timeout)["index_type"], {})
            for field in fields
            if field != VECTOR
        ]
    for plan in scalar:
        _replace(store, plan)


def _present(store: Collection) -> IndexPlan:
    nested = store.capabilities.kind == "lite"
    return IndexPlan(VECTOR, store.index.type, store.index.params, store.metric_type, nested=nested)


def _replace(store: Collection, wanted: IndexPlan) -> float:
    """Drop the field's index and ask for another; returns when that was, since Milvus Lite builds within the call."""
    # by the field's name Milvus Lite would drop all other indexes too
    named = f"{wanted.field}_idx" if store.capabilities.kind == "lite" else wanted.field
    deadline = time.monotonic() + _DROP_SECONDS
    while True:
        store.release()
        store.check_same()
        try:
            with translated(f"drop the index of {store.name!r}"):
                store._client.drop_index(store.name, named, timeout=store.timeout)
            break
        except BackendError:
            # a client that searched in between has loaded the collection again
            if time.monotonic() >= deadline or not state(store).loaded:
                raise
    asked = time.monotonic()
    _create(store._client, store.name, wanted, store.timeout)
    return asked


def _create(client: MilvusClient, name: str, wanted: IndexPlan, timeout: float) -> None:
    with translated(f"build the index {wanted.type} on {wanted.field} of {name!r}"):
        # not waiting: a server says "Finished" too early
        client.create_index(name, wanted.prepared(), timeout=timeout, sync=False)


def _put_back(store: Collection, former: IndexPlan, rows: int, failure: BaseException) -> None:
    """Have the former index again, loaded, however far the failed build came."""
    log.warning("%s: the build did not end well; going back to %s", store.name, former.type)
    try:
        store.check_same()
        described = _described(store)
        if described is None:
            _create(store._client, store.name, former, store.timeout)
        elif index_info(described) != IndexInfo(former.type, former.params):
            _replace(store, former)
        if store.capabilities.kind == "server":
            wait(store, rows, _PUT_BACK_SECONDS)
        store.load(_PUT_BACK_SECONDS)
    except ImgvecError as exc:
        said = str(failure) or type(failure).__name__
        raise BackendError(
            f"{said}; and the former index, {former.type}, could not be put back ({exc}): "
            "open the collection again once Milvus answers, and look at `imgvec index status`"
        ) from failure


def _read_back(store: Collection, wanted: IndexPlan) -> IndexInfo:
    described = _described(store)
    built = index_info(described) if described else None
    if built is None or built.type != wanted.type:
        raise BackendError(f"Milvus made {built.type if built else 'no index'} where {wanted.type} was asked")
    if lost := {name: value for name, value in wanted.params.items() if built.params.get(name) != value}:
        raise BackendError(f"Milvus did not keep the index parameters {lost}: it has {dict(built.params)}")
    return built


def describe(client: MilvusClient, name: str, timeout: float) -> Mapping[str, Any] | None:
    """The vector index as Milvus describes it; None where there is none."""
    try:
        found: Mapping[str, Any] | None = client.describe_index(name, VECTOR, timeout=timeout)
    except AmbiguousIndexName:  # where it has none of that name, Milvus Lite tells of all others
        return None
    return found if found and found["field_name"] == VECTOR else None


def _described(store: Collection) -> Mapping[str, Any] | None:
    with translated(f"read the index of {store.name!r}"):
        return describe(store._client, store.name, store.timeout)
