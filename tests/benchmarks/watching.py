"""What standing probes cost whoever writes, and how soon they tell of a loss.

    python tests/benchmarks/watching.py [--backend lite|server] [--rows 8000] [--batches 10] [--seconds 120]

Rows are `vectors_cifar10.npy` of IMGVEC_TEST_DATA (384 dimensions), searched by IVF_FLAT (nlist 64). Printed: the
milliseconds of a batch of 512 rows to a collection without probes and to one with 200, in turn; what is said of more
animals where animals were, and of vehicles, which were not there before; the seconds from a planted loss to the look
that tells of it, with a look every ten seconds: the nearest rows of ten probes are deleted past imgvec, and searches
made to look into one cluster of 64 (`nprobe` 1). Then clothing photos are ingested for as long as asked for, and the
share of that time is printed which searching for probes took: by the ingest's own clock, so that both grow alike on a
busy machine.

Exit status 1 where searching took more than a hundredth of the ingest, or did not come about, a loss was not seen
within a minute, or a drift of content was taken for one of the index.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from index import backend
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from fakes import FakeEncoder
from mixed_writes import nearest_known
from rows import numbered

import imgvec
from imgvec import ImageCollection, watch_index
from imgvec.indexes.watched import Watched
from imgvec.vectors import Vectors

EVERY, LONGEST, BATCH = 10.0, 60.0, 512
PICTURES = 100
"""Of which edited copies are the probes of an ingest."""


def by_class(data: Path) -> tuple[Vectors, Vectors]:
    """The vectors in random order: those of animals, and those of vehicles."""
    stored = np.load(data / "vectors_cifar10.npy").astype(np.float32)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    text = gzip.decompress((data / "vectors_cifar10.tsv.gz").read_bytes()).decode()
    labels = np.array([line.split("\t")[0] for line in text.splitlines()])
    order = np.random.default_rng(0).permutation(len(stored))
    other = np.isin(labels[order], ["airplane", "automobile", "ship", "truck"])
    return stored[order][~other], stored[order][other]


def made(uri: str, name: str, dim: int, **others: object) -> ImageCollection:
    definition = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "IVF_FLAT", "params": {"nlist": 64}}}}
    chosen = {"definition": definition, "encoder": FakeEncoder(dim=dim)} | others
    return ImageCollection.create(name, uri=uri, **chosen)  # type: ignore[arg-type]  # of either kind


def filled(uri: str, name: str, vectors: Vectors) -> ImageCollection:
    collection = made(uri, name, vectors.shape[1])
    for start in range(0, len(vectors), 2000):
        part = vectors[start : start + 2000]
        collection.store.upsert([numbered(start + step) for step in range(len(part))], part)
    return collection


def cost_of_a_batch(plain: ImageCollection, watched: ImageCollection, vectors: Vectors, batches: int) -> None:
    taken: dict[str, list[float]] = {"without": [], "with": []}
    for number in range(batches):
        part = vectors[number * BATCH : (number + 1) * BATCH]
        rows = [numbered(10_000_000 + number * BATCH + step) for step in range(len(part))]
        for name, collection in (("without", plain), ("with", watched)):
            began = time.perf_counter()
            collection.store.upsert(rows, part)
            taken[name].append(1000 * (time.perf_counter() - began))
    without, with_probes = (statistics.median(taken[name]) for name in ("without", "with"))
    print(f"a batch of {BATCH} rows: {without:.1f} ms without probes, {with_probes:.1f} ms with 200")


def share_of_an_ingest(uri: str, photos: Path, seconds: float, model: str) -> tuple[float, int]:
    """The share of an ingest of so long that was spent on searching for probes, by its own clock, and for how many."""
    files = sorted(photos.rglob("*.jpg"))
    options = {"definition": {"encoder": {"model": model}}, "encoder": None}
    with made(uri, "photos", 0, **options) as collection:
        collection.ingest([str(each) for each in files[:PICTURES]])
        print(f"of {PICTURES} photos: {_said(_looked(collection))}")
        report = collection.ingest(pictures(files[PICTURES:], seconds))
        found = report.recall or {"seconds": 0.0, "probes": 0}
        share = found["seconds"] / report.seconds
        print(f"an ingest of {report.written} photos in {report.seconds:.1f} s: {share:.2%} of it for {found}")
        collection.drop()
    return share, found["probes"]


def pictures(files: list[Path], seconds: float) -> Iterator[tuple[str, bytes]]:
    """The photos, again and again with a pixel less at each side, until the time is over."""
    end = time.monotonic() + seconds
    for less, file in ((less, file) for less in itertools.count() for file in files):
        if time.monotonic() > end:
            return
        with Image.open(file) as photo:
            kept = photo.convert("RGB").crop((less, less, photo.width - less, photo.height - less))
        data = io.BytesIO()
        kept.save(data, "JPEG", quality=90)
        yield f"{file.stem}.{less}", data.getvalue()


def seconds_until(collection: ImageCollection, is_seen: Callable[[Watched], bool], plant: Callable[[], None]) -> float:
    """From planting a loss to the end of the first look that tells of it, with a look every `EVERY` seconds."""
    plant()
    planted = time.monotonic()
    while time.monotonic() - planted < 2 * LONGEST:
        time.sleep(EVERY)
        found = _looked(collection, no_scan=True)
        print(f"  a look of {found.seconds:.1f} s", *found.advice[:1], flush=True)
        if is_seen(found):
            return time.monotonic() - planted
    return float("inf")


def _looked(collection: ImageCollection, **options: Any) -> Watched:
    found = watch_index(collection, **options)
    assert found is not None
    return found


def _said(found: Watched) -> str:
    recall = ", ".join(f"@{limit} {each}" for limit, each in found.recall.items())
    return f"{recall}; {found.open} of {found.probes} open, {found.seconds:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["lite", "server"], default="lite")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=120, help="of the ingest; 0 leaves it out")
    parser.add_argument("--model", default="pypi:dinov2-small-11")
    args = parser.parse_args()
    data = Path(os.environ["IMGVEC_TEST_DATA"])
    known, unlike = by_class(data)
    rows, new = known[: args.rows], known[args.rows : args.rows + args.batches * BATCH]
    failed = []
    with tempfile.TemporaryDirectory() as folder, backend(args.backend, Path(folder)) as uri:
        with filled(uri, "plain", rows) as plain, filled(uri, "probed", rows) as probed:
            imgvec.set_search_defaults(probed, {"nprobe": 32})
            print(f"made: {_said(_looked(probed, queries=known[-200:]))}", flush=True)
            cost_of_a_batch(plain, probed, new, args.batches)
            like = _looked(probed)
            print(f"rows like those before: {like.drift}")
            watch_index(probed, again=True, queries=known[-200:])
            probed.store.upsert([numbered(20_000_000 + step) for step in range(4 * BATCH)], unlike[: 4 * BATCH])
            drifted = _looked(probed)
            print(f"rows unlike those before: {drifted.drift}; the index is fine: {drifted.ok}")
            if like.drift is None or like.drift.found:
                failed.append("rows like those before were taken for others")
            if drifted.drift is None or not drifted.drift.found:
                failed.append("rows unlike those before were not seen")
            if not drifted.ok:
                failed.append("a drift of content was taken for one of the index")
            near = [ids[0] for ids, _ in nearest_known(probed).values()][:10]
            client = probed.store.link.client
            seen = seconds_until(probed, lambda found: bool(found.lost), lambda: client.delete("probed", ids=near))
            print(f"rows deleted past imgvec: seen after {seen:.0f} s")
            probed.store.wait_until_indexed(600)
            probed.store.release()  # Milvus Lite searches without the index until it is loaded again
            shallow = seconds_until(
                probed, lambda found: bool(found.falls), lambda: imgvec.set_search_defaults(probed, {"nprobe": 1})
            )
            print(f"nprobe 1: seen after {shallow:.0f} s")
            failed += [f"a loss was seen after {each:.0f} s" for each in (seen, shallow) if each > LONGEST]
        if args.seconds:
            share, searched = share_of_an_ingest(uri, data / "clothing", args.seconds, args.model)
            if share > 0.01:
                failed.append(f"searching for probes took {share:.2%} of an ingest")
            if not searched:
                failed.append("no probe was searched for beside an ingest")
    if failed:
        sys.exit("; ".join(failed))


if __name__ == "__main__":
    main()
