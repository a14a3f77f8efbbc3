"""Every index type of a backend: built, verified, tuned to recall targets, and held against fresh queries.

    python tests/benchmarks/index.py [--backend server|lite] [--types …] [--targets 0.90,0.95,0.99] [--rows 50000]
                                     [--queries 2000] [--fresh 8000] [--grid IVF_FLAT,HNSW] [--filter HNSW,IVF_FLAT]

Milvus 2.3.5 from the `milvus` wheel in a process of its own, or Milvus Lite in a temporary folder. The rows are
IMGVEC_TEST_DATA's 50,000 CIFAR-10 vectors, and of its 10,000 queries `--queries` go into tuning (half to choose, half
held out) and `--fresh` others are fresh. Without it all are random, which no index likes.

For each type and target: the parameters that `tune` chose, recall@10 of the fresh queries, p50 and p99 of single
queries, queries a second of two clients at once, memory by the catalogue's formula (`index_memory.py` holds it against
a server's process), seconds of building, and searches of the bisection against the grid it replaces. `--grid` then
tries every cheaper setting of the grid for the target 0.95, and `--filter` tunes for a filter that keeps 1 % of the
rows. Exit status 1 where a reached target is missed by more than 0.005 on fresh queries, where verifying finds
anything, or where the grid would have chosen otherwise. Times are this machine's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from index_data import DIM, Vectors, fill, no_encoder, real, unit
from milvus_server import MilvusServer
from rows import id_of

from imgvec import ImageCollection, Settings
from imgvec.indexes.exact import ExactSearch
from imgvec.indexes.measure import Questions, questions, shuffled
from imgvec.indexes.neighbours import Neighbours
from imgvec.indexes.options import RecallOptions
from imgvec.indexes.recall import MARGIN, recalls
from imgvec.indexes.tune import Tuning
from imgvec.indexes.tuned import Tuned
from imgvec.indexes.verify import verify
from imgvec.milvus import Store
from imgvec.options import settled
from imgvec.progress import Telling

SILENT = Telling("tune")

LIMIT = 10
SLACK = 0.005
TYPES: dict[str, dict[str, Any]] = {
    "FLAT": {},
    "IVF_FLAT": {"nlist": 256},
    "IVF_SQ8": {"nlist": 256},
    "IVF_PQ": {"nlist": 256, "m": 96, "nbits": 8},
    "SCANN": {"nlist": 256},
    "HNSW": {"M": 16, "efConstruction": 200},
    "HNSW_SQ": {"M": 16, "efConstruction": 200, "sq_type": "SQ8"},
    "DISKANN": {},
    "AUTOINDEX": {},
}
DEFINITION = {
    "encoder": {"model": "none"},
    "dynamic": False,
    "fields": {"bucket": {"type": "INT64", "default": 0}},
    "index": {"cpu": {"type": "FLAT"}},
}
ONE_PERCENT = "bucket == 7"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["server", "lite"], default="server")
    parser.add_argument("--types", help="default: all of the backend's")
    parser.add_argument("--targets", default="0.90,0.95,0.99")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--fresh", type=int, default=8000)
    parser.add_argument("--grid", default="")
    parser.add_argument("--filter", default="")
    args = parser.parse_args()
    rows, queries = data(args.rows)
    buckets = np.random.default_rng(1).integers(0, 100, len(rows))
    with tempfile.TemporaryDirectory() as folder, backend(args.backend, Path(folder)) as uri:
        settings = Settings.load(uri=uri, timeout=60)
        with ImageCollection.create(
            "bench_index", definition=DEFINITION, encoder=no_encoder(DIM), settings=settings
        ) as photos:
            fill(photos.store, rows, bucket=buckets)
            types = args.types.split(",") if args.types else TYPES
            bench = Bench(photos.store, rows, queries[: args.queries], queries[args.queries :][: args.fresh])
            for kind in types:
                if kind not in photos.store.capabilities.index_types:
                    why = photos.store.capabilities.why_not(kind)
                    print(f"{kind} is not built: {why}", flush=True)
                    continue
                bench.built(kind)
                for target in map(float, args.targets.split(",")):
                    bench.tuned(target)
                if kind in args.grid.split(","):
                    bench.against_the_grid(0.95)
                if kind in args.filter.split(","):
                    bench.filtered(0.95, buckets == 7)
    sys.exit(1 if bench.wrong else 0)


class Bench:
    """One collection, whose index is rebuilt for each type."""

    def __init__(self, store: Store, rows: Vectors, queries: Vectors, fresh: Vectors) -> None:
        self.store, self.rows = store, rows
        self.wrong: list[str] = []
        self._fresh, self._truth = fresh, exact(fresh, rows)
        self._queries, self._asked = queries, self._questions(queries, "")
        print(
            f"{store.capabilities.name}, {len(rows):,} rows of {rows.shape[1]} dimensions, {len(queries):,} queries to "
            f"tune by, {len(fresh):,} fresh ones"
        )
        print(
            "| index | build | target | chosen | recall, fresh | p50 ms | p99 ms | queries/s | memory MiB | built s "
            "| searches / grid |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)

    def built(self, kind: str) -> None:
        self._seconds = self.store.build_index(kind, TYPES[kind])
        found = verify(self.store, recall=None, queries=200, probes=500)
        if not found.ok:
            self._fails(f"{kind}: {'; '.join(str(each) for each in found.findings)}")

    def tuned(self, target: float) -> None:
        tuned = self._tuned(self._asked, target)
        if not tuned.reached:
            best = tuned.choices[0].best
            recall = f"not reached; best seen {best.recall.mean:.4f}"
            self._row(tuned, target, self._setting(best.params), recall, "", "", "")
            return
        params = tuned.params or {}
        recall = self._recall(params)
        if recall < target - SLACK:
            self._fails(f"{tuned.type} with {params}: {recall:.4f} on fresh queries, {target} was declared reached")
        p50, p99 = self._latency(params)
        self._row(
            tuned,
            target,
            self._setting(params),
            f"{recall:.4f}",
            f"{p50:.2f}",
            f"{p99:.2f}",
            f"{self._rate(params):.0f}",
        )

    def against_the_grid(self, target: float) -> None:
        """Every setting below the chosen one: none may pass on both halves, as the bisection took for granted."""
        tuning = Tuning(self.store, [self._asked], settled(RecallOptions, {"recall": target}), SILENT)
        tuned = tuning.tuned()
        cells, held, chose = tuning._grid, tuning._passes([0], "held out"), tuning._passes([0], "choice")
        assert len(cells.second) == 1, "for indexes with one parameter"
        tried = 0
        first = None
        for i in range(len(cells.first)):
            tried += 1
            if chose((i, 0)) and held((i, 0)):
                first = cells.setting((i, 0))
                break
        same = first == tuned.params
        print(
            f"{tuned.type}, target {target}: {tuned.searches} searches of a grid of {tuned.grid}; trying all from the "
            f"cheapest up took {tried} settings and chose {first}: {'the same' if same else f'not {tuned.params}'}",
            flush=True,
        )
        if not same:
            self._fails(f"{tuned.type}: the grid chose {first}, the bisection {tuned.params}")

    def filtered(self, target: float, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Recall under a filter with what was chosen without it, and what is chosen for it."""
        unfiltered = self._tuned(self._asked, target)
        asked = self._questions(self._queries, ONE_PERCENT)
        tuned = self._tuned(asked, target)
        truth = exact(self._fresh, self.rows[kept], np.flatnonzero(kept))
        before = self._recall(unfiltered.params or {}, ONE_PERCENT, truth)
        after = self._recall(tuned.params, ONE_PERCENT, truth) if tuned.params is not None else None
        said = "none reaches it" if tuned.params is None else self._setting(tuned.params)
        print(
            f"{tuned.type}, {ONE_PERCENT} keeps {kept.mean():.1%} of the rows: recall {before:.4f} with "
            f"{self._setting(unfiltered.params or {})}, chosen without the filter; {after} with {said}, chosen for it",
            flush=True,
        )
        if after is not None and after < target - SLACK:
            self._fails(f"{tuned.type} under a filter: {after:.4f}, {target} was declared reached")

    def _tuned(self, asked: Questions, target: float) -> Tuned:
        return Tuning(self.store, [asked], settled(RecallOptions, {"recall": target}), SILENT).tuned()

    def _questions(self, queries: Vectors, filter: str) -> Questions:
        [asked] = questions(self.store, shuffled(queries, 0), [filter], limit=LIMIT, device="cpu", tell=SILENT)
        return asked

    def _recall(self, params: Any, filter: str = "", truth: Neighbours | None = None) -> float:
        found = []
        for start in range(0, len(self._fresh), 250):
            part = self._fresh[start : start + 250]
            found += self.store.search(part, limit=LIMIT, filter=filter, params=params)
        return float(recalls(found, truth or self._truth, LIMIT).mean())

    def _latency(self, params: Any) -> tuple[float, float]:
        """p50 and p99 of 500 single queries, in ms."""
        seconds = []
        for i in range(520):
            began = time.perf_counter()
            self.store.search(self._fresh[i : i + 1], limit=LIMIT, params=params)
            seconds.append(time.perf_counter() - began)
        p50, p99 = np.percentile(seconds[20:], [50, 99]) * 1e3
        return float(p50), float(p99)

    def _rate(self, params: Any, each: int = 300) -> float:
        """Single queries a second, of two clients that each wait for their answer."""

        def client(number: int) -> None:
            for i in range(each):
                at = number * each + i
                self.store.search(self._fresh[at : at + 1], limit=LIMIT, params=params)

        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(client, range(2)))
        return 2 * each / (time.perf_counter() - began)

    def _row(self, tuned: Tuned, target: float, setting: str, *cells: str) -> None:
        build = self._setting(tuned.build)
        memory = f"{tuned.memory_bytes / 2**20:.0f}"
        rest = (*cells, memory, f"{self._seconds:.1f}", f"{tuned.searches} / {tuned.grid}")
        print(f"| {' | '.join((tuned.type, build, f'{target:.2f}', setting, *rest))} |", flush=True)

    def _fails(self, what: str) -> None:
        self.wrong.append(what)
        print(f"WRONG: {what}", flush=True)

    @staticmethod
    def _setting(params: Any) -> str:
        return ", ".join(f"{name} {value}" for name, value in params.items()) or "–"


def exact(queries: Vectors, rows: Vectors, positions: Sequence[int] | None = None) -> Neighbours:
    search = ExactSearch(queries, limit=LIMIT + MARGIN, metric_type="COSINE", device="cpu")
    where = range(len(rows)) if positions is None else positions
    for start in range(0, len(rows), 5000):
        search.add([id_of(int(at)) for at in where[start : start + 5000]], rows[start : start + 5000])
    return search.neighbours()


def data(rows: int) -> tuple[Vectors, Vectors]:
    found = real()
    if found is None:
        rng = np.random.default_rng(0)
        found = tuple(unit(rng.standard_normal((n, DIM)).astype(np.float32)) for n in (50_000, 10_000))
    return found[0][:rows], found[1]


@contextmanager
def backend(kind: str, folder: Path) -> Iterator[str]:
    if kind == "lite":
        yield str(folder / "bench.db")
        return
    with MilvusServer(folder / "milvus", lease=60) as server:
        yield server.uri


if __name__ == "__main__":
    main()
