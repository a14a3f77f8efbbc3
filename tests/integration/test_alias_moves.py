"""A handle that was opened by an alias, while the alias is moved: it follows, and no answer is wrong or fails."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import BY_NIGHT
from fakes import FakeEncoder
from pictures import picture
from PIL import Image
from threads_beside import Beside

import imgvec
from imgvec import ImageCollection
from imgvec.encoders.protocol import Binding
from imgvec.errors import CollectionNotFound, CollectionReplaced, EncoderUnavailable, QueryError
from imgvec.opening import opened_store
from imgvec.search.answer import Answer
from imgvec.vectors import Vectors

DEFINITION = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}}
SECONDS = float(os.environ.get("IMGVEC_ALIAS_SECONDS", "120"))
LIMIT = 5


def encoder_of(_name: str, binding: Binding, _settings: object, _vector: str) -> FakeEncoder:
    """Takes as long as a small model."""
    time.sleep(0.2)
    return FakeEncoder(dim=binding.dim, seed=int(binding.fingerprint, 16))


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.loading.loaded_encoder", encoder_of)


def made(uri: str, name: str, folder: Path, encoder: FakeEncoder) -> ImageCollection:
    photos = ImageCollection.create(name, definition=DEFINITION, uri=uri, encoder=encoder)
    photos.ingest(folder)
    return photos


@pytest.fixture
def both(backend_uri: str, pictures: Path) -> Iterator[tuple[ImageCollection, ImageCollection]]:
    """Two collections of two encoders, and the alias `live` of the first."""
    with (
        made(backend_uri, "first", pictures, FakeEncoder()) as first,
        made(backend_uri, "second", pictures, FakeEncoder(dim=24, seed=7)) as second,
    ):
        imgvec.set_alias(first, "live")
        yield first, second


def waited(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Truth:
    """What exact search answers in one collection."""

    def __init__(self, photos: ImageCollection, encoder: FakeEncoder) -> None:
        rows = {row["id"]: row["vector"] for rows in photos.store.scan(["vector"]) for row in rows}
        self.ids, self.vectors, self.encoder = list(rows), np.stack(list(rows.values())), encoder

    def is_wrong(self, answer: Answer, vector: Vectors) -> bool:
        scores = dict(zip(self.ids, (self.vectors @ vector).tolist(), strict=True))
        best = sorted(scores.values(), reverse=True)[:LIMIT]
        return not (
            len(answer) == len(best)
            and np.allclose([hit.score for hit in answer], best, atol=1e-4)
            and np.allclose([scores.get(hit.id, -9) for hit in answer], best, atol=1e-4)
        )


class Queries(Beside):
    """Threads that ask one handle without a pause."""

    def __init__(self, handle: ImageCollection, truths: dict[str, Truth]) -> None:
        self.handle, self.truths = handle, truths
        self.answers: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.failed: list[str] = []
        super().__init__((self._vectors, self._images, self._vectors))

    def _vectors(self) -> None:
        random = np.random.default_rng(threading.get_ident() % 2**32)
        for dim in cycle(sorted({truth.encoder.binding.dim for truth in self.truths.values()})):
            vector = random.standard_normal(dim).astype(np.float32)
            vector /= np.linalg.norm(vector)
            self._ask("vector", vector, lambda _, vector=vector: vector)
            if self.stop.is_set():
                return

    def _images(self) -> None:
        for seed in cycle(range(20)):
            image = picture(seed)
            self._ask("image", image, lambda encoder, image=image: encoder.encode_images([image])[0])
            if self.stop.is_set():
                return

    def _ask(self, kind: str, query: Image.Image | Vectors, vector: Callable[[FakeEncoder], Vectors]) -> None:
        try:
            answer = self.handle.search(query, limit=LIMIT, output_fields=["uri"])
        except Exception as exc:  # noqa: BLE001  counted, whatever it is
            self.failed.append(f"{kind}: {exc!r}")
            return
        truth = self.truths[answer.collection]
        if truth.is_wrong(answer, vector(truth.encoder)):
            self.wrong.append(f"{kind} in {answer.collection}: {list(answer)}")
        self.answers[kind, answer.collection] += 1


def moved_to_and_fro(uri: str, folder: Path, dims: tuple[int, int], seconds: float) -> Counter[tuple[str, str]]:
    encoders = {"first": FakeEncoder(dim=dims[0]), "second": FakeEncoder(dim=dims[1], seed=7)}
    opened = {name: made(uri, name, folder, encoder) for name, encoder in encoders.items()}
    truths = {name: Truth(photos, encoders[name]) for name, photos in opened.items()}
    imgvec.set_alias(opened["first"], "live")
    random, moves, ends = np.random.default_rng(0), 0, time.monotonic() + seconds
    with ImageCollection.open("live", uri=uri) as handle:
        # its encoder is loaded, and it has been in both: vectors of both lengths have a place from here on
        handle.search(picture(0))
        for name in ("second", "first"):
            imgvec.set_alias(opened[name], "live")
            handle.refresh()
        with Queries(handle, truths) as queries:
            for name in cycle(["second", "first"]):
                # from at once to longer than it takes to notice
                time.sleep(float(random.choice([0.02, 0.3, 1.2, 2.0])))
                if time.monotonic() > ends:
                    break
                imgvec.set_alias(opened[name], "live")
                moves += 1
    for photos in opened.values():
        photos.close()
    total = sum(queries.answers.values()) + len(queries.failed)
    print(
        f"dims {dims}, {moves} moves: {len(queries.wrong)} wrong, {len(queries.failed)} failed of {total}: "
        f"{dict(queries.answers)}"
    )
    assert queries.wrong == []
    assert queries.failed == []
    assert len(queries.answers) == 4, "each collection has answered each kind of query"
    return queries.answers


@pytest.mark.alone
@pytest.mark.parametrize(
    ("backend_uri", "dims"),
    [
        pytest.param("lite", (16, 16), id="lite-equal"),
        pytest.param("lite", (16, 24), id="lite-different"),
        pytest.param("server", (16, 16), id="server-equal", marks=BY_NIGHT),
        pytest.param("server", (16, 24), id="server-different", marks=pytest.mark.server),
    ],
    indirect=["backend_uri"],
)
def test_no_answer_is_wrong_or_fails_while_an_alias_is_moved(
    backend_uri: str, pictures: Path, dims: tuple[int, int]
) -> None:
    moved_to_and_fro(backend_uri, pictures, dims, 8)


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("dims", [(16, 16), (16, 24)], ids=["equal", "different"])
def test_for_longer(backend_uri: str, pictures: Path, dims: tuple[int, int]) -> None:
    assert sum(moved_to_and_fro(backend_uri, pictures, dims, SECONDS).values()) > SECONDS * 20


def test_the_former_collection_may_be_dropped_at_once(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection], pictures: Path
) -> None:
    first, second = both
    with ImageCollection.open("live", uri=backend_uri) as handle:
        handle.search(picture(0))
        truths = {"first": Truth(first, FakeEncoder()), "second": Truth(second, FakeEncoder(dim=24, seed=7))}
        queries = Queries(handle, truths)
        # vectors of the former length have nowhere to go any more
        queries._threads = [threading.Thread(target=queries._images) for _ in range(3)]
        with queries:
            time.sleep(0.5)
            imgvec.set_alias(second, "live")
            first.drop()
            waited(lambda: queries.answers["image", "second"] > 10)
        assert (queries.wrong, queries.failed) == ([], [])
        assert handle.search(np.eye(1, 24, dtype=np.float32)[0]).collection == "second"
        with pytest.raises(QueryError, match="16"):
            handle.search(np.eye(1, 16, dtype=np.float32)[0])
        assert handle.ingest(pictures).unchanged == 20


def test_an_ingest_whose_alias_is_moved_says_to_start_again(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection], pictures: Path
) -> None:
    first, second = both
    for i in range(20, 90):
        picture(i).save(pictures / f"{i:03}.jpg")
    files, moved = sorted(pictures.rglob("*.jpg")), threading.Event()
    with ImageCollection.open("live", uri=backend_uri) as handle:

        def some() -> Iterator[Path]:
            for path in files:
                if not moved.is_set() and first.count() > 20:
                    imgvec.set_alias(second, "live")
                    moved.set()
                time.sleep(0.05)
                yield path

        with pytest.raises(CollectionReplaced, match=r"'live' was moved from 'first' to 'second'.*start again"):
            handle.ingest(some())
        assert moved.is_set()
        assert second.count() == 20
        report = handle.ingest(pictures)
        assert (report.written, report.unchanged, handle.name, second.count()) == (70, 20, "second", 90)
    for query in (pictures / "033.jpg", pictures / "album0" / "04.jpg"):
        assert second.search(query, limit=1)[0].score == pytest.approx(1, abs=1e-3)


def test_writes_go_where_the_alias_leads(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection], pictures: Path
) -> None:
    first, second = both
    ids = [row["id"] for rows in first.store.scan([]) for row in rows]
    with (
        ImageCollection.open("live", uri=backend_uri) as handle,
        ImageCollection.open("live", uri=backend_uri) as other,
    ):
        held = other.store
        imgvec.set_alias(second, "live")
        assert handle.delete(ids[:3]) == 3
        assert (first.count(), second.count(), handle.count(), handle.name) == (20, 17, 17, "second")
        # whoever holds the former store by the alias writes nothing there any more
        row = {**first.get(ids[:1])[ids[0]], "id": "x"}
        for write in (
            lambda: held.upsert([row], np.eye(1, 16, dtype=np.float32)),
            lambda: held.delete(ids),
            lambda: held.remember("x", {}),
        ):
            with pytest.raises(CollectionReplaced, match="start again"):
                write()
        assert (first.count(), second.count()) == (20, 17)
        assert handle.delete_where("width > 0") == 17
        assert (first.count(), second.count()) == (20, 0)
        other.refresh()
        assert (other.name, other.definition) == ("second", second.definition)


def test_a_count_follows_within_a_second(backend_uri: str, both: tuple[ImageCollection, ImageCollection]) -> None:
    first, second = both
    first.delete([row["id"] for rows in first.store.scan([]) for row in rows][:5])
    with ImageCollection.open("live", uri=backend_uri) as handle:
        assert handle.count() == 15
        imgvec.set_alias(second, "live")
        waited(lambda: handle.count() == 20)
        assert handle.name == "second"


def test_an_encoder_that_cannot_be_had(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias is followed all the same: what it leads to can be searched by vector."""
    _, second = both

    def lacking(name: str, binding: Binding, settings: object, vector: str) -> FakeEncoder:
        if binding.dim == 24:
            raise EncoderUnavailable("no weights")
        return encoder_of(name, binding, settings, vector)

    monkeypatch.setattr("imgvec.loading.loaded_encoder", lacking)
    with ImageCollection.open("live", uri=backend_uri) as handle:
        handle.search(picture(0))
        imgvec.set_alias(second, "live")
        assert handle.search(np.eye(1, 24, dtype=np.float32)[0]).collection == "second"
        with pytest.raises(EncoderUnavailable, match="no weights"):
            handle.search(picture(0))


def test_the_callers_own_encoder_is_kept(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = both

    def lacking(*_: Any) -> FakeEncoder:
        raise EncoderUnavailable("only the caller has it")

    monkeypatch.setattr("imgvec.loading.loaded_encoder", lacking)
    own = FakeEncoder()
    with ImageCollection.open("live", uri=backend_uri, encoder=own) as handle:
        imgvec.set_alias(second, "live")
        waited(lambda: handle.search(f"id:{next(iter(first.store.scan([])))[0]['id']}").collection == "second")
        imgvec.set_alias(first, "live")
        handle.refresh()
        assert handle.search(picture(3)).collection == "first"
        assert handle.encoder is own


def test_a_collection_that_is_renamed_behind_its_alias(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection], pictures: Path
) -> None:
    first, _ = both
    with ImageCollection.open("live", uri=backend_uri) as handle:
        encoder = handle.encoder
        imgvec.rename(first, "third")
        assert handle.search(np.eye(1, 16, dtype=np.float32)[0]).collection == "third"
        assert (handle.count(), handle.encoder) == (20, encoder)
        assert handle.ingest(pictures).unchanged == 20


def test_an_alias_that_is_removed(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection], pictures: Path
) -> None:
    """What it led to is read on; nothing is written, since nobody says where."""
    first, _ = both
    with ImageCollection.open("live", uri=backend_uri) as handle:
        imgvec.drop_alias(first, "live")
        assert handle.search(picture(1)).collection == "first"
        time.sleep(1.1)
        assert handle.count() == 20
        for write in (lambda: handle.ingest(pictures), lambda: handle.delete(["x"])):
            with pytest.raises(CollectionNotFound):
                write()


def test_what_takes_several_steps_stays_in_one_collection(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection]
) -> None:
    first, second = both
    with ImageCollection.open("live", uri=backend_uri) as handle:
        pinned = handle.pinned()
        imgvec.set_alias(second, "live")
        time.sleep(1.1)
        assert pinned.search(picture(1)).collection == "first"
        assert (pinned.count(), pinned.name, pinned.alias) == (20, "first", "live")
        with pytest.raises(CollectionReplaced, match="start again"):
            pinned.delete_where("width > 0")
        assert pinned.pinned() is pinned
        assert first.pinned().name == "first"
        assert imgvec.verify(handle, queries=5, probes=5).rows == 20
        assert handle.name == "second"


def test_a_worker_writes_only_where_the_alias_led(
    backend_uri: str, both: tuple[ImageCollection, ImageCollection]
) -> None:
    first, second = both
    settings, incarnation = first.settings, first.store.incarnation
    store = opened_store("live", settings, incarnation)
    assert (store.name, store.count()) == ("first", 20)
    imgvec.set_alias(second, "live")
    with pytest.raises(CollectionReplaced, match="start again"):
        store.delete([row["id"] for rows in first.store.scan([]) for row in rows])
    with pytest.raises(CollectionReplaced, match="start again"):
        opened_store("live", settings, incarnation)
    assert (first.count(), second.count()) == (20, 20)
