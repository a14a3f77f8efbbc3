"""Another encoder for a collection that goes on serving: nothing is mixed, missing or lost, whatever is written."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import BY_NIGHT, SERVER_BY_NIGHT
from changing_models import DEFINITION, Asking, SlowEncoder, check_vectors, encoder_of, hashes, new_encoder, old_encoder
from click.testing import CliRunner
from fakes import FakeEncoder
from pictures import picture

import imgvec
from imgvec import ImageCollection
from imgvec.cli import main
from imgvec.encoders.protocol import Pixels
from imgvec.errors import BackendError, CollectionReplaced, EncoderMismatch, SwapRefused, UsageError
from imgvec.migration import Since
from imgvec.progress import Progress
from imgvec.vectors import Vectors
from imgvec.verbs import reembedding
from imgvec.verbs.succeeding import Moving


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.loading.loaded_encoder", encoder_of)
    monkeypatch.setattr(reembedding, "HOLD_SECONDS", 0.0)


@pytest.fixture
def photos(backend_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    """Twenty pictures with their albums."""
    yield from filled(backend_uri, pictures)


@pytest.fixture
def lite_photos(lite_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    yield from filled(lite_uri, pictures)


def filled(uri: str, pictures: Path) -> Iterator[ImageCollection]:
    with ImageCollection.create("photos", definition=DEFINITION, uri=uri, encoder=old_encoder()) as photos:
        photos.ingest(pictures, metadata={f"album{i % 2}/{i:02}.jpg": {"album": f"a{i % 2}"} for i in range(20)})
        yield photos
        connection = photos.handle.connection
        for (
            alias
        ) in connection.aliases():  # a server would keep it when the collection is dropped, and its name with it
            connection.link.client.drop_alias(alias)


def waited(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def by_name(photos: ImageCollection) -> list[str]:
    """The ids in the order of the uris."""
    rows = [row for rows in photos.store.scan(["uri"]) for row in rows]
    return [row["id"] for row in sorted(rows, key=lambda row: str(row["uri"]))]


def added(folder: Path, *seeds: int) -> list[Path]:
    paths = [folder / f"added{seed}.jpg" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        picture(seed).save(path, quality=95)
    return paths


@pytest.mark.alone
@pytest.mark.parametrize(
    ("backend_uri", "name", "dim"),
    [
        pytest.param("lite", "live", 16, id="lite-alias, equal length"),
        pytest.param("lite", "live", 24, id="lite-alias, other length"),
        pytest.param("lite", "photos", 16, id="lite-own name"),
        pytest.param("server", "live", 16, id="server-alias, equal length", marks=BY_NIGHT),
        pytest.param("server", "live", 24, id="server-alias, other length", marks=BY_NIGHT),
        pytest.param("server", "photos", 16, id="server-own name", marks=pytest.mark.server),
    ],
    indirect=["backend_uri"],
)
def test_no_answer_is_mixed_or_fails_while_the_model_changes(
    backend_uri: str, photos: ImageCollection, name: str, dim: int
) -> None:
    imgvec.set_alias(photos, "live")
    with ImageCollection.open(name, uri=backend_uri) as handle, ImageCollection.open(name, uri=backend_uri) as own:
        waited(lambda: len(handle.search(picture(0), limit=20)) == 20)  # by a server not at once
        with Asking(handle) as asking:
            done = imgvec.reembed(own, new_encoder(dim))
            asking.until_answers_come_from(done.target)
            back = imgvec.rollback_reembedding(own)
            asking.until_answers_come_from(done.source)
        assert (done.swapped, done.encoded, done.rows, done.lost) == (True, 20, 20, ())
        assert (back.swapped, back.encoded, back.source, back.target) == (True, 0, done.target, done.source)
        with (
            ImageCollection.open(done.source, uri=backend_uri) as old,
            ImageCollection.open(done.target, uri=backend_uri) as new,
        ):
            wrong, given = asking.wrong((old, old_encoder()), (new, new_encoder(dim)))
            assert check_vectors(new, new_encoder(dim)) == 20
        print(f"{len(asking.answers)} answers, {len(wrong)} mixed or short, {len(asking.failed)} failed: {dict(given)}")
        assert (asking.failed, wrong) == ([], [])
        assert min(given[0], given[1]) > 5, "both have answered"
        # of a collection's own name an alias is made, and all aliases of it go with it, there and back
        names = ("live", "photos") if name == "photos" else ("live",)
        assert own.handle.connection.aliases() == dict.fromkeys(names, done.source)


def test_what_is_written_and_deleted_meanwhile_comes_too(
    backend_uri: str, photos: ImageCollection, pictures: Path
) -> None:
    """By handles that were open before, by the collection's own name and by an alias."""
    imgvec.set_alias(photos, "live")
    ids = by_name(photos)[4:]
    turns = []
    with (
        ImageCollection.open("live", uri=backend_uri) as by_alias,
        ImageCollection.open("live", uri=backend_uri) as own,
    ):

        def meanwhile(_: Progress) -> None:
            turns.append(1)
            if len(turns) == 1:
                photos.delete(ids[:2])
                by_alias.delete(ids[2:3])
                by_alias.ingest(added(pictures, 50, 51))
                photos.ingest(pictures, metadata={"album0/00.jpg": {"album": "changed"}})

        before = {row["id"]: row["ingested_at"] for rows in photos.store.scan(["ingested_at"]) for row in rows}
        done = imgvec.reembed(own, new_encoder(), on_progress=meanwhile)
        assert done.swapped
        assert own.name == done.target == by_alias.pinned().name
        # the deletion of what the ingest brought again came to nothing; what was there is as it was
        assert hashes(own) == hashes(photos)
        assert own.count() == 22
        assert check_vectors(own, new_encoder()) == 22
        rows = {row["uri"][-6:]: row for rows in own.store.scan(["uri", "album", "ingested_at"]) for row in rows}
        assert rows["00.jpg"]["album"] == "changed"
        assert rows["01.jpg"]["album"] == "a1"
        assert sum(before.get(row["id"]) == row["ingested_at"] for row in rows.values()) >= 15
        by_alias.delete(list(hashes(own))[:4])
        by_alias.ingest(added(pictures, 52))
        assert own.count() == 19
        # back again, with what was written since
        back = imgvec.rollback_reembedding(own)
        assert (back.encoded, back.deleted) == (1, 4)
        assert hashes(photos) == hashes(own)
        assert check_vectors(photos, old_encoder()) == 19


@SERVER_BY_NIGHT
def test_what_comes_late_is_brought_once_more(
    backend_uri: str, photos: ImageCollection, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes to the old one between the last comparison and the swap; and what clients do in the new one stays."""
    imgvec.set_alias(photos, "live")
    ids = by_name(photos)[4:]
    swap, bring = Moving.swap, Moving.bring

    def late(moving: Moving) -> None:
        photos.delete(ids[:1])
        photos.ingest(added(pictures, 60))
        photos.ingest(pictures, metadata={"album0/00.jpg": {"album": "late"}})  # brings the deleted one again
        photos.delete(ids[1:2])
        swap(moving)

    def clients(moving: Moving, judge: Any, kept: Any = ()) -> bool:
        if isinstance(judge, Since) and not deleted:
            deleted.extend(ids[5:7])
            moving.target.delete(deleted)
            moving.target.ingest(added(pictures, 61))
        return bring(moving, judge, kept)

    deleted: list[str] = []
    monkeypatch.setattr(Moving, "swap", late)
    monkeypatch.setattr(Moving, "bring", clients)
    with ImageCollection.open("live", uri=backend_uri) as own:
        done = imgvec.reembed(own, new_encoder())
        assert done.swapped
        assert done.late >= 3
        expected = {*hashes(photos)} - {*deleted}
        [new] = {*hashes(own)} - expected
        assert own.get([new])[new]["uri"].endswith("added61.jpg")
        assert {*hashes(own)} - {new} == expected
        assert own.count(imgvec.field("album") == "late") == 1
        assert check_vectors(own, new_encoder()) == own.count()


@SERVER_BY_NIGHT
def test_a_run_that_was_stopped_is_gone_on_with(backend_uri: str, photos: ImageCollection) -> None:
    stop = threading.Event()

    class Stopping(SlowEncoder):
        def encode(self, pixels: Pixels) -> Vectors:
            if self.encoded >= 8:
                stop.set()
            return super().encode(pixels)

    encoder = Stopping(seed=7)
    with ImageCollection.open("photos", uri=backend_uri) as own:
        first = imgvec.reembed(own, encoder, stop=stop)
        assert (first.interrupted, first.swapped) == (True, False)
        assert 0 < first.rows < 20
        assert (own.name, own.count()) == ("photos", 20)
        filled = imgvec.reembed(own, encoder, swap=False)
        assert (filled.encoded, filled.rows, filled.swapped) == (20 - first.rows, 20, False)
        done = imgvec.reembed(own, encoder)
        assert (done.encoded, done.rows, done.swapped, done.target) == (0, 20, True, first.target)
        assert encoder.encoded == 20
        again = imgvec.reembed(own, encoder)
        assert (again.encoded, again.swapped, again.target) == (0, True, first.target)
        assert imgvec.finish_reembedding(own) == done.source
        with pytest.raises(UsageError, match="nothing to go back to"):
            imgvec.rollback_reembedding(own)
        assert own.handle.connection.aliases() == {"photos": done.target}
        names = {name for name in own.handle.connection.collections() if "__" not in name}
        assert names == {done.target}


@SERVER_BY_NIGHT
def test_pictures_that_cannot_be_read_again(
    backend_uri: str, photos: ImageCollection, pictures: Path, tmp_path: Path
) -> None:
    gone, other, broken = (pictures / name for name in ("album0/00.jpg", "album1/01.jpg", "album0/02.jpg"))
    gone.unlink()
    picture(77).save(other)
    content = broken.read_bytes()
    with ImageCollection.open("photos", uri=backend_uri) as own:
        with pytest.raises(SwapRefused, match=r"the pictures of 2 rows of 'photos' cannot be read again"):
            imgvec.reembed(own, new_encoder(), errors=tmp_path / "lost.jsonl")
        lost = [json.loads(line) for line in (tmp_path / "lost.jsonl").read_text().splitlines()]
        assert sorted((each["uri"], each["reason"]) for each in lost) == [
            (str(gone), "missing"),
            (str(other), "missing"),
        ]
        assert (own.count(), own.name) == (20, "photos")
        done = imgvec.reembed(own, new_encoder(), allow_missing=True)
        assert (done.encoded, done.rows, len(done.lost), own.count()) == (0, 18, 2, 18)
        assert content == broken.read_bytes()
        # what was lost is not deleted on the way back
        assert imgvec.rollback_reembedding(own).deleted == 0
        assert own.count() == 20


def test_the_two_are_compared_by_labels(lite_photos: ImageCollection, lite_uri: str) -> None:
    class Useless(FakeEncoder):
        def encode(self, pixels: Any) -> Any:
            random = np.random.default_rng(len(pixels) + self.encoded)
            self.encoded += len(pixels)
            made = random.standard_normal((len(pixels), self.binding.dim)).astype(np.float32)
            return made / np.linalg.norm(made, axis=1, keepdims=True)

    rows = [row for rows in lite_photos.store.scan(["*", "vector"]) for row in rows]
    vectors = np.stack([row.pop("vector") for row in rows])
    for row, vector in zip(rows, vectors, strict=True):
        vector[:] = np.eye(16)[int(row["album"] == "a1")] + 0.01 * vector
    lite_photos.store.upsert(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    with ImageCollection.open("photos", uri=lite_uri) as own:
        with pytest.raises(SwapRefused, match=r"'photos_2' is worse than 'photos': map@10") as refused:
            imgvec.reembed(own, Useless(seed=3), label="album", sample=20)
        assert refused.value.outcome.comparison.micro[0].first == 1.0
        done = imgvec.reembed(own, Useless(seed=3), label="album", sample=20, allow_worse=True)
        assert done.swapped
        assert done.to_dict()["comparison"]["queries"] == 20


def test_further_vectors_stay_as_they_are(lite_uri: str, pictures: Path) -> None:
    definition = {**DEFINITION, "vectors": {"texture": {"encoder": {"model": "fake"}}}}
    encoders = {"vector": FakeEncoder(), "texture": FakeEncoder(dim=8, seed=2)}
    with ImageCollection.create("photos", definition=definition, uri=lite_uri, encoders=encoders) as photos:
        photos.ingest(pictures)

        def stored(name: str) -> Any:
            return {row["id"]: row[name] for rows in photos.store.scan([name]) for row in rows}

        before = {name: stored(name) for name in encoders}
        for name, made in (("texture", FakeEncoder(dim=12, seed=5)), ("vector", FakeEncoder(dim=20, seed=6))):
            done = imgvec.reembed(photos, made, vector=name)
            assert done.encoded == 20
            other = "vector" if name == "texture" else "texture"
            now = {each: stored(each) for each in encoders}
            assert all(np.array_equal(now[other][id_], before[other][id_]) for id_ in before[other])
            assert next(iter(now[name].values())).shape == (made.binding.dim,)
            before = now
        assert photos.search(picture(3), limit=1, vector="texture")[0].score == pytest.approx(1, abs=1e-3)


def test_what_is_refused(lite_photos: ImageCollection, lite_uri: str, pictures: Path) -> None:
    with pytest.raises(UsageError, match="already"):
        imgvec.reembed(lite_photos, FakeEncoder())
    assert {name for name in lite_photos.handle.connection.collections() if "__" not in name} == {"photos"}
    with pytest.raises(UsageError, match="was not re-embedded"):
        imgvec.rollback_reembedding(lite_photos)
    with pytest.raises(UsageError, match="was not re-embedded"):
        imgvec.finish_reembedding(lite_photos)
    told: list[str] = []
    imgvec.reembed(lite_photos, new_encoder(), swap=False)
    done = imgvec.reembed(lite_photos, FakeEncoder(dim=20, seed=9), on_notice=told.append)
    assert (done.target, done.source) == ("photos_2", "photos_1") or told


def test_a_handle_in_the_middle_of_an_ingest_is_told_to_start_again(
    lite_photos: ImageCollection, lite_uri: str, pictures: Path
) -> None:
    paths = added(pictures, *range(60, 75))
    with ImageCollection.open("photos", uri=lite_uri) as writer, ImageCollection.open("photos", uri=lite_uri) as own:

        def some() -> Iterator[Path]:
            for number, path in enumerate(paths):
                if number == 5:
                    imgvec.reembed(own, new_encoder())
                time.sleep(0.3 if number > 4 else 0)
                yield path

        with pytest.raises((CollectionReplaced, EncoderMismatch)):
            writer.ingest(some())
        report = writer.ingest(pictures)
        assert (report.seen, writer.name, writer.count()) == (35, "photos_2", 35)
        assert check_vectors(own, new_encoder()) == 35


def test_old_rows_answer_the_new_model_by_a_bridge(lite_photos: ImageCollection, lite_uri: str, pictures: Path) -> None:
    lite_photos.ingest(added(pictures, *range(20, 80)))
    made = new_encoder(12)
    with ImageCollection.create("begun", definition=DEFINITION, uri=lite_uri, encoder=made) as begun:
        with pytest.raises(UsageError, match="no rows in common"):
            imgvec.fit_bridge(lite_photos, begun)
        begun.ingest(pictures)
        begun.delete(by_name(begun)[:30])
        copy, bridge = imgvec.bridged_copy(lite_photos, begun, "bridged", sample=45)
        with copy:
            assert (bridge.pairs, copy.count(), copy.binding) == (45, 80, begun.binding)
            old, true, found = (
                {row["id"]: row for rows in each.store.scan(["vector", "album"]) for row in rows}
                for each in (lite_photos, begun, copy)
            )
            for id_, row in found.items():
                vector = true[id_]["vector"] if id_ in true else bridge(old[id_]["vector"][None])[0]
                np.testing.assert_allclose(row["vector"], vector, atol=1e-5)
                assert row["album"] == old[id_]["album"]
            assert copy.search(picture(3), limit=80)[79].score > -1
        begun.delete(by_name(begun)[:35])
        with pytest.raises(UsageError, match="20 pictures or more"):
            imgvec.fit_bridge(lite_photos, begun)


def test_the_command(
    lite_photos: ImageCollection, lite_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgvec.opening.first_encoder", lambda *_, **__: new_encoder())
    (pictures / "album0" / "00.jpg").unlink()

    def run(*words: str) -> Any:
        return CliRunner().invoke(main, ["--uri", lite_uri, "reembed", "-c", "photos", *words])

    assert run().exit_code == 2
    assert run("--model", "other", "--finish").exit_code == 2
    refused = run("--model", "other")
    assert refused.exit_code == 1
    assert "00.jpg: missing" in refused.stdout
    assert "cannot be read again" in refused.stderr
    done = run("--model", "other", "--allow-missing", "-o", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["swapped"] is True
    assert "photos: leads to photos_1 now; photos_2 is kept" in run("--rollback").stdout
    assert "photos: leads to photos_2 now; photos_1 is kept" in run("--model", "other", "--allow-missing").stdout
    assert "photos_1: dropped" in run("--finish", "--yes").stdout
    with ImageCollection.open("photos", uri=lite_uri) as photos:
        assert (photos.name, photos.count()) == ("photos_2", 19)


@pytest.mark.parametrize("name", ["a b", "photos-new"])
def test_a_name_that_none_can_have_is_not_kept_for_the_next_run(lite_photos: ImageCollection, name: str) -> None:
    with pytest.raises(BackendError, match="not a valid collection name"):
        imgvec.reembed(lite_photos, new_encoder(), into=name)
    outcome = imgvec.reembed(lite_photos, new_encoder())
    assert (outcome.target, outcome.swapped) == ("photos_2", True)
