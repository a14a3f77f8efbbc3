"""What awaiting a search costs beside the plain call, and what 32 of them at once bring.

    python tests/benchmarks/awaited.py [--rows 20000] [--queries 256] [--rounds 5] [--uri URI]

Searches one loaded collection by vector: one after another by `photos.search`, the same awaited one at a time, 32 at
once, and as one `search_many`; beside them pymilvus's own `AsyncMilvusClient`, one at a time and 32 at once, with the
same parameters and fields. The plain and the awaited call take turns, query by query, and the rest do so round by
round; their answers must have 98 % of their rows in common. Vectors are the CIFAR-10 ones of IMGVEC_TEST_DATA where it
is set, else random. Exit status 1 where the awaited p50 is above 1.1 times the plain one's, or, on a server, 32 at once
have less than twice the throughput of plain calls one after another. Milvus Lite computes in this process, so nothing
is gained there.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from index_data import DIM, fill, no_encoder
from index_data import vectors as unit_vectors
from pymilvus import AsyncMilvusClient

from imgvec import AsyncImageCollection, ImageCollection, Settings

AT_ONCE = 32
LIMIT = 10
EF = 64
DEFINITION = {"encoder": {"model": "none"}, "dynamic": False}
Search = Callable[[Any], Awaitable[list[str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    vectors = unit_vectors(args.rows + args.queries)
    rows, queries = vectors[: args.rows], list(vectors[args.rows :])

    with tempfile.TemporaryDirectory() as work:
        settings = Settings.load(uri=args.uri or str(Path(work) / "awaited.db"))
        photos = ImageCollection.create(
            "bench_awaited", definition=DEFINITION, encoder=no_encoder(DIM), settings=settings
        )
        try:
            fill(photos.store, rows)
            photos.store.wait_until_indexed(300)
            good = asyncio.run(measured(photos, queries, args.rounds, args.uri))
        finally:
            photos.drop()
            photos.close()
    sys.exit(0 if good else 1)


async def measured(photos: ImageCollection, queries: list[Any], rounds: int, uri: str | None) -> bool:
    """Measure and print; whether what is wanted is reached."""
    fields = [name for name in photos.store.fields if name != "id"]
    options: dict[str, Any] = {"limit": LIMIT, "params": {"ef": EF}, "output_fields": fields}
    awaited = AsyncImageCollection(photos, at_once=AT_ONCE)
    lite = photos.store.link.database._lite
    client = AsyncMilvusClient(uri or (lite.uri if lite else ""))
    sent = {"metric_type": "COSINE", "params": {"ef": EF}}

    async def plain(query: Any) -> list[str]:
        return [hit.id for hit in photos.search(query, **options)]

    async def through(query: Any) -> list[str]:
        return [hit.id for hit in await awaited.search(query, **options)]

    async def raw(query: Any) -> list[str]:
        found = await client.search(
            "bench_awaited", [query], limit=LIMIT, search_params=sent, output_fields=fields, anns_field="vector"
        )
        return [hit["id"] for hit in found[0]]

    for search in (plain, through, raw):  # warm, with all threads
        await at_once(search, queries[: 2 * AT_ONCE])
    await settled(plain, queries)
    taken: dict[str, list[float]] = {"plain": [], "awaited": []}
    rates: dict[str, list[float]] = {}
    for number in range(rounds):
        for i, query in enumerate(queries):
            pair = [("plain", plain), ("awaited", through)]
            for name, search in pair if i % 2 else reversed(pair):
                started = time.perf_counter()
                await search(query)
                taken[name].append(time.perf_counter() - started)
        contenders: list[tuple[str, Callable[[], Awaitable[list[list[str]]]]]] = [
            ("plain, one by one", lambda: one_by_one(plain, queries)),
            ("awaited, 32 at once", lambda: at_once(through, queries)),
            ("AsyncMilvusClient, one by one", lambda: one_by_one(raw, queries)),
            ("AsyncMilvusClient, 32 at once", lambda: at_once(raw, queries)),
            ("one search_many", lambda: many(awaited, queries, options)),
        ]
        answers = []
        for name, run in contenders if number % 2 else reversed(contenders):
            started = time.perf_counter()
            answers.append(await run())
            rates.setdefault(name, []).append(len(queries) / (time.perf_counter() - started))
        least = min(shared(each, answers[0]) for each in answers)
        assert least > 0.98, f"two of them have {least:.0%} of their rows in common"
    await client.close()
    return report(taken, rates, uri)


async def settled(search: Search, queries: list[Any]) -> None:
    """Wait until answers stay as they are: query nodes of Milvus 2.3 take an index up some time after it was built."""
    before = await one_by_one(search, queries)
    for _ in range(12):
        await asyncio.sleep(5)
        now = await one_by_one(search, queries)
        if shared(now, before) > 0.99:
            return
        before = now


def shared(some: list[list[str]], others: list[list[str]]) -> float:
    """The share of rows that two runs have in common: an HNSW index that is moved meanwhile finds a few others."""
    return float(np.mean([len({*one} & {*other}) / LIMIT for one, other in zip(some, others, strict=True)]))


async def one_by_one(search: Search, queries: list[Any]) -> list[list[str]]:
    return [await search(query) for query in queries]


async def at_once(search: Search, queries: list[Any]) -> list[list[str]]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def in_turn(query: Any) -> list[str]:
        async with turn:
            return await search(query)

    return await asyncio.gather(*map(in_turn, queries))


async def many(awaited: AsyncImageCollection, queries: list[Any], options: Any) -> list[list[str]]:
    return [[hit.id for hit in answer] for answer in await awaited.search_many(queries, **options)]


def report(taken: dict[str, list[float]], rates: dict[str, list[float]], uri: str | None) -> bool:
    p50 = {name: float(np.median(found)) for name, found in taken.items()}
    ratio = p50["awaited"] / p50["plain"]
    print(f"{uri or 'Milvus Lite'}, limit {LIMIT}, HNSW ef {EF}, {len(taken['plain'])} searches each")
    print(f"  p50 plain {p50['plain'] * 1e3:.2f} ms, awaited {p50['awaited'] * 1e3:.2f} ms")
    print(f"  ratio of p50: {ratio:.2f} (wanted: at most 1.1)")
    medians = {name: float(np.median(found)) for name, found in rates.items()}
    for name, found in rates.items():
        print(f"  {name:<30} {medians[name]:6.0f} a second ({min(found):.0f} to {max(found):.0f})")
    faster = medians["awaited, 32 at once"] / medians["plain, one by one"]
    print(f"  32 at once have {faster:.2f} times the throughput of plain calls (wanted on a server: at least 2)")
    return ratio <= 1.1 and (uri is None or faster >= 2)


if __name__ == "__main__":
    main()
