"""What shorter vectors cost: float32, float16, bfloat16, int8, and bits that are ranked again, in the default space.

    python tests/benchmarks/formats.py [--backend server|lite] [--rows 20000] [--queries 200] [--float16 0]

CIFAR-10's vectors of IMGVEC_TEST_DATA, 384 dimensions, behind the map for classes that comes with imgvec: 256, as a
collection of pypi:dinov2-small-11 holds them. Of each format: recall@10 against exact float32 in NumPy, bytes a vector,
and what imgvec says of it on this backend. The numbers that are compared are those of the request: pymilvus packs the
vectors as an upsert sends them, and they are read out of that again.

float32 and bits are written to the backend where it has them, by pymilvus, under FLAT and BIN_FLAT, which are exact for
what they hold; milliseconds are the median of single searches for 10 (bits: 500) hits at consistency Eventually. int8
is scaled once by 127, as imgvec does, and once by the collection's own range: 127 by the largest element, one factor
for all, so that all steps are used and cosines stay. Bits are the signs; those that a search by Hamming distance finds
first, 100 and 500, are ranked again by their float32 vectors, which lie in a file here.

imgvec refuses float16 on Milvus 2.3.5, which searches it in memory that it has freed. `--float16 N` shows that: N rows
are written and searched for by pymilvus all the same, last: of 20,000 the server may die, or never answer.

Exit status 1 where the backend finds other hits than NumPy among the same numbers, where ranking again finds other than
those of the true nearest that are among the candidates, where imgvec takes what is not searched here, or where the own
range finds less than 127 does.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from index import backend
from index_data import Vectors, no_encoder, real, unit, whitened
from pymilvus import CollectionSchema, DataType, FieldSchema, MilvusClient, MilvusException
from pymilvus.client.prepare import Prepare

from imgvec import ImageCollection, Settings
from imgvec.errors import UnsupportedByBackend
from imgvec.milvus import codec

LIMIT, AGAIN = 10, (100, 500)
AT_ONCE = 2000
"""Rows of one request."""
BITS = "BINARY_VECTOR"
CHOSEN = {"FLOAT_VECTOR": ("FLAT", "IP"), "FLOAT16_VECTOR": ("FLAT", "IP"), BITS: ("BIN_FLAT", "HAMMING")}

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Format:
    name: str
    type: str
    encode: Callable[[Vectors], Any]
    """(n, dim) float32 to what pymilvus is given, a value a row."""
    limit: int = LIMIT

    def sent(self, vectors: Vectors) -> tuple[Vectors, float]:
        """The numbers in the requests that upsert such vectors, as unit vectors, and the bytes of one vector in them.

        Signs are -1 and 1, so that an inner product goes down as a Hamming distance goes up.
        """
        packed = b"".join(self._packed(vectors[at : at + AT_ONCE]) for at in range(0, len(vectors), AT_ONCE))
        size = len(packed) // len(vectors)
        values = [packed[at : at + size] for at in range(0, len(packed), size)]
        if self.type == BITS:
            bits = np.unpackbits(np.frombuffer(packed, np.uint8).reshape(len(vectors), size), axis=1)
            return unit(bits.astype(np.float32) * 2 - 1), size
        if self.type == "FLOAT_VECTOR":
            return unit(np.frombuffer(packed, np.float32).reshape(vectors.shape)), size
        return unit(np.stack([codec.from_row(value, self.type) for value in values])), size

    def _packed(self, vectors: Vectors) -> bytes:
        rows = [{"id": at, "vector": value} for at, value in enumerate(self.encode(vectors))]
        request = Prepare.row_upsert_param("c", rows, "", schema_of(self.type, vectors.shape[1]).to_dict()["fields"])
        field = next(each.vectors for each in request.fields_data if each.field_name == "vector")
        held = getattr(field, field.WhichOneof("data"))
        return held if isinstance(held, bytes) else np.asarray(held.data, np.float32).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["server", "lite"], default="server")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--float16", type=int, default=0)
    args = parser.parse_args()
    if (found := real()) is None:
        parser.error("set IMGVEC_TEST_DATA to the folder with vectors_cifar10.npy")
    chosen = np.random.default_rng(0).choice(len(found[0]), args.rows, replace=False)
    rows, queries = whitened(found[0][chosen]), whitened(found[1][: args.queries])
    expected = ranked(queries @ rows.T, LIMIT)
    recalls: dict[str, float] = {}
    ok = True
    print(f"{len(rows):,} rows, {len(queries)} queries, {rows.shape[1]} dimensions, {args.backend}")
    with tempfile.TemporaryDirectory() as folder, backend(args.backend, Path(folder)) as uri:
        client = MilvusClient(uri)
        for each in formats(rows):
            numbers, size = each.sent(rows)
            scores = each.sent(queries)[0] @ numbers.T
            hits, refused = ranked(scores, each.limit), refusal(each, uri)
            says = f"in NumPy; imgvec: {refused or 'takes it'}"
            if each.type == "FLOAT_VECTOR" or (each.type == BITS and args.backend == "server"):
                found_by, ms = searched(client, each, rows, queries)
                ok &= not wrong(found_by, hits, scores)
                says = f"{ms:.1f} ms a search; imgvec: {refused or 'takes it'}"
            else:
                ok &= bool(refused)
            recalls[each.name] = recall(expected, hits[:, :LIMIT])
            tell(each.name, recalls[each.name], size, says)
            for depth in AGAIN if each.type == BITS else ():
                best, ms = again(Path(folder), hits[:, :depth], rows, queries)
                there = np.mean([np.isin(a, b).mean() for a, b in zip(expected, hits[:, :depth], strict=True)])
                ok &= bool(np.isclose(recall(expected, best), there))
                says = f"{ms:.2f} ms more a search, for vectors of {4 * rows.shape[1]:,} bytes in a file"
                tell(f"bits, {depth} again", recall(expected, best), size, says)
        by_127, by_own = (value for name, value in recalls.items() if name.startswith("int8"))
        ok &= by_own >= by_127
        if args.float16:
            print(unsafe(client, rows[: args.float16], queries), flush=True)
        client.close()
    print("as it should be" if ok else "NOT as it should be")
    sys.exit(not ok)


def tell(name: str, found: float, size: float, says: str) -> None:
    print(f"{name:15} recall@{LIMIT} {found:.4f}  {size:6,.0f} bytes  {says}", flush=True)


def formats(rows: Vectors) -> list[Format]:
    own = 127 / float(np.abs(rows).max())

    def made(kind: str, factor: float = 1.0) -> Callable[[Vectors], Any]:
        return lambda vectors: codec.to_rows(vectors * np.float32(factor), kind)

    def bits(vectors: Vectors) -> list[bytes]:
        return [row.tobytes() for row in np.packbits(vectors > 0, axis=1)]

    return [
        Format("float32", "FLOAT_VECTOR", made("FLOAT_VECTOR")),
        Format("float16", "FLOAT16_VECTOR", made("FLOAT16_VECTOR")),
        Format("bfloat16", "BFLOAT16_VECTOR", made("BFLOAT16_VECTOR")),
        Format("int8, by 127", "INT8_VECTOR", made("INT8_VECTOR")),
        Format(f"int8, by {own:.0f}", "INT8_VECTOR", made("INT8_VECTOR", own / codec.INT8_SCALE)),
        Format("bits", BITS, bits, AGAIN[-1]),
    ]


def schema_of(kind: str, dim: int) -> CollectionSchema:
    key = FieldSchema("id", DataType.INT64, is_primary=True)
    return CollectionSchema([key, FieldSchema("vector", DataType[kind], dim=dim)])


def refusal(each: Format, uri: str) -> str:
    """What imgvec says where the backend does not have the format; empty where it takes it."""
    if each.type == BITS:
        return "a definition has no binary vectors"
    definition = {"encoder": {"model": "none"}, "vector": {"type": each.type}, "index": {"cpu": {"type": "FLAT"}}}
    try:
        made = ImageCollection.create(
            "asked", definition=definition, encoder=no_encoder(8), settings=Settings.load(uri=uri)
        )
    except UnsupportedByBackend as exc:
        return str(exc)
    with made:
        made.drop()
    return ""


def searched(client: MilvusClient, each: Format, rows: Vectors, queries: Vectors) -> tuple[list[list[int]], float]:
    """The first hits of each query, asked one by one, and the median of their milliseconds."""
    name, (index_type, metric) = each.type.lower(), CHOSEN[each.type]
    index = client.prepare_index_params()
    index.add_index("vector", index_type=index_type, metric_type=metric)
    client.create_collection(name, schema=schema_of(each.type, rows.shape[1]), index_params=index)
    sent = each.encode(rows)
    for start in range(0, len(rows), AT_ONCE):
        part = sent[start : start + AT_ONCE]
        client.upsert(name, [{"id": start + at, "vector": value} for at, value in enumerate(part)])
    client.flush(name)
    count = client.query(name, output_fields=["count(*)"], consistency_level="Strong")
    assert count[0]["count(*)"] == len(rows)
    found, seconds = [], []
    for query in each.encode(queries):
        since = time.perf_counter()
        [hits] = client.search(
            name, [query], limit=each.limit, anns_field="vector", consistency_level="Eventually", timeout=30
        )
        seconds.append(time.perf_counter() - since)
        found.append([hit["id"] for hit in hits])
    client.drop_collection(name)
    return found, statistics.median(seconds) * 1000


def wrong(found: list[list[int]], hits: Ids, scores: Vectors) -> int:
    """How many queries found fewer rows, or worse ones; of equal scores, as bits have many, any may come."""
    return sum(
        len(ids) != len(best) or not np.allclose(known[ids], known[best], atol=1e-5)
        for ids, best, known in zip(found, hits, scores, strict=True)
    )


def unsafe(client: MilvusClient, rows: Vectors, queries: Vectors) -> str:
    """How many answers of a server to searches of float16 are wrong; a server that dies says so, too."""
    halves = next(each for each in formats(rows) if each.type == "FLOAT16_VECTOR")
    scores = halves.sent(queries)[0] @ halves.sent(rows)[0].T
    try:
        found, _ = searched(client, halves, rows, queries)
        says = f"{wrong(found, ranked(scores, LIMIT), scores)} of {len(queries)} answers are wrong"
    except MilvusException as exc:
        says = str(exc).splitlines()[0]
    return f"float16, by pymilvus, FLAT, {len(rows):,} rows: {says}"


def again(folder: Path, hits: Ids, rows: Vectors, queries: Vectors) -> tuple[Ids, float]:
    """The best of the hits by their float32 vectors, read from a file, and the median of the milliseconds of that."""
    np.save(folder / "rows.npy", rows)
    kept = np.load(folder / "rows.npy", mmap_mode="r")
    best, seconds = [], []
    for query, found in zip(queries, hits, strict=True):
        since = time.perf_counter()
        order = np.argsort(-(kept[found] @ query), kind="stable")[:LIMIT]
        seconds.append(time.perf_counter() - since)
        best.append(found[order])
    return np.array(best), statistics.median(seconds) * 1000


def ranked(scores: Vectors, limit: int) -> Ids:
    first = np.argpartition(-scores, limit, axis=1)[:, :limit]
    order = np.argsort(-np.take_along_axis(scores, first, axis=1), axis=1, kind="stable")
    return np.take_along_axis(first, order, axis=1)


def recall(expected: Ids, found: Ids) -> float:
    return float(np.mean([len({*a} & {*b}) / len(a) for a, b in zip(expected.tolist(), found.tolist(), strict=True)]))


if __name__ == "__main__":
    main()
