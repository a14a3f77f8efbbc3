"""What a search through imgvec costs beside the raw client, and a hundred in one call beside a hundred calls.

    python tests/benchmarks/search.py [--rows 20000] [--queries 400] [--uri URI]

Both search the same loaded collection by one vector with the same limit, parameters and output fields, alternating.
Vectors are the CIFAR-10 ones of IMGVEC_TEST_DATA where it is set, else random. Prints p50 and p99 of each; then the
median of five rounds of 100 vectors by `search_many` and one by one, whose answers must be equal. Exit status 1 where
imgvec's p50 is above 1.15 times the raw client's, or one call is less than 8 times as fast as a hundred.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from index_data import DIM, fill, no_encoder
from index_data import vectors as unit_vectors
from pymilvus import MilvusClient

from imgvec import ImageCollection, Settings

AT_ONCE = 100
ROUNDS = 5
LIMIT = 10
EF = 64
DEFINITION = {"encoder": {"model": "none"}, "dynamic": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    vectors = unit_vectors(args.rows + args.queries)
    rows, queries = vectors[: args.rows], vectors[args.rows :]

    with tempfile.TemporaryDirectory() as work:
        settings = Settings.load(uri=args.uri or str(Path(work) / "search.db"))
        encoder = no_encoder(DIM)
        with ImageCollection.create(
            "bench_search", definition=DEFINITION, encoder=encoder, settings=settings
        ) as photos:
            fill(photos.store, rows)
            photos.store.wait_until_indexed(300)
            fields = [name for name in photos.store.fields if name != "id"]
            # the same connection, since nobody else may open a Milvus Lite file
            client: MilvusClient = photos.store.link.client
            params = {"metric_type": "COSINE", "params": {"ef": EF}}

            def raw(query: np.ndarray) -> list[str]:
                found = client.search(
                    "bench_search",
                    [query],
                    limit=LIMIT,
                    search_params=params,
                    output_fields=fields,
                    anns_field="vector",
                )
                return [hit["id"] for hit in found[0]]

            def through(query: np.ndarray) -> list[str]:
                return [hit.id for hit in photos.search(query, limit=LIMIT, params={"ef": EF}, output_fields=fields)]

            spent: dict[str, list[float]] = {"raw client": [], "imgvec": []}
            for i, query in enumerate(queries):
                pair = [("raw client", raw), ("imgvec", through)]
                answers = []
                for name, search in pair if i % 2 else reversed(pair):
                    started = time.perf_counter()
                    answers.append(search(query))
                    if i >= 20:  # the first ones warm up
                        spent[name].append(time.perf_counter() - started)
                assert set(answers[0]) == set(answers[1]), "the two found different rows"
            rounds: dict[str, list[float]] = {"one by one": [], "in one call": []}
            some = list(queries[:AT_ONCE])
            for _ in range(ROUNDS):
                started = time.perf_counter()
                alone = [photos.search(query, limit=LIMIT, params={"ef": EF}, output_fields=fields) for query in some]
                between = time.perf_counter()
                whole = photos.search_many(some, limit=LIMIT, params={"ef": EF}, output_fields=fields)
                rounds["in one call"].append(time.perf_counter() - between)
                rounds["one by one"].append(between - started)
                assert [[hit.id for hit in each] for each in alone] == [[hit.id for hit in each] for each in whole]
            photos.drop()

    print(
        f"{args.rows} rows, {len(queries) - 20} searches each, limit {LIMIT}, HNSW ef {EF}, {args.uri or 'Milvus Lite'}"
    )
    p50 = {name: float(np.percentile(found, 50)) for name, found in spent.items()}
    for name, found in spent.items():
        print(f"  {name:<10} p50 {p50[name] * 1e3:6.2f} ms   p99 {np.percentile(found, 99) * 1e3:6.2f} ms")
    ratio = p50["imgvec"] / p50["raw client"]
    print(f"  ratio of p50: {ratio:.2f} (wanted: at most 1.15)")
    medians = {name: float(np.median(found)) for name, found in rounds.items()}
    faster = medians["one by one"] / medians["in one call"]
    print(f"{len(some)} vectors: " + ", ".join(f"{name} {spent * 1e3:.1f} ms" for name, spent in medians.items()))
    print(f"  one call is {faster:.1f} times as fast (wanted: at least 8)")
    sys.exit(0 if ratio <= 1.15 and faster >= 8 else 1)


if __name__ == "__main__":
    main()
