"""A collection's vector index: rebuild it, wait for it, restore it if a build fails, and load it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pymilvus.grpc_gen.common_pb2 import UnexpectedError

from imgvec.errors import BackendError, CollectionReplaced, EncoderMismatch, ImgvecError
from imgvec.milvus import replicas
from imgvec.milvus.collection_link import LOAD_SECONDS, CollectionLink
from imgvec.milvus.compaction import compact
from imgvec.milvus.described import index_info
from imgvec.milvus.errors import translated
from imgvec.milvus.link import Link
from imgvec.milvus.schema import IndexPlan, Plan, plan_index
from imgvec.progress import OnProgress, Telling
from imgvec.rows import VECTOR
from imgvec.stored import IndexInfo, IndexState

FORMER = "former_index"
"""What a collection remembers during a rebuild, in case the process is killed."""
_PUT_BACK_SECONDS = 3600.0
_POLL_SECONDS = 0.2
_DROP_SECONDS = 60.0
"""How long to put up with other clients' searches between releasing a collection and dropping its index, in seconds."""

_mending = threading.Lock()

log = logging.getLogger(__name__)


class VectorIndex:
    """The index of one vector of a collection; raises `QueryError` where it has none of that name."""

    def __init__(self, link: CollectionLink, vector: str = VECTOR) -> None:
        self._link, self._vector, self._former = link, vector, former_key(vector)
        link.schema.vector(vector)

    def build(
        self,
        type: str,
        params: Mapping[str, Any],
        count: Callable[[], int],
        *,
        timeout: float,
        on_progress: OnProgress | None,
    ) -> float:
        """`Store.build_index`; `count` says how many rows there are."""
        link, field = self._link, self._link.schema.vector(self._vector)
        wanted = plan_index(
            type,
            params,
            link.capabilities,
            vector_type=field.vector_type,
            metric_type=field.metric_type,
            dim=field.dim,
            field=self._vector,
        )
        former = self._present(self._vector)
        link.flush(timeout)  # a growing segment would get its index later than the others
        rows = count()
        compact(link, rows, timeout)
        link.remember(self._former, former.kept())
        try:
            started = self._replace(wanted)
            if link.is_lite:
                # what it has not built within the call it builds now; a failure is not mended
                replicas.load(link, timeout)
            self.wait(rows, timeout, Telling("build", on_progress), started)
            seconds = time.monotonic() - started
            built = self._read_back(wanted)
        except (CollectionReplaced, EncoderMismatch):
            raise  # another collection bears the name, whose index is not ours to put back
        except BaseException as exc:
            self._put_back(former, rows, exc)
            link.remember(self._former, None)
            if isinstance(exc, BackendError):
                said = f"{exc}; the previous index, {former.type}, is back"
                raise BackendError(said, code=exc.code, retryable=exc.retryable) from exc
            raise
        link.remember(self._former, None)
        link.schema = link.schema.with_index(self._vector, built)
        try:
            self.load(max(LOAD_SECONDS, timeout))
        except BackendError as exc:
            said = f"{type} was built, but {link.name!r} could not be loaded: {exc}"
            raise BackendError(said, code=exc.code, retryable=exc.retryable) from exc
        return seconds

    def wait(self, rows: int, timeout: float, tell: Telling | None = None, started: float | None = None) -> None:
        """Wait until the index covers so many rows; they cannot be counted here, where nothing may be loaded.

        `timeout` seconds run from `started`, a `time.monotonic()`, or else from now. Raises `BackendError`.
        """
        name = self._link.name
        deadline = (time.monotonic() if started is None else started) + timeout
        while True:
            try:
                now = self.state()
            except BackendError as exc:
                # a server that builds with all of its processors may answer late
                if not exc.retryable or time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)
                continue
            if now.state == "Failed":
                reason = now.reason or "no reason given"
                raise BackendError(f"Milvus failed to build the index of {name!r}: {reason}")
            if tell:
                tell("indexing rows", min(now.indexed_rows, rows), rows)
            if now.covers(rows):
                return
            if time.monotonic() >= deadline:
                total = max(now.total_rows, rows)
                message = (
                    f"the index of {name!r} covers only {now.indexed_rows:,} of {total:,} rows after {timeout:g} s"
                )
                raise BackendError(message, retryable=True)
            time.sleep(_POLL_SECONDS)

    def state(self) -> IndexState:
        """How far the index is; raises `BackendError` if there is none."""
        link, described, reason = self._link, self._link.described_index(self._vector), ""
        if described is None:
            raise BackendError(f"{link.name!r} has lost its index of {self._vector!r}: open the collection again")
        loaded = link.is_loaded()
        if described["state"] == "Failed":
            # which `describe_index` leaves out
            with translated(f"read why the index of {link.name!r} failed"):
                connection = link.client._get_connection()
                _, reason = connection.get_index_state(link.name, self._vector, timeout=link.timeout)
        return IndexState.counted(
            described["state"],
            int(described["indexed_rows"]),
            int(described["pending_index_rows"]),
            int(described["total_rows"]),
            loaded=loaded,
            reason=reason or "",
        )

    def load(self, timeout: float = LOAD_SECONDS) -> None:
        """Load into memory what searches need, and wait for it.

        Milvus Lite writes the files of its indexes in place: one that a killed process or a full disk cut short would
        never load again. So what does not load there gets all of its index files written again, once.
        """
        try:
            replicas.load(self._link, timeout)
        except BackendError as exc:
            if not self._link.is_lite or exc.code != UnexpectedError:
                raise
            self._mend(exc, timeout)

    def _mend(self, failure: BackendError, timeout: float) -> None:
        with _mending:
            try:
                replicas.load(self._link, timeout)  # another thread has mended it, or the file was still being written
            except BackendError:
                log.warning("%s; rebuilding its indexes", failure)
                self._write_again()
                replicas.load(self._link, timeout)

    def _write_again(self) -> None:
        """Have Milvus Lite forget the files of all indexes; the next `load` builds and writes them."""
        link, vectors = self._link, self._link.schema.vectors
        for name in vectors:
            present = self._present(name)
            link.remember(former_key(name), present.kept())
            self._replace(present)
            link.remember(former_key(name), None)
        with translated(f"read the indexes of {link.name!r}"):
            scalar = [
                IndexPlan(name, link.client.describe_index(link.name, name, timeout=link.timeout)["index_type"], {})
                for name in link.client.list_indexes(link.name, timeout=link.timeout)
                if name not in vectors
            ]
        for plan in scalar:
            self._replace(plan)

    def _present(self, vector: str) -> IndexPlan:
        field = self._link.schema.vector(vector)
        return IndexPlan(vector, field.index.type, field.index.params, field.metric_type, nested=self._link.is_lite)

    def _replace(self, wanted: IndexPlan) -> float:
        """Drop the field's index and ask for another; returns when that was: Milvus Lite builds within the call."""
        link = self._link
        # by the field's name Milvus Lite would drop all other indexes too
        named = f"{wanted.field}_idx" if link.is_lite else wanted.field
        deadline = time.monotonic() + _DROP_SECONDS
        while True:
            link.release()
            link.check_same()
            try:
                with translated(f"drop the index of {link.name!r}"):
                    link.client.drop_index(link.name, named, timeout=link.timeout)
                break
            except BackendError:
                # a client that searched in between has loaded the collection again
                if time.monotonic() >= deadline or not self.state().loaded:
                    raise
        asked = time.monotonic()
        self._create(wanted)
        return asked

    def _create(self, wanted: IndexPlan) -> None:
        create_index(self._link.database, self._link.name, wanted, timeout=self._link.timeout)

    def _put_back(self, former: IndexPlan, rows: int, failure: BaseException) -> None:
        """Restore and load the previous index, however far the failed build got."""
        log.warning("%s: the build failed; restoring %s", self._link.name, former.type)
        try:
            self._link.check_same()
            described = self._link.described_index(self._vector)
            if described is None:
                self._create(former)
            elif index_info(described) != IndexInfo(former.type, former.params):
                self._replace(former)
            if not self._link.is_lite:
                self.wait(rows, _PUT_BACK_SECONDS)
            self.load(_PUT_BACK_SECONDS)
        except ImgvecError as exc:
            said = str(failure) or type(failure).__name__
            raise BackendError(
                f"{said}; and the previous index, {former.type}, could not be restored ({exc}): open the "
                f"collection again once Milvus answers, and check `imgvec index status`"
            ) from failure

    def _read_back(self, wanted: IndexPlan) -> IndexInfo:
        described = self._link.described_index(self._vector)
        built = index_info(described) if described else None
        if built is None or built.type != wanted.type:
            raise BackendError(f"Milvus made {built.type if built else 'no index'} instead of {wanted.type}")
        if lost := {name: value for name, value in wanted.params.items() if built.params.get(name) != value}:
            raise BackendError(f"Milvus did not keep the index parameters {lost}: it has {dict(built.params)}")
        return built


def former_key(vector: str) -> str:
    """Under which name a collection remembers the index of that vector while another is built."""
    return FORMER if vector == VECTOR else f"{FORMER}.{vector}"


def put_back_lost(link: Link, name: str, former: Mapping[str, Any] | None, vector: str = VECTOR) -> None:
    """Ask for the index that a killed build has dropped; raises `BackendError` if nothing says which it was."""
    if not former:
        raise BackendError(
            f"the collection {name!r} has no index of {vector!r}, and there is no record of the previous one: create "
            f"one with Milvus's own client"
        )
    nested = link.capabilities.kind == "lite"
    lost = IndexPlan(vector, former["type"], former["params"], former["metric_type"], nested=nested)
    log.warning("%s lost its index of %s in a build that was killed: rebuilding %s", name, vector, lost.type)
    create_index(link, name, lost)


def create_indexes(link: Link, name: str, plan: Plan) -> None:
    """Ask for the indexes of a new collection that it lacks, that of `vector` last: where it is there, they all are."""
    for index in reversed(plan.indexes):
        if link.describe_index(name, index.field) is None:
            create_index(link, name, index)


def create_index(link: Link, name: str, wanted: IndexPlan, *, timeout: float | None = None) -> None:
    """Ask for an index; not waiting: a server says "Finished" too early."""
    with translated(f"build the index {wanted.type} on {wanted.field} of {name!r}"):
        link.client.create_index(name, wanted.prepared(), timeout=timeout or link.timeout, sync=False)
