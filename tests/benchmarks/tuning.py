"""Does what `tune` declares hold for pictures that are not stored? Its default queries against fresh ones.

    python tests/benchmarks/tuning.py --crops FILE.npy [--backend server|lite] [--data cifar10,whitened,crops]
                                      [--types …] [--targets 0.90,0.95,0.99] [--rows 40000] [--fresh 8000] [--carried N]
                                      [--no-stored]

Three sets of real vectors from IMGVEC_TEST_DATA: CIFAR-10's (384 dimensions); the same whitened, behind the map for
classes that comes with imgvec (256); and 44,206 crops of the clothing photos (384; encoded first, some minutes, and
kept in FILE.npy). `--rows` random ones of each are stored, and `--fresh` others (the 4,206 that are left of the crops)
are neither stored nor seen by `tune`, which has its default queries: 2,000 stored rows, left out of a copy.

For each index type and target: what was chosen, the recall and the lower bound that were declared, and the recall of
the fresh queries on the collection's own index. The last two columns are what stored rows searched as they are would
have chosen, as imgvec 0.1.0 did, and what fresh queries find with that; `--no-stored` leaves them out. `--carried N`
has tune copy N rows only and carry over what it learned, as it does above 100,000 rows.

Exit status 1 where fewer than 95 % of the declared bounds hold, or where a fresh recall is more than 0.01 below its
target.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from index import TYPES, backend, exact
from index_data import Vectors, crops, fill, no_encoder, real, whitened

from imgvec import ImageCollection, Settings, scratch_copy
from imgvec.indexes import unseen as unseen_module
from imgvec.indexes.ladder import text
from imgvec.indexes.measure import questions, sampled
from imgvec.indexes.options import RecallOptions
from imgvec.indexes.recall import recalls
from imgvec.indexes.tune import Tuning
from imgvec.indexes.tuned import Tuned
from imgvec.indexes.unseen import unseen
from imgvec.options import settled
from imgvec.progress import Telling

SILENT = Telling("tune")

LIMIT, QUERIES, CONFIDENCE = 10, 2000, 0.95
SLACK, HOLDING = 0.01, 0.95
APPROXIMATE = ("HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "SCANN")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["server", "lite"], default="server")
    parser.add_argument("--data", default="cifar10,whitened,crops")
    parser.add_argument("--crops", type=Path)
    parser.add_argument("--types", default=",".join(APPROXIMATE))
    parser.add_argument("--targets", default="0.90,0.95,0.99")
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--fresh", type=int, default=8000)
    parser.add_argument("--carried", type=int)
    parser.add_argument("--no-stored", action="store_true")
    args = parser.parse_args()
    if args.carried:
        unseen_module.COPIED = args.carried
    table = Table(stored=not args.no_stored)
    with tempfile.TemporaryDirectory() as folder, backend(args.backend, Path(folder)) as uri:
        for name in args.data.split(","):
            rows, fresh = data(name, args.crops, args.rows, args.fresh)
            settings = Settings.load(uri=uri, timeout=120)
            definition = {
                "encoder": {"model": "none"},
                "dynamic": False,
                "fields": {},
                "index": {"cpu": {"type": "FLAT"}},
            }
            encoder = no_encoder(rows.shape[1])
            with ImageCollection.create(name, definition=definition, encoder=encoder, settings=settings) as photos:
                print(f"{photos.store.capabilities.name}, {name}: {rows.shape} rows, {len(fresh):,} fresh queries")
                fill(photos.store, rows)
                for kind in args.types.split(","):
                    if kind in photos.store.capabilities.index_types:
                        photos.store.build_index(kind, TYPES[kind])
                        table.add(photos, name, rows, fresh, [float(each) for each in args.targets.split(",")])
                photos.drop()
    sys.exit(0 if table.judged() else 1)


def data(name: str, cache: Path | None, rows: int, fresh: int) -> tuple[Vectors, Vectors]:
    """Rows to store and queries that are not, each in random order."""
    if name == "crops":
        if cache is None:
            sys.exit("--crops FILE.npy says where the crops' vectors are kept, or to be kept")
        made = crops(cache)
    else:
        found = real()
        if found is None:
            sys.exit("IMGVEC_TEST_DATA names no real vectors")
        made = np.random.default_rng(0).permutation(np.concatenate(found))
        made = whitened(made) if name == "whitened" else made
    return np.ascontiguousarray(made[:rows]), np.ascontiguousarray(made[rows:][:fresh])


class Table:
    """A line for each set, index type and target, and the verdict."""

    def __init__(self, *, stored: bool) -> None:
        self._stored = stored
        self._held: list[bool] = []
        self._short: list[str] = []
        print("| data | index | target | chosen | declared | at least | fresh | holds | by stored rows | fresh |")
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)

    def add(self, photos: ImageCollection, name: str, rows: Vectors, fresh: Vectors, targets: Sequence[float]) -> None:
        store, truth = photos.store, exact(fresh, rows)
        ask = partial(questions, filters=[""], limit=LIMIT, device="cpu", tell=SILENT)

        def found(params: Mapping[str, Any]) -> float:
            hits = []
            for start in range(0, len(fresh), 250):
                hits += store.search(fresh[start : start + 250], limit=LIMIT, params=params)
            return float(recalls(hits, truth, LIMIT).mean())

        stored = None
        if self._stored:
            ids = np.array([row["id"] for some in store.scan(["id"]) for row in some])
            stored = ask(store, sampled(store, list(np.random.default_rng(0).permutation(ids)[:QUERIES])))
        with unseen(
            store,
            partial(scratch_copy, photos),
            QUERIES,
            ask,
            settled(RecallOptions, {"confidence": CONFIDENCE, "on_notice": partial(print, flush=True)}),
            SILENT,
        ) as made:
            for target in targets:
                wanted = settled(RecallOptions, {"recall": target, "confidence": CONFIDENCE})
                tuned = Tuning(store, made.asked, wanted, SILENT, basis=made.basis).tuned()
                before = Tuning(store, stored, wanted, SILENT).tuned() if stored else None
                self._line(name, tuned, found, before)

    def judged(self) -> bool:
        share = sum(self._held) / max(1, len(self._held))
        print(f"{sum(self._held)} of {len(self._held)} declared bounds hold on fresh queries ({share:.1%})")
        for short in self._short:
            print(f"WRONG: {short}")
        return share >= HOLDING and not self._short

    def _line(self, name: str, tuned: Tuned, found: Callable[[Mapping[str, Any]], float], before: Tuned | None) -> None:
        old = old_fresh = ""
        if before is not None:
            old = "not reached" if before.params is None else text(before.params)
            old_fresh = "" if before.params is None else f"{found(before.params):.4f}"
        (choice,) = tuned.choices
        if tuned.params is None:
            best = f"best {choice.best.recall.mean:.4f}"
            cells = ["not reached", best, "", f"{found(choice.best.params):.4f}", ""]
        else:
            point, recall = choice.applied or choice.best, found(tuned.params)
            holds = recall >= point.recall.low
            self._held.append(holds)
            if recall < tuned.target - SLACK:
                self._short.append(f"{name}, {tuned.type}: {recall:.4f} on fresh queries, {tuned.target} was declared")
            declared = (f"{point.recall.mean:.4f}", f"{point.recall.low:.4f}", f"{recall:.4f}")
            cells = [text(tuned.params) or "–", *declared, "yes" if holds else "NO"]
        line = (name, tuned.type, f"{tuned.target:.2f}", *cells, old, old_fresh)
        print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
