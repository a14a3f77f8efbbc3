"""What a search by vector costs by a collection's name and by an alias, beside its searcher alone, alternating.

    python tests/benchmarks/names.py [--rows 2000] [--queries 2000] [--uri URI]

The searcher alone is what a search was before handles could follow an alias. Prints the median of each in milliseconds;
exit status 1 where another is above 1.05 times the searcher's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from index_data import DIM, fill, no_encoder
from index_data import vectors as unit_vectors

import imgvec
from imgvec import ImageCollection, Settings
from imgvec.search.guessing import guessed
from imgvec.vectors import Vectors

DEFINITION = {"encoder": {"model": "none"}, "dynamic": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    vectors = unit_vectors(args.rows + args.queries)
    rows, queries = vectors[: args.rows], vectors[args.rows :]

    with tempfile.TemporaryDirectory() as work:
        settings = Settings.load(uri=args.uri or str(Path(work) / "names.db"))
        with ImageCollection.create(
            "bench_names", definition=DEFINITION, encoder=no_encoder(DIM), settings=settings
        ) as photos:
            fill(photos.store, rows)
            photos.store.wait_until_indexed(300)
            time.sleep(11)  # for so long reads wait for this client's own writes
            imgvec.set_alias(photos, "bench_alias")
            aliased, searcher = ImageCollection.open("bench_alias", settings=settings), photos.handle.target.searcher
            ways: list[tuple[str, Callable[[Vectors], object]]] = [
                ("searcher", lambda query: searcher.search([guessed(query)], limit=10)[0]),
                ("name", lambda query: photos.search(query, limit=10)),
                ("alias", lambda query: aliased.search(query, limit=10)),
            ]
            seconds: dict[str, list[float]] = {name: [] for name, _ in ways}
            for number, query in enumerate(queries):
                for name, search in ways[number % 3 :] + ways[: number % 3]:
                    started = time.perf_counter()
                    search(query)
                    seconds[name].append(time.perf_counter() - started)
            found = {name: 1000 * median(each[len(each) // 10 :]) for name, each in seconds.items()}
            print({name: round(each, 3) for name, each in found.items()}, flush=True)
            imgvec.drop_alias(photos, "bench_alias")
            photos.drop()
    sys.exit(max(found.values()) > 1.05 * found["searcher"])


if __name__ == "__main__":
    main()
