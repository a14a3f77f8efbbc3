"""What an index takes in the server's memory, beside the catalogue's estimate that `imgvec index plan` ranks by.

    python tests/benchmarks/index_memory.py [--rows 50000,200000] [--types HNSW,IVF_FLAT,IVF_SQ8]

Milvus 2.3.5 from the `milvus` wheel, in a process of its own. For each number of rows and each type the index is built
over the whole collection, the collection released and the server started again, so that nothing of building is left in
its memory; then the resident memory of its process is read before and after the collection is loaded.

An index's memory cannot be seen alone: loading brings the scalar fields as well. They are the same whatever the index,
so each type is also compared with the first: there the scalars and what the process keeps for itself cancel out, and
the difference must be that of the estimates. The rows are those of IMGVEC_TEST_DATA's CIFAR-10 vectors where it is set,
with more of them made by adding noise, else random.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from index_data import fill, no_encoder, vectors
from milvus_server import MilvusServer

from imgvec import ImageCollection, Settings, catalog

PARAMS: dict[str, dict[str, Any]] = {
    "HNSW": {"M": 16, "efConstruction": 100},
    "IVF_FLAT": {"nlist": 256},
    "IVF_SQ8": {"nlist": 256},
}
NAME = "bench_memory"
DEFINITION = {
    "encoder": {"model": "none"},
    "dynamic": False,
    "index": {"cpu": {"type": "IVF_FLAT", "params": {"nlist": 256}}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="50000,200000")
    parser.add_argument("--types", default=",".join(PARAMS))
    args = parser.parse_args()
    print("| rows | index | estimate | grew by | beyond the estimate | to the first, estimated | to the first, seen |")
    print("|---|---|---|---|---|---|---|")
    for rows in map(int, args.rows.split(",")):
        made = vectors(rows)
        first: tuple[float, float] | None = None
        with tempfile.TemporaryDirectory() as folder, MilvusServer(Path(folder) / "milvus", lease=30) as server:
            with opened(server) as photos:
                fill(photos.store, made)
            for kind in args.types.split(","):
                with opened(server) as photos:
                    photos.store.build_index(kind, PARAMS[kind])
                    photos.store.release()
                grew = loading(server)
                estimate = catalog.INDEX_TYPES[kind].memory(rows, made.shape[1], 4.0, PARAMS[kind])
                first = first or (estimate, grew)
                print(
                    f"| {rows:,} | {kind} | {mib(estimate)} | {mib(grew)} | {mib(grew - estimate)} "
                    f"| {mib(estimate - first[0])} | {mib(grew - first[1])} |",
                    flush=True,
                )


def opened(server: MilvusServer) -> ImageCollection:
    settings = Settings.load(uri=server.uri, timeout=60)
    return ImageCollection.create(
        NAME, definition=DEFINITION, encoder=no_encoder(vectors(1).shape[1]), settings=settings, exist_ok=True
    )


def loading(server: MilvusServer) -> float:
    """Bytes that the server's process grows by when it loads the collection, in a server that has just started."""
    server.stop()
    server.start()
    before = settled(server)
    with opened(server) as photos:  # opening loads
        photos.count()
        return settled(server) - before


def settled(server: MilvusServer) -> float:
    """The process's resident memory once it stopped changing; the least of the last seconds."""
    process = psutil.Process(server.pid)
    seen: list[int] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen.append(process.memory_info().rss)
        last = seen[-8:]
        if len(last) == 8 and max(last) - min(last) < 2 * 2**20:
            break
        time.sleep(0.5)
    return float(min(seen[-8:]))


def mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    main()
