"""How near exact search comes to the machine's fp32 matrix peak, and in how much memory.

    python tests/benchmarks/exact.py [--queries 10000] [--rows 50000] [--rounds 5] [--device cpu]

The vectors are the CIFAR-10 ones of IMGVEC_TEST_DATA where it is set, else random. The peak is that of a large
`torch.mm` of the same type, measured in turns with the search; both in 2 * multiply-adds a second of wall time, medians
over the rounds. Memory is the growth of the process's peak beyond what it held before the search (with its vectors).
Prints the share of the peak; exit status 1 below 0.60, or above 1 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

from imgvec.indexes.exact import ExactSearch

DIM, LIMIT = 384, 10
WANTED_SHARE, MAX_BYTES = 0.60, 10**9
SIDE, PRODUCTS = 4096, 3
"""About the work of the search."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    after_imports = psutil.Process().memory_info().rss
    vectors = _vectors(args.rows + args.queries)
    rows, queries = vectors[: args.rows], vectors[args.rows :]
    ids = [f"{i:032x}" for i in range(len(rows))]

    def search() -> None:
        found = ExactSearch(queries, limit=LIMIT, metric_type="COSINE", device=args.device)
        found.add(ids, rows)
        assert len(found.neighbours().ids[-1]) == LIMIT

    held = psutil.Process().memory_info().rss
    search()
    peak_bytes = _peak_rss()
    left, right = (torch.randn(SIDE, SIDE, device=args.device) for _ in range(2))
    product = torch.empty(SIDE, SIDE, device=args.device)
    cuda = args.device != "cpu"

    def multiply() -> None:
        for _ in range(PRODUCTS):
            torch.mm(left, right, out=product)
        if cuda:
            torch.cuda.synchronize()

    multiply()
    work = 2 * len(queries) * len(rows) * DIM
    peaks, rates = [], []
    for _ in range(args.rounds):
        peaks.append(2 * PRODUCTS * SIDE**3 / _seconds(multiply))
        rates.append(work / _seconds(search))
    peak, rate = statistics.median(peaks), statistics.median(rates)
    share, grown = rate / peak, peak_bytes - held
    where = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} threads"
    print(f"{len(queries):,} queries x {len(rows):,} rows x {DIM}, {where}: {work / rate:.2f} s")
    print(f"  {rate / 1e9:,.0f} of {peak / 1e9:,.0f} GFLOP/s: {share:.2f} of the peak (wanted: {WANTED_SHARE})")
    print(f"  rounds: {', '.join(f'{r / p:.2f}' for r, p in zip(rates, peaks, strict=True))}")
    print(
        f"  memory: {grown / 1e6:,.0f} MB for the search (wanted: below {MAX_BYTES / 1e6:,.0f}); the process "
        f"{peak_bytes / 1e6:,.0f} MB, of that {after_imports / 1e6:,.0f} MB after its imports"
    )
    sys.exit(0 if share >= WANTED_SHARE and peak_bytes - after_imports < MAX_BYTES else 1)


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _peak_rss() -> int:
    """The most that this process ever held, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no peak memory is told here: Linux is")


def _vectors(count: int) -> np.ndarray:
    data = os.environ.get("IMGVEC_TEST_DATA")
    if data:
        stored = np.load(Path(data) / "vectors_cifar10.npy", mmap_mode="r")
        if len(stored) >= count:
            return stored[:count].astype(np.float32)
    made = np.random.default_rng(0).standard_normal((count, DIM), dtype=np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
