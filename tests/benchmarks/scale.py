"""How every long operation grows from ten thousand rows to a million, on a server of its own.

    python tests/benchmarks/scale.py [--rows 10000,100000,1000000] [--type HNSW] [--clients 1,8,32] [--new 2000]
                                     [--only import,search,…]

Milvus 2.3.5 from the `milvus` wheel in a process of its own. The vectors are made from IMGVEC_TEST_DATA's 60,000 of
CIFAR-10 (384 dimensions): each is a real one moved by a part of the difference of two others, so that its directions
vary as theirs do; without that folder they are random. Each row names a file of a folder, which is empty, as pruning
looks at names alone. What is timed, in this order:

    import     `import_vectors` of an .npy file with metadata from Parquet, into a collection without a graph
    seal       until the server has sealed all of it
    build      `build_index`, until the index covers every row
    load       after a release
    search     `search` by vectors that are not stored, limit 10, by so many clients at once (threads): p50 and p99
    ingest     `ingest` of `--new` pictures, whose vectors are ready, into what is there; then again, unchanged
    count, count of 1 %, scan of all ids, export to Parquet, verify, tune (recall 0.95, default queries)
    delete     `delete_where` of 1 % of the rows
    prune      `prune` of the folder, from which 1 % of the files were removed

For each: seconds, the growth of this process's memory while it ran, and by how much the seconds grew from one size to
the next, divided by how much the rows did: 1.0 is linear, less is better. Exit status 1 where rows are missing at the
end, or where memory grew by more than `--memory` MiB in anything but tuning, which holds its queries' exact neighbours.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from index import backend
from index_data import DIM, Vectors, real, unit
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

import imgvec
from imgvec import CallableEncoder, ImageCollection, Settings

LIMIT, RECALL, CHUNK, SIDE = 10, 0.95, 50_000, 8
PARAMS: dict[str, dict[str, Any]] = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": {"nlist": 1024},
    "FLAT": {},
}
DEFINITION = {
    "encoder": {"model": "ready"},
    "dynamic": False,
    "fields": {"bucket": {"type": "INT64", "default": -1}},
    "index": {"cpu": {"type": "FLAT"}},
}
ONE_PERCENT = "bucket == 7"
UNBOUNDED = ("tune",)
"""What may take memory in proportion to its own size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--type", choices=list(PARAMS), default="HNSW")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--new", type=int, default=2000)
    parser.add_argument("--memory", type=int, default=512, help="MiB by which an operation may grow this process")
    parser.add_argument("--only", default="", help="leave out all other steps that can be left out")
    args = parser.parse_args()
    sizes = [int(each) for each in args.rows.split(",")]
    clients = [int(each) for each in args.clients.split(",")]
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder, backend("server", Path(folder)) as uri:
        for rows in sizes:
            with tempfile.TemporaryDirectory(dir=folder) as work:
                run = Run(rows, uri, Path(work), args.type, clients, args.new, set(filter(None, args.only.split(","))))
                run.all()
                runs.append(run)
    report(runs)
    wrong = [found for run in runs for found in run.wrong(args.memory)]
    for found in wrong:
        print(f"WRONG: {found}")
    sys.exit(1 if wrong else 0)


@dataclass
class Step:
    """What one operation took at one size."""

    seconds: float
    grown: float
    """MiB by which this process's memory grew at most while it ran."""
    note: str = ""


@dataclass
class Run:
    """All operations on a collection of so many rows."""

    rows: int
    uri: str
    work: Path
    type: str
    clients: list[int]
    new: int
    only: set[str]
    steps: dict[str, Step] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def all(self) -> None:
        made, queries = files(self.work, self.rows, self.new)
        ready = Ready(made.fresh)
        name, settings = f"scale_{self.rows}", Settings.load(uri=self.uri, timeout=300)
        with ImageCollection.create(name, definition=DEFINITION, encoder=ready.encoder, settings=settings) as photos:
            self.filled(photos, made)
            self.searched(photos, queries)
            self.ingested(photos, ready)
            self.read(photos)
            self.reduced(photos, made)
            photos.drop()

    def filled(self, photos: ImageCollection, made: Files) -> None:
        report = self.step("import", lambda: imgvec.import_vectors(photos, made.vectors, metadata=made.metadata))
        self.expect("written", report.written, self.rows)
        self.step("seal", photos.store.flush)
        timeout = 4 * 3600.0
        self.step("build", lambda: imgvec.build_index(photos, self.type, PARAMS[self.type], timeout=timeout))
        self.expect("rows after the build", photos.count(), self.rows)
        photos.store.release()
        self.step("load", photos.store.load)

    def searched(self, photos: ImageCollection, queries: Vectors) -> None:
        for clients in self.clients:
            if not self.wanted("search"):
                continue
            asked = queries[: max(200, 50 * clients)]
            for query in asked[:20]:  # the first ones warm up
                photos.search(query, limit=LIMIT)
            spent: list[float] = []

            def ask(query: Vectors, spent: list[float] = spent) -> None:
                started = time.perf_counter()
                found = photos.search(query, limit=LIMIT)
                spent.append(time.perf_counter() - started)
                assert len(found) == LIMIT

            def together(clients: int = clients, asked: Vectors = asked, ask: Callable[[Vectors], None] = ask) -> None:
                with ThreadPoolExecutor(clients) as pool:
                    list(pool.map(ask, asked))

            step = self.timed(together)
            p50, p99 = (float(np.percentile(spent, share)) * 1e3 for share in (50, 99))
            note = f"p99 {p99:.1f} ms, {len(asked) / step.seconds:,.0f} a second"
            self.steps[f"search, {clients} at once: p50"] = Step(p50 / 1e3, step.grown, note)
            say(self.rows, f"search, {clients} at once", f"p50 {p50:.1f} ms, {note}")

    def ingested(self, photos: ImageCollection, ready: Ready) -> None:
        if not self.wanted("ingest"):
            return
        report = self.step(f"ingest of {self.new:,} more", lambda: photos.ingest(ready.pictures()))
        self.expect("ingested", report.written, self.new)
        report = self.step("the same, unchanged", lambda: photos.ingest(ready.pictures()))
        self.expect("unchanged", report.unchanged, self.new)

    def read(self, photos: ImageCollection) -> None:
        steps: dict[str, Callable[[], Any]] = {
            "count": photos.count,
            "count of 1 %": lambda: photos.count(ONE_PERCENT),
            "scan of ids": lambda: sum(len(some) for some in photos.store.scan(["id"])),
            "export": lambda: imgvec.export_vectors(photos, self.work / "all.parquet"),
            "verify": lambda: imgvec.verify(photos),
            "tune": lambda: imgvec.tune(photos, recall=RECALL),
        }
        found = {name: self.step(name, call) for name, call in steps.items() if self.wanted(name.split()[0])}
        stored = self.rows + (self.new if self.wanted("ingest") else 0)
        for name in ("count", "scan of ids"):
            if name in found:
                self.expect(name, found[name], stored)
        if "export" in found:
            self.expect("exported", pq.read_metadata(self.work / "all.parquet").num_rows, stored)
        if "verify" in found:
            self.steps["verify"].note = f"recall {found['verify'].recall.mean:.4f}" if found["verify"].recall else ""
            self.expect("verified", int(found["verify"].ok), 1)
        if "tune" in found:
            self.steps["tune"].note = f"{found['tune'].params}" if found["tune"].reached else "not reached"

    def reduced(self, photos: ImageCollection, made: Files) -> None:
        before = photos.count()
        if self.wanted("delete"):
            held = photos.count(ONE_PERCENT)
            deleted = self.step("delete of 1 %", lambda: photos.delete_where(ONE_PERCENT))
            self.expect("deleted", deleted, held)
            before -= held
        if self.wanted("prune"):
            gone = made.remove_every(100)
            pruned = self.step("prune of 1 %", lambda: photos.prune(made.photos))
            self.expect("rows in the end", photos.count(), before - pruned)
            # every hundredth file is of bucket 0, so none was deleted above
            self.expect("pruned", pruned, gone)

    def wanted(self, name: str) -> bool:
        return not self.only or name in self.only

    def step(self, name: str, call: Callable[[], Any]) -> Any:
        kept: list[Any] = []
        step = self.steps[name] = self.timed(lambda: kept.append(call()))
        say(self.rows, name, f"{step.seconds:.2f} s, {step.grown:+.0f} MiB")
        return kept[0]

    def timed(self, call: Callable[[], Any]) -> Step:
        with Memory() as memory:
            started = time.perf_counter()
            call()
            seconds = time.perf_counter() - started
        return Step(seconds, memory.grown)

    def expect(self, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            self.missing.append(f"{self.rows:,} rows: {what} {found:,}, not {wanted:,}")

    def wrong(self, memory: int) -> Iterator[str]:
        yield from self.missing
        for name, step in self.steps.items():
            if step.grown > memory and name not in UNBOUNDED:
                yield f"{self.rows:,} rows: {name} took {step.grown:.0f} MiB of this process's memory"


class Memory:
    """By how many MiB this process grew at most within the block, without the pages of files that it maps: the kernel
    takes those back when it wants to, and of a mapped array all of them are there once it was read."""

    def __init__(self) -> None:
        self.grown = 0.0
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._before = self._own()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _own(self) -> int:
        now = self._process.memory_info()
        return int(now.rss - now.shared)

    def _watch(self) -> None:
        while True:
            self.grown = max(self.grown, (self._own() - self._before) / 2**20)
            if self._done.wait(0.05):
                return


@dataclass
class Files:
    """What is imported, and the folder of pictures that it names."""

    vectors: Path
    metadata: Path
    photos: Path
    rows: int
    fresh: Vectors

    def path(self, row: int) -> Path:
        return self.photos / f"{row // 1000:04}" / f"{row:07}.jpg"

    def remove_every(self, step: int) -> int:
        """Remove every so manieth file; returns how many."""
        rows = range(0, self.rows, step)
        for row in rows:
            self.path(row).unlink()
        return len(rows)


def files(work: Path, rows: int, new: int) -> tuple[Files, Vectors]:
    """The files of that many rows, and 2,000 queries that are not among them."""
    made = Files(work / "vectors.npy", work / "rows.parquet", work / "photos", rows, vectors(new, seed=1))
    stored = open_memmap(made.vectors, mode="w+", dtype=np.float32, shape=(rows, DIM))
    for start in range(0, rows, CHUNK):
        stop = min(rows, start + CHUNK)
        stored[start:stop] = vectors(stop - start, seed=1000 + start)
    stored.flush()
    for row in range(rows):
        if row % 1000 == 0:
            made.path(row).parent.mkdir(parents=True)
        made.path(row).touch()
    paths = [os.fspath(made.path(row)) for row in range(rows)]
    pq.write_table(pa.table({"path": paths, "bucket": np.arange(rows) % 100}), made.metadata)
    return made, vectors(2000, seed=2)


_base: list[Vectors] = []


def vectors(rows: int, seed: int) -> Vectors:
    """(rows, 384) float32 unit vectors: real ones, each moved by 0.4 of the difference of two others."""
    rng = np.random.default_rng(seed)
    if not _base:
        found = real()
        _base.append(np.concatenate(found) if found else unit(rng.standard_normal((60_000, DIM)).astype(np.float32)))
    base = _base[0]
    one, other, third = (base[rng.integers(0, len(base), rows)] for _ in range(3))
    return unit(one + np.float32(0.4) * (other - third))


class Ready:
    """Pictures that say which of the vectors is theirs, and an encoder that reads it."""

    def __init__(self, made: Vectors) -> None:
        self._made = made
        self.encoder = CallableEncoder(self._encode, name="ready", version="1", image_size=SIDE)

    def pictures(self) -> Iterator[tuple[str, NDArray[np.uint8], dict[str, Any]]]:
        for number in range(len(self._made)):
            pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
            pixels[..., 0], pixels[..., 1] = number // 256, number % 256
            yield f"new-{number}", pixels, {}

    def _encode(self, pixels: NDArray[np.uint8]) -> Vectors:
        corner = pixels[:, 0, 0].astype(np.int64)
        # a grey picture is encoded once, to learn the length of its vector
        return self._made[(corner[:, 0] * 256 + corner[:, 1]) % len(self._made)]


def say(rows: int, name: str, text: str) -> None:
    print(f"{rows:>9,} rows  {name:<24} {text}", flush=True)


def report(runs: list[Run]) -> None:
    """The table, in Markdown."""
    pairs = list(pairwise(runs))
    heads = [f"{run.rows:,} rows" for run in runs] + [f"growth to {after.rows:,}" for _, after in pairs]
    print(f"\n| operation | {' | '.join(heads)} | memory | |")
    print("|---" * (len(heads) + 3) + "|")
    for name, last in runs[-1].steps.items():
        cells = [seconds(run.steps[name].seconds) for run in runs]
        for before, after in pairs:
            growth = after.steps[name].seconds / before.steps[name].seconds
            cells.append(f"{growth / (after.rows / before.rows):.2f}")
        print(f"| {name} | {' | '.join(cells)} | {last.grown:+.0f} MiB | {last.note} |")


def seconds(spent: float) -> str:
    return f"{spent * 1e3:.1f} ms" if spent < 1 else f"{spent:.1f} s"


if __name__ == "__main__":
    main()
