"""What a search through imgvec costs beside the raw client, and a hundred in one call beside a hundred calls.

    python tests/benchmarks/search.py [--rows 20000] [--queries 400] [--uri URI]

Both search the same loaded collection by one vector with the same limit, parameters and output fields, alternating.
Vectors are the CIFAR-10 ones of IMGVEC_TEST_DATA where it is set, else random. Prints p50 and p99 of each; then the
medians of nine rounds of 100 vectors in one call and one by one, by imgvec and by the raw client, whose own gain is all
that there is to be had. The answers must be equal; where they are not, both are asked once more, since a server that
goes on compacting searches other graphs from one moment to the next. Exit status 1 where imgvec's p50 is above 1.15
times the raw client's, or one call is less than 8 times as fast as a hundred.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from index_data import DIM, fill, no_encoder
from index_data import vectors as unit_vectors
from pymilvus import MilvusClient

from imgvec import Answer, ImageCollection, Settings

AT_ONCE = 100
ROUNDS = 9
LIMIT = 10
EF = 64
Ids = list[str]
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

            def raw_many(queries: list[np.ndarray]) -> list[list[str]]:
                found = client.search(
                    "bench_search",
                    queries,
                    limit=LIMIT,
                    search_params=params,
                    output_fields=fields,
                    anns_field="vector",
                )
                return [[hit["id"] for hit in hits] for hits in found]

            def raw(query: np.ndarray) -> list[str]:
                return raw_many([query])[0]

            def through(query: np.ndarray) -> list[str]:
                return [hit.id for hit in photos.search(query, limit=LIMIT, params={"ef": EF}, output_fields=fields)]

            def through_many(queries: list[np.ndarray]) -> list[Answer]:
                return photos.search_many(queries, limit=LIMIT, params={"ef": EF}, output_fields=fields)

            spent: dict[str, list[float]] = {"raw client": [], "imgvec": []}
            repeated = 0

            def check(one: Ids, other: Ids, again: Callable[[], tuple[Ids, Ids]]) -> None:
                """Those of the two must be the same; a server that compacts in between is asked once more."""
                nonlocal repeated
                if one != other:
                    repeated += 1
                    one, other = again()
                    assert one == other, "the two find different rows"

            for i, query in enumerate(queries):
                pair = [("raw client", raw), ("imgvec", through)]
                answers = []
                for name, search in pair if i % 2 else reversed(pair):
                    started = time.perf_counter()
                    answers.append(search(query))
                    if i >= 20:  # the first ones warm up
                        spent[name].append(time.perf_counter() - started)
                check(*map(sorted, answers), lambda query=query: (sorted(raw(query)), sorted(through(query))))
            some = list(queries[:AT_ONCE])
            ways: dict[str, Callable[[], list[list[str]]]] = {
                "raw client, one by one": lambda: [raw(query) for query in some],
                "raw client, in one call": lambda: raw_many(some),
                "imgvec, one by one": lambda: [through(query) for query in some],
                "imgvec, in one call": lambda: [[hit.id for hit in each] for each in through_many(some)],
            }
            rounds: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                found = []
                for name, way in ways.items():
                    started = time.perf_counter()
                    found.append(way())
                    rounds[name].append(time.perf_counter() - started)
                for place, (alone, among) in enumerate(zip(*found[-2:], strict=True)):
                    check(
                        alone, among, lambda place=place: (through(some[place]), ways["imgvec, in one call"]()[place])
                    )
            photos.drop()

    print(
        f"{args.rows} rows, {len(queries) - 20} searches each, limit {LIMIT}, HNSW ef {EF}, {args.uri or 'Milvus Lite'}"
    )
    p50 = {name: float(np.percentile(found, 50)) for name, found in spent.items()}
    for name, found in spent.items():
        print(f"  {name:<10} p50 {p50[name] * 1e3:6.2f} ms   p99 {np.percentile(found, 99) * 1e3:6.2f} ms")
    ratio = p50["imgvec"] / p50["raw client"]
    print(f"  ratio of p50: {ratio:.2f} (wanted: at most 1.15)")
    medians = {name: float(np.median(each)) for name, each in rounds.items()}
    print(f"{AT_ONCE} vectors: " + ", ".join(f"{name} {each * 1e3:.1f} ms" for name, each in medians.items()))
    gains = {who: medians[f"{who}, one by one"] / medians[f"{who}, in one call"] for who in ("raw client", "imgvec")}
    print(f"  one call is {gains['imgvec']:.1f} times as fast (wanted: at least 8)")
    print(f"  by the raw client {gains['raw client']:.1f} times")
    print(f"  {repeated} pairs of answers were the same when asked again only")
    sys.exit(0 if ratio <= 1.15 and gains["imgvec"] >= 8 else 1)


if __name__ == "__main__":
    main()
