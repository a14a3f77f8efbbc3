"""Recall and time of filtered searches by approximate indexes: by the index alone, and as searches are done.

    python tests/benchmarks/filtered.py [--backend server|lite] [--types HNSW,IVF_FLAT] [--rows 50000] [--queries 100]
                                        [--limit 10]

Milvus 2.3.5 from the `milvus` wheel in a process of its own, or Milvus Lite in a temporary folder. The rows are
IMGVEC_TEST_DATA's CIFAR-10 vectors, each with a random number below 1,000, and the filters keep 50, 20, 10, 1 and 0.1 %
of them by that number; without the data vectors are random, which no index likes. Recall is that of the nearest rows
that match, `--limit` of them, against exact search; "hits" is how many came, on average. "index alone" is what Milvus
finds by the default parameters (`nprobe` 8, `ef` 64), "now" is what `search` does. Single queries in turn, so that what
else a machine does slows both. Exit status 1 where searches by a graph, or by clusters where up to 10,000 rows match,
now find less than 0.95 of them (of random vectors, by a graph where up to 1 % match), or anywhere less than by the
index alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from index import TYPES, backend
from index_data import DIM, Vectors, fill, no_encoder, real, unit
from rows import id_of

from imgvec import ImageCollection, Settings
from imgvec.indexes.exact import ExactSearch
from imgvec.milvus import Store
from imgvec.stored import reach_of

KEPT = (500, 200, 100, 10, 1)
"""Of a thousand."""
WANTED, SLACK = 0.95, 0.02
DEFINITION = {
    "encoder": {"model": "none"},
    "dynamic": False,
    "fields": {"bucket": {"type": "INT64", "default": 0}},
    "index": {"cpu": {"type": "FLAT"}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["server", "lite"], default="server")
    parser.add_argument("--types", default="HNSW,IVF_FLAT")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--limit", type=int, default=10)
    args = parser.parse_args()
    rows, queries = data(args.rows, args.queries)
    buckets = np.random.default_rng(1).permutation(len(rows)) % 1000
    wrong, real_rows = [], real() is not None
    with tempfile.TemporaryDirectory() as folder, backend(args.backend, Path(folder)) as uri:
        settings = Settings.load(uri=uri, timeout=60)
        with ImageCollection.create(
            "bench_filtered", definition=DEFINITION, encoder=no_encoder(DIM), settings=settings
        ) as photos:
            fill(photos.store, rows, bucket=buckets)
            print(f"{photos.store.capabilities.name}, {len(rows):,} rows, {len(queries)} queries")
            print("| index | kept | rows | index alone: recall | hits | p50 ms | now: recall | hits | p50 ms | by |")
            print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
            for kind in args.types.split(","):
                photos.store.build_index(kind, TYPES[kind])
                for kept in KEPT:
                    wrong += compared(
                        photos.store, kind, kept, queries, rows, buckets < kept, limit=args.limit, real_rows=real_rows
                    )
    for each in wrong:
        print(f"WRONG: {each}")
    sys.exit(1 if wrong else 0)


def data(rows: int, queries: int) -> tuple[Vectors, Vectors]:
    found = real()
    if found is None:
        rng = np.random.default_rng(0)
        made = unit(rng.standard_normal((rows + queries, DIM)).astype(np.float32))
        return made[:rows], made[rows:]
    return found[0][:rows], found[1][:queries]


def compared(
    store: Store,
    kind: str,
    kept: int,
    queries: Vectors,
    rows: Vectors,
    matches: np.ndarray[Any, np.dtype[np.bool_]],
    *,
    limit: int,
    real_rows: bool,
) -> list[str]:
    """Prints a line of the table; what is wrong with it."""
    where, chosen = f"bucket < {kept}", np.flatnonzero(matches)
    exact = ExactSearch(queries, limit=limit, metric_type="COSINE")
    exact.add([id_of(int(row)) for row in chosen], rows[chosen])
    truth = exact.neighbours().ids
    spent: dict[bool, list[float]] = {False: [], True: []}
    hits: dict[bool, list[int]] = {False: [], True: []}
    shares: dict[bool, list[float]] = {False: [], True: []}
    by = ""
    for query, wanted in zip(queries, truth, strict=True):
        for thorough in (False, True):
            started = time.perf_counter()
            [found] = store.search(query[None], limit=limit, filter=where, output_fields=["uri"], thorough=thorough)
            spent[thorough].append(time.perf_counter() - started)
            hits[thorough].append(len(found))
            shares[thorough].append(len({hit.id for hit in found} & set(wanted)) / len(wanted))
            by = reach_of(found).by
    recall = {each: float(np.mean(shares[each])) for each in (False, True)}
    columns = [
        column
        for each in (False, True)
        for column in (f"{recall[each]:.4f}", f"{np.mean(hits[each]):.1f}", f"{1000 * np.median(spent[each]):.1f}")
    ]
    print(f"| {' | '.join([kind, f'{kept / 10:g} %', f'{len(chosen):,}', *columns, by])} |", flush=True)
    said = (
        f"{kind} under a filter that keeps {kept / 10:g} %: recall {recall[True]:.4f}, index alone {recall[False]:.4f}"
    )
    few = len(chosen) <= 10_000 if "IVF" in kind else kept <= 10 or real_rows
    return [said] if recall[True] < recall[False] - SLACK or (few and recall[True] < WANTED) else []


if __name__ == "__main__":
    main()
