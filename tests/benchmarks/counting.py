"""How long facets, a histogram, an order and a count under a filter take on a whole collection, and what queries feel.

    python tests/benchmarks/counting.py [--rows 100000] [--rounds 3] [--uri URI]

Random vectors of 384 dimensions with an album, tags and a date, on Milvus Lite or a server. Each thing is done in turn
as it is and "by Milvus": as rows were read before, by 1,000 from a server, and asked of Milvus Lite itself instead of
taken from its columns. Both must say the same. Then the p50 and p99 of searches by stored id, alone and while facets
are counted without a pause, again by both. Exits with 1 where two answers differ, facets take longer than 3 s, or the
p50 of a search beside them more than 3 times that of one alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from index_data import DIM, no_encoder, unit
from rows import row

from imgvec import ImageCollection, Settings
from imgvec.milvus import paging
from imgvec.milvus.lite_rows import LiteRows
from imgvec.search.forms import StoredId
from imgvec.search.histogram import histogram
from imgvec.search.listing import listed

FIELDS = {
    "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
    "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_length": 32, "max_capacity": 8, "default": []},
    "taken_at": {"type": "INT64", "format": "unix_ms", "default": -1},
}
DEFINITION = {"encoder": {"model": "none"}, "index": {"cpu": {"type": "FLAT"}}, "fields": FIELDS}
MOST_SECONDS, MOST_SLOWER = 3.0, 3.0
WHERE = "taken_at < 1600000000000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uri")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        settings = Settings.load(uri=args.uri or str(Path(work) / "counting.db"))
        with ImageCollection.create(
            "bench_counting", definition=DEFINITION, encoder=no_encoder(DIM), settings=settings
        ) as photos:
            try:
                ids = filled(photos, args.rows)
                good = compared(photos, args.rounds)
                good = beside(photos, ids) and good
            finally:
                photos.drop()
    print("as wanted" if good else "NOT as wanted")
    sys.exit(0 if good else 1)


def filled(photos: ImageCollection, rows: int) -> list[str]:
    rng, ids = np.random.default_rng(0), [hashlib.md5(str(number).encode()).hexdigest() for number in range(rows)]
    for start in range(0, rows, 5000):
        some = ids[start : start + 5000]
        made = [
            row(
                each,
                album=f"album {rng.integers(40)}",
                tags=[f"t{tag}" for tag in sorted(set(rng.integers(0, 30, 3).tolist()))],
                taken_at=int(1.5e12 + rng.integers(0, 2e11)),
            )
            for each in some
        ]
        photos.store.upsert(made, unit(rng.standard_normal((len(some), DIM)).astype(np.float32)))
    photos.store.flush()
    return ids


@contextmanager
def by_milvus(photos: ImageCollection) -> Iterator[None]:
    """Rows are read as they were before."""
    page = paging._PAGE if photos.store.link.is_lite else 1000
    with mock.patch.object(LiteRows, "live", return_value=None), mock.patch.object(paging, "_PAGE", page):
        yield


def compared(photos: ImageCollection, rounds: int) -> bool:
    store = photos.store
    looks: dict[str, Callable[[], Any]] = {
        "facets of two fields": lambda: photos.facets(["album", "tags"]),
        "the same under a filter": lambda: photos.facets(["album", "tags"], WHERE),
        "histogram of a date": lambda: histogram(store, "taken_at", "", 64),
        "the newest hundred": lambda: listed(store, "", ["uri"], limit=100, after=None, order_by="-taken_at").rows,
        "the first hundred": lambda: listed(store, "", ["uri"], limit=100, after=None, order_by=None).rows,
        "count under a filter": lambda: photos.count(WHERE),
    }
    good = True
    for name, look in looks.items():
        before, now = [], []
        for _ in range(rounds):
            with by_milvus(photos):
                seconds, there = timed(look)
            before.append(seconds)
            seconds, here = timed(look)
            now.append(seconds)
            if here != there:
                print(f"{name}: the answers DIFFER")
                good = False
        if name.startswith("facets") and np.median(now) > MOST_SECONDS:
            good = False
        print(f"{name:24} by Milvus {np.median(before):7.2f} s   now {np.median(now):6.2f} s", flush=True)
    return good


def timed(look: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = look()
    return time.perf_counter() - started, found


def beside(photos: ImageCollection, ids: list[str]) -> bool:
    """What searches by stored id feel of facets that are counted."""
    alone = searched(photos, ids)
    with by_milvus(photos), counting(photos):
        before = searched(photos, ids)
    with counting(photos):
        now = searched(photos, ids)
    for name, found in (("alone", alone), ("beside facets by Milvus", before), ("beside facets now", now)):
        p50, p99 = 1000 * np.median(found), 1000 * np.quantile(found, 0.99)
        print(f"search by stored id, {name:24} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   ({len(found)})", flush=True)
    return bool(np.median(now) <= MOST_SLOWER * np.median(alone))


def searched(photos: ImageCollection, ids: list[str], seconds: float = 10.0) -> list[float]:
    rng, found, until = np.random.default_rng(1), [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        query = StoredId(ids[int(rng.integers(len(ids)))])
        found.append(timed(lambda query=query: photos.search(query, limit=20))[0])
    return found


@contextmanager
def counting(photos: ImageCollection) -> Iterator[None]:
    """Facets are counted again and again."""
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            photos.facets(["album", "tags"])

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
