"""Writes of every kind near standing probes: new rows, rows that move, rows that go; also a process of its own.

python tests/mixed_writes.py URI COLLECTION VECTORS.npy SEED WRITES ROWS [POINT NTH]

With a point the process kills itself: the NTH time that rows are `noted` and not yet written, `written` and that is not
yet noted, or noted to be `deleted` and still there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from fakes import FakeEncoder
from rows import id_of, numbered

from imgvec import ImageCollection, noted, noting
from imgvec.by_vector import searches_by
from imgvec.indexes.known import Known
from imgvec.indexes.probes import scored
from imgvec.indexes.recall import TIE
from imgvec.noted import Notes, Probes
from imgvec.noting import Noting
from imgvec.rows import VECTOR
from imgvec.vectors import Vectors

BATCH = 50
MANY = 250


def opened(uri: str, name: str, dim: int) -> ImageCollection:
    return ImageCollection.open(name, uri=uri, encoder=FakeEncoder(dim=dim))


def nearest_known(
    collection: ImageCollection, depth: int = 100, vector: str = VECTOR
) -> dict[int, tuple[list[str], Any]]:
    """What is known of each probe that is not open, by the notes and the rows that they name."""
    store = collection.store
    store.check_same()
    epoch, probes = _probes(collection, vector)
    merged = Notes(store, epoch).merged(probes.floors)
    known = Known(searches_by(store, vector), probes.vectors, merged.note)
    return known.nearest(range(len(probes.vectors)), depth)


def wrong(
    collection: ImageCollection, known: dict[int, tuple[list[str], Any]], depth: int = 100, vector: str = VECTOR
) -> list[int]:
    """Probes whose nearest rows are others than NumPy finds among all rows."""
    store = collection.store
    _, probes = _probes(collection, vector)
    rows = [row for page in store.scan([vector]) for row in page]
    ids = np.array([row["id"] for row in rows])
    scores = scored(store.vector(vector).metric_type, probes.vectors, np.stack([row[vector] for row in rows]))
    found = []
    for number, (mine, mine_scores) in known.items():
        order = np.argsort(-scores[number], kind="stable")[:depth]
        last = scores[number][order[-1]]
        must = set(ids[scores[number] > last + TIE].tolist())
        may = set(ids[scores[number] >= last - 2 * TIE].tolist())
        top = scores[number][order]
        if not must <= set(mine) <= may or not np.allclose(top, mine_scores[: len(top)], atol=TIE):
            found.append(number)
    return found


def _probes(collection: ImageCollection, vector: str) -> tuple[str, Probes]:
    epoch = noted.epoch_of(collection.store, vector)
    assert epoch is not None
    probes = noted.kept(collection.learned, epoch)
    assert probes is not None
    return epoch, probes


def write(collection: ImageCollection, vectors: Vectors, seed: int, writes: int, rows: int, batch: int = BATCH) -> None:
    """That many writes: half move rows that stand among the nearest of a probe, a quarter are new, a quarter delete."""
    rng = np.random.default_rng(seed)
    targets = sorted({id_ for ids, _ in nearest_known(collection).values() for id_ in ids})
    fresh, done = rows + seed * 1_000_000, 0
    while done < writes:
        moved = [targets[each] for each in rng.integers(0, len(targets), batch // 2)]
        made = [numbered(int(id_, 16)) for id_ in dict.fromkeys(moved)]
        made += [numbered(fresh + step) for step in range(batch // 4)]
        fresh += batch // 4
        collection.store.upsert(made, vectors[rng.integers(0, len(vectors), len(made))])
        gone = [id_of(int(each)) for each in rng.integers(0, rows, batch - batch // 2 - batch // 4)]
        gone[::4] = [targets[each] for each in rng.integers(0, len(targets), len(gone[::4]))]
        collection.delete(gone)
        done += len(made) + len(gone)


def killed_at(point: str, nth: int) -> None:
    """Have this process killed there."""
    left = {point: nth}

    def passing(here: str) -> None:
        left[here] = left.get(here, 0) - 1
        if left[here] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    class Killed(Noting):
        @contextmanager
        def writing(self, *given: Any) -> Iterator[None]:
            with super().writing(*given):
                passing("noted")
                yield
                passing("written")

        def deleting(self, *given: Any) -> None:
            super().deleting(*given)
            passing("deleted")

    noting.Noting = Killed  # type: ignore[misc]  # what a store is observed by from now on


def main(arguments: Sequence[str]) -> None:
    """As the command line has them."""
    uri, name, file, seed, writes, rows, *kill = arguments
    if kill:
        killed_at(kill[0], int(kill[1]))
    vectors = np.load(file).astype(np.float32)
    with opened(uri, name, vectors.shape[1]) as collection:
        write(collection, vectors, int(seed), int(writes), int(rows), MANY)


if __name__ == "__main__":
    main(sys.argv[1:])
