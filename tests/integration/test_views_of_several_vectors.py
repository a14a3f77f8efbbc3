"""Views and several vectors in one collection: every view has every vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fakes import FakeEncoder
from pictures import picture

from imgvec import ImageCollection, StoredId, VectorQuery

N = 6
DEFINITION = {
    "encoder": {"model": "fake"},
    "views": {"grid": 2},
    "index": {"cpu": {"type": "FLAT"}},
    "vectors": {"texture": {"encoder": {"model": "fake-texture"}, "index": {"cpu": {"type": "FLAT"}}}},
}


def test_every_view_has_every_vector_and_hits_are_pictures_by_each(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(N):
        picture(seed, (120, 90)).save(folder / f"{seed}.png")
    encoders = {"texture": FakeEncoder(seed=5, dim=24, image_size=48, batch_size=3)}
    with ImageCollection.create(
        "both", definition=DEFINITION, encoder=FakeEncoder(), encoders=encoders, uri=str(tmp_path / "both.db")
    ) as photos:
        assert photos.ingest(folder).written == N
        assert (photos.count(), photos.count_pictures()) == (5 * N, N)
        rows = [row for page in photos.store.scan(["*", "vector", "texture"]) for row in page]
        for name in ("vector", "texture"):
            stored = np.stack([row[name] for row in rows])
            query = stored[7]
            best: dict[str, float] = {}
            for row, score in zip(rows, stored @ query, strict=True):
                best[row["image_id"]] = max(best.get(row["image_id"], -1.0), float(score))
            answer = photos.search(VectorQuery(query), vector=name, limit=N)
            assert [hit.image_id for hit in answer] == sorted(best, key=lambda each: -best[each])
            np.testing.assert_allclose([hit.score for hit in answer], sorted(best.values(), reverse=True), atol=1e-5)
            found = photos.search(StoredId(rows[7]["id"]), vector=name, limit=1)[0]
            assert (found.image_id, found.view) == (rows[7]["image_id"], rows[7]["view"])
        assert photos.ingest(folder).unchanged == N
        (folder / "0.png").unlink()
        assert photos.prune(folder) == 1
        assert (photos.count(), photos.count_pictures()) == (5 * (N - 1), N - 1)
