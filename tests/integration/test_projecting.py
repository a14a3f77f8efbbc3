"""A collection made again in a projected space: rows as exact NumPy has them, found by every client."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from pictures import picture

import imgvec
from imgvec import ImageCollection, ImageFile, StoredId, VectorQuery
from imgvec.cli import main
from imgvec.encoders.projected import ProjectedEncoder
from imgvec.encoders.projection import Projection
from imgvec.encoders.protocol import EncoderSpec
from imgvec.encoders.purposes import shipped
from imgvec.errors import (
    CollectionExists,
    CollectionNotFound,
    DefinitionError,
    EncoderMismatch,
    EncoderUnavailable,
    QueryError,
    UsageError,
)
from imgvec.ingest import Job
from imgvec.report import IngestReport
from imgvec.rows import CONTENT_HASH, view_ids
from imgvec.settings import Settings
from imgvec.vectors import Vectors

DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 32, "default": ""}},
    "index": {"cpu": {"type": "FLAT"}},
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(60):
        picture(number).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def photos(backend_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    with ImageCollection.create("photos", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as made:
        known = {str(pictures / f"{n:02}.png"): {"album": f"a{n % 6}", "shade": n} for n in range(60)}
        made.ingest(pictures, metadata=known)
        yield made


def rows_of(collection: ImageCollection) -> dict[str, dict[str, Any]]:
    names = ("*", *collection.store.vectors)
    return {row["id"]: row for rows in collection.store.scan(names) for row in rows}


def by_numpy(vectors: Vectors, dim: int, power: float, shrinkage: float = 0.1) -> Vectors:
    """Of unit length, up to the signs of their elements."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    values, directions = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
    values, directions = values[::-1][:dim], directions[:, ::-1][:, :dim]
    found = (vectors - mean) @ (directions / (values + shrinkage * values.mean()) ** power)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_rows_scores_and_every_client(
    photos: ImageCollection, pictures: Path, backend_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows_of(photos)
    with imgvec.projected_copy(photos, "white", dim=6, power=0.25) as white:
        after = rows_of(white)
        assert after.keys() == before.keys()
        for id_, row in before.items():
            assert {k: v for k, v in after[id_].items() if k != "vector"} == {
                k: v for k, v in row.items() if k != "vector"
            }
        vectors, made = (np.stack([rows[id_]["vector"] for id_ in before]) for rows in (before, after))
        expected = by_numpy(vectors, 6, 0.25)
        np.testing.assert_allclose(made @ made.T, expected @ expected.T, atol=1e-4)

        # the encoder that was in memory serves, with the projection behind it
        file = pictures / "05.png"
        assert [hit.uri for hit in white.search(file, limit=1)] == [str(file)]
        hits = white.search(file, limit=10)
    query = next(i for i, row in enumerate(before.values()) if row["uri"] == str(file))
    scores = np.sort(expected @ expected[query])[::-1][:10]
    np.testing.assert_allclose([hit.score for hit in hits], scores, atol=1e-4)

    # another client: the encoder is loaded by its name, with what the collection keeps
    asked = []

    def loaded(spec: Any, *, projection: Projection | None = None, **_: Any) -> Any:
        asked.append(spec.projection)
        assert projection is not None
        return ProjectedEncoder(FakeEncoder(), projection, projection.learned_name)

    monkeypatch.setattr("imgvec.encoders.load_encoder", loaded, raising=False)
    with ImageCollection.open("white", uri=backend_uri) as again:
        assert [(hit.uri, round(hit.score, 4)) for hit in again.search(file, limit=10)] == [
            (hit.uri, round(hit.score, 4)) for hit in hits
        ]
        assert asked == [again.binding.projection]
        assert str(again.binding.projection).startswith("learned:projection@")
        # a picture that comes later is encoded into the same space, and an old one is passed over
        picture(99).save(pictures / "99.png")
        report = again.ingest(pictures)
        assert (report.written, report.unchanged) == (1, 60)
        stored = next(row for row in rows_of(again).values() if row["uri"] == str(pictures / "99.png"))
        [alone] = again.vectors([ImageFile(pictures / "99.png")])
        np.testing.assert_allclose(stored["vector"], alone, atol=1e-5)

    # one that is given the bare encoder
    with ImageCollection.open("white", uri=backend_uri, encoder=FakeEncoder()) as given:
        assert given.search(file, limit=1)[0].uri == str(file)
    with pytest.raises(EncoderMismatch, match="fingerprint"):
        ImageCollection.open("white", uri=backend_uri, encoder=FakeEncoder(seed=3))


def test_compared_and_taken_into_use(photos: ImageCollection, pictures: Path, backend_uri: str) -> None:
    imgvec.set_alias(photos, "live")
    live = ImageCollection.open("live", uri=backend_uri, encoder=FakeEncoder())
    with live, imgvec.projected_copy(photos, "white", dim=8) as white:
        found = imgvec.compare(photos, white, label="album", exact=True)
        assert (found.first.ranking, len(found.first.names), len(found.second.names)) == ("exact", 60, 60)
        imgvec.set_alias(white, "live")
        deadline = time.monotonic() + 20
        while (answer := live.search(pictures / "07.png", limit=1)).collection != "white":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert answer[0].uri == str(pictures / "07.png")
        assert live.binding.dim == 8
        # and back: what lay behind the projection serves alone
        imgvec.set_alias(photos, "live")
        while (answer := live.search(pictures / "07.png", limit=1)).collection != "photos":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert live.binding.projection is None


def test_a_projection_that_is_given(photos: ImageCollection, tmp_path: Path) -> None:
    projection = Projection.orthogonal(16, 5, seed=2)
    projection.save(tmp_path / "map.npz")
    vectors = {id_: row["vector"] for id_, row in rows_of(photos).items()}
    for name, given in (("one", projection), ("two", tmp_path / "map.npz")):
        with imgvec.projected_copy(photos, name, given) as made:
            for id_, row in rows_of(made).items():
                expected = vectors[id_] @ projection.matrix
                np.testing.assert_allclose(row["vector"], expected / np.linalg.norm(expected), atol=1e-5)
            assert made.binding.projection == projection.learned_name
            with pytest.raises(UsageError, match="projected already"):
                imgvec.projected_copy(made, "three")
    with pytest.raises(UsageError, match="omit dim"):
        imgvec.projected_copy(photos, "three", projection, dim=4)


def test_what_fails_leaves_nothing(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = photos.handle.connection
    with pytest.raises(UsageError, match=r"60 vectors of 16 dimensions are too few .* needs 88"):
        imgvec.projected_copy(photos, "white", power=0.5)
    with pytest.raises(UsageError, match=r"nothing is left of the vector"):
        imgvec.projected_copy(photos, "white", Projection(np.zeros(16, np.float32), np.zeros((16, 2), np.float32)))
    with pytest.raises(EncoderUnavailable, match="projects 5 dimensions, the model has 16"):
        imgvec.projected_copy(photos, "white", Projection.truncation(5, 2))
    with pytest.raises(CollectionExists):
        imgvec.projected_copy(photos, "photos", dim=4)

    def stop(_event: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imgvec.projected_copy(photos, "white", Projection.truncation(16, 4), on_progress=stop)
    assert connection.collections() == ["photos"]


def test_one_whose_projection_is_gone(photos: ImageCollection, pictures: Path, backend_uri: str) -> None:
    with imgvec.projected_copy(photos, "white", dim=4) as white:
        white.learned.forget(white.learned.keys()[0])
        [first, *_] = rows_of(white)
    with ImageCollection.open("white", uri=backend_uri) as again:
        assert len(again.search(StoredId(first), limit=3)) == 3
        with pytest.raises(EncoderUnavailable, match="does not keep its projection"):
            again.search(pictures / "00.png")


def test_a_definition_with_a_file_keeps_it_with_the_collection(
    backend_uri: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may go: what it held is in Milvus."""
    projection = Projection.orthogonal(16, 6)
    projection.save(tmp_path / "map.safetensors")
    name = f"{tmp_path / 'map.safetensors'}@{projection.digest()}"
    with ImageCollection.create(
        "kept", definition=DEFINITION, uri=backend_uri, encoder=ProjectedEncoder(FakeEncoder(), projection, name)
    ) as made:
        made.ingest(pictures)
        assert made.binding.projection == projection.learned_name
    (tmp_path / "map.safetensors").unlink()
    with ImageCollection.open("kept", uri=backend_uri, encoder=FakeEncoder()) as again:
        assert again.search(pictures / "11.png", limit=1)[0].uri == str(pictures / "11.png")
    # the same projection from a file is the same encoder
    with ImageCollection.open(
        "kept", uri=backend_uri, encoder=ProjectedEncoder(FakeEncoder(), projection, name)
    ) as again:
        assert again.binding.dim == 6
    other = Projection.orthogonal(16, 6, seed=1)
    with pytest.raises(EncoderMismatch, match="projection"):
        ImageCollection.open(
            "kept", uri=backend_uri, encoder=ProjectedEncoder(FakeEncoder(), other, f"/x@{other.digest()}")
        )


def test_views_keep_their_journal(backend_uri: str, pictures: Path) -> None:
    definition = {**DEFINITION, "views": {"grid": 2}}
    with ImageCollection.create("views", definition=definition, uri=backend_uri, encoder=FakeEncoder()) as made:
        made.ingest(pictures)
        rows = made.count()
        with imgvec.projected_copy(made, "white", dim=8) as white:
            assert (white.count(), white.count_pictures()) == (rows, 60)
            journal = white.handle.target.journal
            assert journal is not None
            entries = [entry for page in journal.scan(["content_hash", "views"]) for entry in page]
            assert all(entry[CONTENT_HASH] for entry in entries)
            assert {row for entry in entries for row in view_ids(entry["id"], entry["views"])} == rows_of(white).keys()
            assert white.ingest(pictures).unchanged == 60
            assert white.search(pictures / "21.png", limit=1)[0].uri == str(pictures / "21.png")


def test_one_of_several_vectors(lite_uri: str, pictures: Path) -> None:
    second = {"encoder": {"model": "fake"}, "vector": {"metric_type": "L2"}, "index": {"cpu": {"type": "FLAT"}}}
    texture = FakeEncoder(seed=5, dim=24)
    with ImageCollection.create(
        "both",
        definition={**DEFINITION, "vectors": {"texture": second}},
        uri=lite_uri,
        encoder=FakeEncoder(),
        encoders={"texture": texture},
    ) as both:
        both.ingest(pictures)
        before = rows_of(both)
        with imgvec.projected_copy(both, "white", vector="texture", dim=9, power=0.0) as white:
            after = rows_of(white)
            ids = list(before)
            for id_ in ids:
                np.testing.assert_array_equal(after[id_]["vector"], before[id_]["vector"])
            found, expected = (np.stack([rows[id_]["texture"] for id_ in ids]) for rows in (after, before))
            expected = by_numpy(expected, 9, 0.0)
            np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
            assert {name: each.dim for name, each in white.bindings.items()} == {"vector": 16, "texture": 9}
            assert white.search(pictures / "09.png", vector="texture", limit=1)[0].uri == str(pictures / "09.png")


def test_fits_from_a_collection_a_file_an_array_and_pictures_agree(
    lite_uri: str, pictures: Path, tmp_path: Path
) -> None:
    with ImageCollection.create("photos", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures)
        vectors = np.stack([row["vector"] for row in rows_of(photos).values()])
        np.save(tmp_path / "vectors.npy", vectors)
        (pictures / "broken.png").write_bytes(b"no picture")
        fits = [
            imgvec.fit_projection(photos, dim=8),
            imgvec.fit_projection(vectors, dim=8),
            imgvec.fit_projection(tmp_path / "vectors.npy", dim=8),
            imgvec.fit_projection(str(pictures), model=FakeEncoder(), dim=8, settings=Settings.load(uri=lite_uri)),
        ]
        for each in fits[1:]:
            np.testing.assert_allclose(each.mean, fits[0].mean, atol=1e-6)
            np.testing.assert_allclose(np.abs(each.matrix), np.abs(fits[0].matrix), atol=1e-3)
        with pytest.raises(UsageError, match="omit the model"):
            imgvec.fit_projection(photos, model="m")
        with pytest.raises(QueryError, match="has no vector 'texture'"):
            imgvec.fit_projection(photos, vector="texture")
        with pytest.raises(UsageError, match="give the model"):
            imgvec.fit_projection(imgvec.Source(pictures))


def test_a_collection_of_vectors_made_elsewhere(lite_uri: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((100, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(tmp_path / "v.npy", vectors)
    settings = Settings.load(uri=lite_uri)
    with imgvec.create_for_vectors("plain", tmp_path / "v.npy", settings=settings) as plain:
        imgvec.import_vectors(plain, tmp_path / "v.npy")
        projection = imgvec.fit_projection(plain, dim=6)
        with imgvec.projected_copy(plain, "white", projection) as white:
            query = projection(vectors[40:41])[0]
            assert white.search(VectorQuery(query), limit=1)[0].score == pytest.approx(1, abs=1e-4)
            with pytest.raises(CollectionNotFound):
                ImageCollection.open("whit", uri=lite_uri)


def test_the_commands(lite_uri: str, pictures: Path, tmp_path: Path) -> None:
    with ImageCollection.create("photos", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures)
        vectors = np.stack([row["vector"] for row in rows_of(photos).values()])
    np.save(tmp_path / "v.npy", vectors)

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["--uri", lite_uri, *words])

    out = tmp_path / "map.safetensors"
    done = run("encoders", "fit-projection", str(tmp_path / "v.npy"), str(out), "--dim", "7", "--power", "0")
    assert done.exit_code == 0, done.output
    assert "16 to 7 dimensions" in done.stdout
    assert Projection.load(out).digest() == imgvec.fit_projection(vectors, dim=7, power=0.0).digest()
    done = run(
        "encoders", "fit-projection", str(tmp_path / "v.npy"), str(tmp_path / "no.safetensors"), "--power", "0.5"
    )
    assert done.exit_code == 1
    assert "needs 88" in done.stderr
    assert not (tmp_path / "no.safetensors").exists()

    done = run("collections", "fit-projection", "photos", "white", "--dim", "5")
    assert done.exit_code == 0, done.output
    assert "60 rows" in done.stdout
    done = run("collections", "fit-projection", "photos", "given", "--projection", str(out))
    assert done.exit_code == 0, done.output
    for name, dim, expected in (("white", 5, None), ("given", 7, Projection.load(out).learned_name)):
        with ImageCollection.open(name, uri=lite_uri, encoder=FakeEncoder()) as made:
            assert (made.count(), made.binding.dim) == (60, dim)
            assert expected in (None, made.binding.projection)
    assert run("collections", "fit-projection", "photos", "x", "--projection", str(out), "--dim", "3").exit_code != 0


def test_without_a_projection_whatever_the_definition_says(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[EncoderSpec] = []

    def load(spec: EncoderSpec, _fallback: str | None, **_: Any) -> tuple[Any, bool]:
        asked.append(spec)
        projection = Projection.truncation(16, 3)
        if spec.projection == "none":
            return FakeEncoder(), False
        return ProjectedEncoder(FakeEncoder(), projection, f"/maps/a.npz@{projection.digest()}"), False

    monkeypatch.setattr("imgvec.encoders.load_with_fallback", load, raising=False)
    definition = {**DEFINITION, "encoder": {"model": "fake", "purpose": "copies", "projection": "/maps/a.npz"}}
    with ImageCollection.create("with", definition=definition, uri=lite_uri) as made:
        assert (made.binding.dim, made.binding.keeps_projection) == (3, True)
    with ImageCollection.create("bare", definition=definition, uri=lite_uri, projection=False) as made:
        assert (made.binding.dim, made.binding.projection) == (16, None)
    assert [(spec.purpose, spec.projection) for spec in asked] == [("copies", "/maps/a.npz"), ("copies", "none")]
    with ImageCollection.create("bare", definition=definition, uri=lite_uri, projection=False, exist_ok=True) as made:
        assert made.binding.dim == 16
    with pytest.raises(DefinitionError, match="already exists with a projection"):
        ImageCollection.create("with", uri=lite_uri, projection=False, exist_ok=True)

    file = Path(lite_uri).with_name("d.yaml")
    file.write_text("encoder: {model: fake, projection: /maps/a.npz}\n", encoding="utf-8")
    done = CliRunner().invoke(
        main, ["--uri", lite_uri, "collections", "create", "third", "--definition", str(file), "--no-projection"]
    )
    assert "(dim 16)" in done.output


def test_the_purpose_chooses_the_power(lite_uri: str, pictures: Path) -> None:
    for purpose, power in (("copies", 0.5), ("classes", 0.25)):
        definition = {**DEFINITION, "encoder": {"model": "fake", "purpose": purpose}, "views": {"grid": 2}}
        with ImageCollection.create(purpose, definition=definition, uri=lite_uri, encoder=FakeEncoder()) as made:
            made.ingest(pictures)  # 300 rows
            assert imgvec.fit_projection(made).digest() == imgvec.fit_projection(made, power=power).digest()
            assert imgvec.fit_projection(made).digest() != imgvec.fit_projection(made, power=0.1).digest()


def test_a_map_that_comes_with_imgvec_however_few_the_rows(lite_uri: str, pictures: Path) -> None:
    encoder = FakeEncoder(dim=384)
    with ImageCollection.create("photos", definition=DEFINITION, uri=lite_uri, encoder=encoder) as photos:
        photos.ingest(pictures)
        vectors = {id_: row["vector"] for id_, row in rows_of(photos).items()}
    words = ["collections", "fit-projection", "photos", "white", "--projection", "shipped:dinov2-small-11/copies"]
    done = CliRunner().invoke(main, ["--uri", lite_uri, *words])
    assert done.exit_code == 0, done.output
    projection = shipped("dinov2-small-11/copies")
    with ImageCollection.open("white", uri=lite_uri, encoder=encoder) as white:
        assert white.binding.projection_digest == projection.digest()
        for id_, row in rows_of(white).items():
            expected = (vectors[id_] - projection.mean) @ projection.matrix
            np.testing.assert_allclose(row["vector"], expected / np.linalg.norm(expected), atol=1e-4)


def test_other_processes_get_the_projection_with_the_way_to_load_the_encoder(
    lite_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ImageCollection.create("photos", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures)
        with imgvec.projected_copy(photos, "white", dim=4) as white:
            jobs = []

            class Elsewhere:
                def ingest(self, job: Job, **_: Any) -> IngestReport:
                    jobs.append(job)
                    return IngestReport()

            white.ingest(pictures, engine=Elsewhere())
            factories = pickle.loads(pickle.dumps(jobs[0].encoder_factories))
            digest = white.binding.projection_digest

    def loaded(_spec: Any, *, projection: Projection | None = None, **_: Any) -> Any:
        assert projection is not None
        return ProjectedEncoder(FakeEncoder(), projection, projection.learned_name)

    monkeypatch.setattr("imgvec.encoders.load_encoder", loaded, raising=False)
    assert factories["vector"]().binding.projection_digest == digest
