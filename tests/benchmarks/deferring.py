"""An index that is there from the start of an import against one that waits for its end, on a server of its own.

    python tests/benchmarks/deferring.py [--rows 100000] [--rounds 2]

Milvus 2.3.5 from the `milvus` wheel, HNSW (M 16, efConstruction 200), vectors as in scale.py. Both ways in turn, each
until the server has nothing left to do: it looks for segments to compact once a minute, and builds their indexes again.
Printed: seconds of the import, until the index covers every row, and until the server is quiet, and the processor
seconds of the server. Exit status 1 where the index that waits costs the server more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import scale
from index import backend

import imgvec
from imgvec import ImageCollection, Settings
from imgvec.milvus import compaction

CALM, CALM_SECONDS, LONGEST = 0.25, 75, 1800
"""The server is quiet once it has used less than a quarter of a processor for longer than its minute."""


@dataclass
class Taken:
    """What one way took."""

    rows: int
    imported: float
    covered: float
    quiet: float
    processor: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    taken: dict[str, list[Taken]] = {"from the start": [], "at the end": []}
    with tempfile.TemporaryDirectory() as folder, backend("server", Path(folder)) as uri:
        made, _ = scale.files(Path(folder), args.rows, 10)
        for round_ in range(args.rounds):
            for way in list(taken)[:: 1 if round_ % 2 == 0 else -1]:
                compaction.FROM_ROWS = sys.maxsize if way == "from the start" else 1
                one = run(uri, made)
                taken[way].append(one)
                print(
                    f"{one.rows:,} rows, index {way}: imported in {one.imported:.1f} s, covered after "
                    f"{one.covered:.1f} s, quiet after {one.quiet:.1f} s; {one.processor:.0f} s of its processors",
                    flush=True,
                )
    processor = {way: statistics.median(one.processor for one in all_) for way, all_ in taken.items()}
    print(
        f"processor seconds, at the end / from the start: {processor['at the end'] / processor['from the start']:.2f}"
    )
    sys.exit(0 if processor["at the end"] <= processor["from the start"] else 1)


def run(uri: str, made: scale.Files) -> Taken:
    """An import into an empty collection."""
    definition = {**scale.DEFINITION, "index": {"cpu": {"type": "HNSW", "params": scale.PARAMS["HNSW"]}}}
    encoder = scale.Ready(made.fresh).encoder
    settings = Settings.load(uri=uri, timeout=300)
    with ImageCollection.create("deferring", definition=definition, encoder=encoder, settings=settings) as photos:
        before, started = processor_seconds(), time.monotonic()
        report = imgvec.import_vectors(photos, made.vectors, metadata=made.metadata)
        photos.store.flush()
        photos.store.wait_until_indexed(LONGEST)
        covered = time.monotonic() - started
        quiet = covered + until_quiet()
        taken = Taken(report.written, report.seconds, covered, quiet, processor_seconds() - before)
        photos.drop()
    return taken


def until_quiet() -> float:
    """Seconds from now on in which the server still worked."""
    started = worked = time.monotonic()
    last = processor_seconds()
    while time.monotonic() - worked < CALM_SECONDS and time.monotonic() - started < LONGEST:
        time.sleep(5)
        now = processor_seconds()
        if (now - last) / 5 >= CALM:
            worked = time.monotonic()
        last = now
    return worked - started


def processor_seconds() -> float:
    """Of this process's children: the server."""
    children = psutil.Process().children(recursive=True)
    return sum(sum(child.cpu_times()[:2]) for child in children)


if __name__ == "__main__":
    main()
