"""A steady load on a cluster whose roles are killed: three clients that search, and an ingest; every answer is checked.

Queries lie near the rows that are there from the start, and what is ingested lies opposite, so that the right answer to
each query stays the same, and exact NumPy tells it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fakes import FakeEncoder
from milvus_cluster import MilvusCluster
from pictures import picture
from threads_beside import Beside

from imgvec import ImageCollection, Settings, VectorQuery
from imgvec.encoders.protocol import Pixels
from imgvec.errors import BackendError
from imgvec.vectors import Vectors

ROWS, DIM, LIMIT, CLIENTS = 4000, 16, 10, 3


class Opposite(FakeEncoder):
    """Puts every picture far from the queries."""

    def encode(self, pixels: Pixels) -> Vectors:
        vectors = 0.1 * super().encode(pixels)
        vectors[:, 0] -= 1
        made: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return made


@dataclass
class Seen:
    """What clients saw of one collection during one fault."""

    searches: int = 0
    failed: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    """Errors that are not imgvec's."""
    longest: float = 0.0
    short_said: int = 0
    short_unsaid: int = 0
    wrong_said: int = 0
    wrong_unsaid: int = 0
    unsaid: list[str] = field(default_factory=list)
    right_unsure: int = 0
    """Right answers that were called incomplete."""
    ingest_failed: list[str] = field(default_factory=list)
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0

    def add(self, other: Seen) -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            setattr(self, name, max(mine, value) if name == "longest" else mine + value)

    COLUMNS = (
        "searches | failed | raw errors | longest wait (s) | short: said, unsaid | full but wrong: said, unsaid | "
        "right, called incomplete | rows acknowledged, lost, doubled | ingests failed"
    )

    def row(self) -> str:
        return (
            f"{self.searches:,} | {len(self.failed)} | {len(self.raw)} | {self.longest:.2f} | {self.short_said}, "
            f"{self.short_unsaid} | {self.wrong_said}, {self.wrong_unsaid} | {self.right_unsure} | "
            f"{self.acknowledged:,}, {self.lost}, {self.doubled} | {len(self.ingest_failed)}"
        )


class Loaded:
    """A collection of so many shards, with two replicas, under load."""

    def __init__(self, uri: str, shards: int, folder: Path) -> None:
        self.uri, self.name, self.folder = uri, f"shards_{shards}", folder / f"shards_{shards}"
        self.seen = Seen()
        self.acknowledged: set[str] = set()
        self._lock = threading.Lock()
        self._round = 0
        rng = np.random.default_rng(shards)
        vectors = rng.normal(size=(ROWS, DIM))
        vectors[:, 0] = np.abs(vectors[:, 0]) + 1
        self._vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        self._ids = np.array([f"{i:032x}" for i in range(ROWS)])
        definition: Mapping[str, Any] = {
            "encoder": {"model": "fake"},
            "index": {"cpu": {"type": "FLAT"}},
            "num_shards": shards,
            "replicas": 2,
        }
        with ImageCollection.create(self.name, definition=definition, uri=uri, encoder=Opposite()) as photos:
            now = int(time.time() * 1000)
            rows = [
                {
                    "id": str(id_), "uri": str(id_), "content_hash": str(id_), "width": 1, "height": 1,
                    "media_type": "image/png", "ingested_at": now,
                }
                for id_ in self._ids
            ]  # fmt: skip
            photos.store.upsert(rows, self._vectors)
            photos.store.flush()
        self.acknowledged.update(map(str, self._ids))
        self.queries = self._vectors[rng.choice(ROWS, 64, replace=False)]
        best = np.argsort(-(self.queries.astype(np.float64) @ self._vectors.T.astype(np.float64)), axis=1)[:, :LIMIT]
        self.truth = [set(self._ids[row]) for row in best]
        self.watching = self.opened()
        """A handle from before each fault, which has seen who was there: it waits until all rows can be read."""

    def opened(self) -> ImageCollection:
        return ImageCollection.open(self.name, uri=self.uri, encoder=Opposite(), settings=Settings(retry_seconds=60))

    def search(self, photos: ImageCollection, number: int) -> None:
        began = time.monotonic()
        error: BaseException | None = None
        answer: Any = ()
        try:
            answer = photos.search(VectorQuery(self.queries[number]), limit=LIMIT, output_fields=[])
        except Exception as exc:  # noqa: BLE001  every error is counted
            error = exc
        took = time.monotonic() - began
        with self._lock:
            seen = self.seen
            seen.searches += 1
            seen.longest = max(seen.longest, took)
            if error is not None:
                (seen.failed if isinstance(error, BackendError) else seen.raw).append(repr(error)[:300])
            elif {hit.id for hit in answer} == self.truth[number]:
                seen.right_unsure += not answer.complete
            else:
                what = "short" if len(answer) < LIMIT else "wrong"
                which = f"{what}_{'unsaid' if answer.complete else 'said'}"
                setattr(seen, which, getattr(seen, which) + 1)
                if answer.complete:
                    seen.unsaid.append(f"{time.strftime('%X')}, after {took:.2f} s: {len(answer)} hits")

    def ingest(self, photos: ImageCollection) -> None:
        """A folder of new pictures; what Milvus has acknowledged is noted row by row."""
        self._round += 1
        folder = self.folder / str(self._round)
        folder.mkdir(parents=True)
        for i in range(16):
            picture(self._round * 16 + i).resize((32, 32)).save(folder / f"{i}.png")
        send = type(photos.store).upsert

        def upsert(rows: Sequence[Mapping[str, Any]], vectors: Vectors, more: Any = None) -> int:
            written = send(photos.store, rows, vectors, more)
            self.acknowledged.update(row["id"] for row in rows)
            return written

        photos.store.upsert = upsert  # type: ignore[method-assign]  # in place of the real one
        try:
            photos.ingest(folder)
        except Exception as exc:  # noqa: BLE001  every error is counted
            with self._lock:
                self.seen.ingest_failed.append(repr(exc)[:300])

    def check_rows(self) -> None:
        """Read all rows, and note which are lost or doubled."""
        known = set(self.acknowledged)
        counted = self.watching.store.count()  # first, as rows come all the time
        ids = [row["id"] for rows in self.watching.store.scan([]) for row in rows]
        self.seen.acknowledged = len(known)
        self.seen.lost = len(known - set(ids))
        self.seen.doubled = len(ids) - len(set(ids)) + max(0, counted - len(set(ids)))


class Load(Beside):
    """The load on several collections; a context manager that begins and ends it."""

    def __init__(self, collections: Sequence[Loaded]) -> None:
        self.collections = collections
        super().__init__([*(partial(self._search, i) for i in range(CLIENTS)), self._ingest])

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for each in self.collections:
            each.watching.close()

    def _search(self, client: int) -> None:
        rng = np.random.default_rng(client)
        with ExitStack() as stack:
            opened = [(each, stack.enter_context(each.opened())) for each in self.collections]
            while not self.stop.wait(0.01):
                for each, photos in opened:
                    each.search(photos, int(rng.integers(len(each.queries))))

    def _ingest(self) -> None:
        with ExitStack() as stack:
            opened = [(each, stack.enter_context(each.opened())) for each in self.collections]
            while not self.stop.wait(1.0):
                for each, photos in opened:
                    each.ingest(photos)


def query_node_killed(cluster: MilvusCluster) -> None:
    cluster.kill("querynode1")
    time.sleep(7)
    cluster.respawn("querynode1")
    time.sleep(13)


def proxy_killed(cluster: MilvusCluster) -> None:
    cluster.kill("proxy")
    time.sleep(0.5)
    cluster.respawn("proxy")
    time.sleep(4)


def data_node_killed(cluster: MilvusCluster) -> None:
    cluster.kill("datanode")
    time.sleep(2)
    cluster.respawn("datanode")
    time.sleep(10)


def query_coordinator_killed(cluster: MilvusCluster) -> None:
    cluster.kill("querycoord")
    time.sleep(1)
    cluster.respawn("querycoord")
    time.sleep(12)


def query_node_drained(cluster: MilvusCluster) -> None:
    try:
        cluster.terminate("querynode2", grace=20)
    except TimeoutError:  # without a spare node it may never end: then it is killed, as an orchestrator does
        cluster.kill("querynode2")
    time.sleep(5)
    cluster.respawn("querynode2")
    time.sleep(13)


def query_node_and_proxy_killed(cluster: MilvusCluster) -> None:
    cluster.kill("querynode2")
    cluster.kill("proxy")
    time.sleep(1)
    cluster.respawn("proxy", wait=False)
    time.sleep(6)
    cluster.respawn("querynode2")
    time.sleep(13)


FAULTS: Mapping[str, Callable[[MilvusCluster], None]] = {
    "query node killed": query_node_killed,
    "proxy killed": proxy_killed,
    "data node killed": data_node_killed,
    "query coordinator killed": query_coordinator_killed,
    "query node drained (SIGTERM)": query_node_drained,
    "query node and proxy killed": query_node_and_proxy_killed,
}


def tried(cluster: MilvusCluster, collections: Sequence[Loaded], fault: str) -> dict[str, Seen]:
    """What clients saw of each collection from before the fault until all has settled; then the rows are read."""
    for each in collections:
        each.watching.store.count()
        each.seen = Seen()
    FAULTS[fault](cluster)
    time.sleep(20)
    found = {}
    for each in collections:
        found[each.name], each.seen = each.seen, Seen()
    for each in collections:
        before, each.seen = each.seen, found[each.name]
        each.check_rows()
        each.seen = before
    return found
