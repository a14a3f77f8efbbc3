"""Whether a calibration keeps what it promises: false matches among strangers, and edited copies that are found.

    python tests/benchmarks/calibrating.py [--data FOLDER] [--part strangers|photos] [--rows N]

Strangers: a collection of 20,000 vectors of CIFAR-10 on Milvus Lite, calibrated by its own rows; 5,000 further vectors
ask, none of which is stored. So they do under filters, and after half as many rows more were written without
calibrating again. Photos: the clothing set, by the default definition and by one for copies (`purpose: copies`), each
calibrated by edited copies of its own pictures; what is found by kind of edit with 95 % intervals, the mean of 25
splits.

The exit status is 1 where the upper 95 % bound of a measured rate is above 1.5 times the declared one, growth is not
noticed, or fewer than .80 of the copies are found at 1 % for `purpose: copies`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import imgvec
from imgvec import ImageCollection, Settings, VectorQuery
from imgvec.intervals import share_interval
from imgvec.quality.calibrating import calibrated
from imgvec.quality.calibration import Calibration
from imgvec.verbs import calibration

RATES = (0.01, 0.05)
MOST = 1.5
STRANGERS, UNDER_A_FILTER, AT_ONCE = 5000, 2000, 500
COPIES_FOUND = 0.80
SPLITS = 25
"""Into pictures to fit to and to promise by: at 1 % of a few hundred, a threshold rests on five of them."""
DEFINITION = {
    "encoder": {"model": "none"},
    "fields": {"part": {"type": "INT64", "default": 0}},
    "index": {"cpu": {"type": "FLAT"}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None)
    parser.add_argument("--part", choices=("strangers", "photos"), help="only this part")
    parser.add_argument("--rows", type=int, default=20_000, help="of the collection of strangers")
    parser.add_argument("--purposes", default="classes,copies", help="of the collections of photos")
    parser.add_argument("--copies", type=int, default=713, help="photos of which edited copies are made")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data, or set IMGVEC_TEST_DATA")
    fine = True
    if args.part != "photos":
        fine &= strangers(args.data, args.rows)
    if args.part != "strangers":
        fine &= photos(args.data, args.purposes.split(","), args.copies)
    print("what was promised was kept" if fine else "what was promised was NOT kept")
    sys.exit(not fine)


def strangers(data: Path, rows: int) -> bool:
    vectors = np.load(data / "vectors_cifar10.npy").astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.random.default_rng(20).permutation(len(vectors))
    asking = vectors[order[-STRANGERS:]]
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load(uri=str(Path(folder) / "milvus.db"))
        with imgvec.create_for_vectors("cifar", dim=384, definition=DEFINITION, settings=settings) as cifar:
            fill(cifar, vectors, order[:rows])
            started = time.perf_counter()
            found = imgvec.calibrate(cifar)
            print(f"{rows:,} rows, calibrated in {time.perf_counter() - started:.0f} s by {len(found.negatives):,}")
            fine &= said("strangers", cifar, asking)
            fine &= said("strangers, a filter of a tenth", cifar, asking[:UNDER_A_FILTER], where="part == 1")
            more = order[rows : rows + rows // 2]
            fill(cifar, vectors, more)
            cifar.refresh()
            fine &= said(f"strangers, {len(more):,} rows more", cifar, asking)
            verdict = cifar.search(VectorQuery(asking[0])).verdict
            fine &= verdict is not None and bool(verdict.note)
            print(f"note: {verdict.note if verdict else ''}", flush=True)
    return fine


def fill(collection: ImageCollection, vectors: Any, which: Any) -> None:
    about = {"width": 32, "height": 32, "media_type": "image/png", "ingested_at": 0}
    for start in range(0, len(which), 1000):
        some = which[start : start + 1000].tolist()
        rows = [{"id": f"{n:06d}", "uri": f"{n}", "content_hash": f"{n}", "part": n % 10, **about} for n in some]
        collection.store.upsert(rows, vectors[some])


def said(what: str, collection: ImageCollection, asking: Any, **options: Any) -> bool:
    started, p_values = time.perf_counter(), []
    for start in range(0, len(asking), AT_ONCE):
        queries = [VectorQuery(each) for each in asking[start : start + AT_ONCE]]
        for answer in collection.search_many(queries, limit=1, output_fields=["uri"], **options):
            p_values.append(1.0 if answer.verdict is None or answer.verdict.p_value is None else answer.verdict.p_value)
    fine = True
    for rate in RATES:
        hits = int((np.array(p_values) <= rate).sum())
        _, high = share_interval(hits / len(p_values), len(p_values), sides=1)
        fine &= high <= MOST * rate
        print(f"{what}: declared {rate:.0%}, measured {hits / len(p_values):.2%}, at most {high:.2%}", flush=True)
    print(f"  {len(p_values):,} queries, {time.perf_counter() - started:.0f} s", flush=True)
    return fine


def photos(data: Path, purposes: list[str], copies: int) -> bool:
    fine = True
    for purpose in purposes:
        definition = {"encoder": {"model": "pypi:dinov2-small-11", "purpose": purpose}}
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings.load(uri=str(Path(folder) / "milvus.db"))
            with ImageCollection.create("clothing", definition=definition, settings=settings) as clothing:
                clothing.ingest(data / "clothing")
                every = by_splits(clothing, copies)
        print(f"purpose {purpose}: {every[0].pictures:,} photos, {SPLITS} splits")
        for rate in RATES:
            found: dict[str, int] = {}
            of: dict[str, int] = {}
            for each in (each for one in every for each in one.found if each.rate == rate):
                found[each.kind] = found.get(each.kind, 0) + each.found
                of[each.kind] = of.get(each.kind, 0) + each.of
            share = sum(found.values()) / sum(of.values())
            print(f"  {rate:.0%} (at most {every[0].bound(rate):.2%}): {share:.3f} of all copies")
            for kind in found:
                # the same copies are in many splits: an interval is as wide as one split's
                number = round(of[kind] / SPLITS)
                low, high = share_interval(found[kind] / of[kind], number)
                print(f"    {kind:18} {found[kind] / of[kind]:.3f} ({low:.3f} to {high:.3f}), of {number}")
            if purpose == "copies" and rate == RATES[0]:
                fine &= share >= COPIES_FOUND
        sys.stdout.flush()
    return fine


def by_splits(collection: ImageCollection, copies: int) -> list[Calibration]:
    """What `imgvec.calibrate` makes of the same copies, encoded once, for each of many splits."""
    kept: list[tuple[Any, ...]] = []

    def noted(*parts: Any, **about: Any) -> Calibration:
        kept.append((parts, about))
        return calibrated(*parts, **about)

    with mock.patch.object(calibration, "calibrated", noted):
        imgvec.calibrate(collection, copies=copies, rates=RATES)
    [(parts, about)] = kept
    return [calibrated(*parts, **{**about, "seed": seed}) for seed in range(SPLITS)]


if __name__ == "__main__":
    main()
