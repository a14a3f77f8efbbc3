"""What the tests of a re-embedding share: clients that ask without a pause, and what they were told held against it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from fakes import FakeEncoder
from pictures import picture
from threads_beside import Beside

from imgvec import ImageCollection
from imgvec.encoders.protocol import Binding, Pixels, Tokens
from imgvec.rows import CONTENT_HASH, ID
from imgvec.search.answer import Answer
from imgvec.vectors import Vectors

DEFINITION = {
    "encoder": {"model": "fake"},
    "index": {"cpu": {"type": "FLAT"}},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}},
}
LIMIT = 5


class SlowEncoder(FakeEncoder):
    """Takes its time, so that something can happen meanwhile."""

    seconds = 0.05

    def encode(self, pixels: Pixels) -> Vectors:
        time.sleep(self.seconds)
        return super().encode(pixels)


class LookingEncoder(FakeEncoder):
    """Says that a picture's brightest patch stands out, or its darkest one: models see different regions."""

    def tokens(self, pixels: Pixels) -> Sequence[Tokens]:
        seed = int(self.binding.fingerprint, 16)
        light = pixels.astype(int).sum(axis=1).reshape(len(pixels), 8, 4, 8, 4).sum(axis=(2, 4)).reshape(-1, 64)
        patches = np.zeros((len(pixels), 1, 64, 2), np.float32)
        patches[..., 0] = 1
        for one, values in zip(patches[:, 0], light, strict=True):
            one[int(np.argmin(values) if seed % 2 else np.argmax(values))] = (0, 1)
        return [Tokens((8, 8), each) for each in patches]


def old_encoder() -> FakeEncoder:
    return FakeEncoder()


def new_encoder(dim: int = 16) -> FakeEncoder:
    return SlowEncoder(dim=dim, seed=7)


def encoder_of(_name: str, binding: Binding, *_: object, **__: object) -> FakeEncoder:
    """In the place of `imgvec.loading.loaded_encoder`."""
    return FakeEncoder(dim=binding.dim, seed=int(binding.fingerprint, 16))


def looking_encoder_of(_name: str, binding: Binding, *_: object, **__: object) -> FakeEncoder:
    """The same, for collections of views."""
    return LookingEncoder(dim=binding.dim, image_size=binding.image_size, seed=int(binding.fingerprint, 16))


def hashes(photos: ImageCollection) -> dict[str, str]:
    """The content hash of every row, by id."""
    return {row[ID]: row[CONTENT_HASH] for rows in photos.store.scan([CONTENT_HASH]) for row in rows}


class Asking(Beside):
    """Threads that ask a handle by image without a pause, until the block ends."""

    def __init__(self, handle: ImageCollection, threads: int = 2) -> None:
        self.handle = handle
        self.answers: list[tuple[int, Answer]] = []
        """The seed of each picture that was asked by, and what came."""
        self.failed: list[str] = []
        super().__init__(partial(self._ask, start) for start in range(threads))

    def until_answers_come_from(self, collection: str, number: int = 10) -> None:
        """That many, from now on."""
        begun, deadline = len(self.answers), time.monotonic() + 30
        while sum(answer.collection == collection for _, answer in self.answers[begun:]) < number:
            assert time.monotonic() < deadline, (collection, self.failed)
            time.sleep(0.02)

    def _ask(self, start: int) -> None:
        seed = start
        while not self.stop.is_set():
            seed = (seed + 2) % 20
            try:
                self.answers.append((seed, self.handle.search(picture(seed), limit=LIMIT, output_fields=["uri"])))
            except Exception as exc:  # noqa: BLE001  counted, whatever it is
                self.failed.append(repr(exc))

    def wrong(self, *collections: tuple[ImageCollection, FakeEncoder]) -> tuple[list[str], Counter[int]]:
        """The answers that are none of these collections' alone, in full, and how many each has given."""
        truths = [_Truth(photos, encoder) for photos, encoder in collections]
        wrong, given = [], Counter[int]()
        for seed, answer in self.answers:
            right = [number for number, truth in enumerate(truths) if truth.is_right(answer, seed)]
            given.update(right[:1])
            if not right:
                wrong.append(f"by {seed}, {answer.collection}: {[(hit.id, hit.score) for hit in answer]}")
        return wrong, given


class _Truth:
    def __init__(self, photos: ImageCollection, encoder: FakeEncoder) -> None:
        rows = {row[ID]: row["vector"] for rows in photos.store.scan(["vector"]) for row in rows}
        self._ids, self._vectors, self._encoder = list(rows), np.stack(list(rows.values())), encoder
        self._scores: dict[int, dict[str, float]] = {}

    def is_right(self, answer: Answer, seed: int) -> bool:
        if seed not in self._scores:
            query = self._encoder.encode_images([picture(seed)])[0]
            self._scores[seed] = dict(zip(self._ids, (self._vectors @ query).tolist(), strict=True))
        scores = self._scores[seed]
        best = sorted(scores.values(), reverse=True)[:LIMIT]
        return (
            len(answer) == len(best)
            and np.allclose([hit.score for hit in answer], best, atol=1e-4)
            and np.allclose([scores.get(hit.id, -9) for hit in answer], best, atol=1e-4)
        )


def check_vectors(photos: ImageCollection, encoder: FakeEncoder) -> int:
    """Every row has the encoder's vector of its picture; returns how many there are."""
    from PIL import Image

    rows = [row for rows in photos.store.scan(["vector", "uri"]) for row in rows]
    for row in rows:
        with Image.open(Path(row["uri"])) as image:
            expected = encoder.encode_images([image.convert("RGB")])[0]
        assert np.allclose(row["vector"], expected, atol=1e-3), row["uri"]
    return len(rows)
