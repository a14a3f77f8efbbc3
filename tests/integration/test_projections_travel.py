"""The projection that a collection keeps goes where its rows go: exports, folders for a bulk import, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture

import imgvec
from imgvec import ImageCollection, doctor
from imgvec.encoders.projected import ProjectedEncoder
from imgvec.encoders.projection import Projection
from imgvec.encoders.protocol import Binding, EncoderSpec
from imgvec.encoders.purposes import settled_spec
from imgvec.errors import EncoderUnavailable, SourceError
from imgvec.exchange import open_source
from imgvec.settings import Settings

MAP = Projection.orthogonal(16, 6, seed=4)
DEFINITION: dict[str, Any] = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        picture(number).save(folder / f"{number:02}.png")
    return folder


def white(uri: str, name: str = "white", **more: Any) -> ImageCollection:
    """A collection that keeps `MAP`, which came out of a file."""
    encoder = ProjectedEncoder(FakeEncoder(), MAP, f"/maps/a.npz@{MAP.digest()}")
    return ImageCollection.create(name, definition={**DEFINITION, **more}, uri=uri, encoder=encoder)


def check(name: str, uri: str, file: Path) -> None:
    """By the bare encoder it is searched with pictures: the map is there."""
    with ImageCollection.open(name, uri=uri, encoder=FakeEncoder()) as found:
        assert found.binding.projection == MAP.learned_name
        hits = found.search(file, limit=5)
        assert hits[0].uri == str(file)
        assert hits[0].score == pytest.approx(1, abs=1e-4)
        assert found.learned.keys() == [f"projection.{MAP.digest()}"]


@pytest.mark.parametrize("target", ["out.parquet", "out"])
def test_an_export_brings_it(target: str, backend_uri: str, pictures: Path, tmp_path: Path) -> None:
    with white(backend_uri) as made:
        made.ingest(pictures)
        imgvec.export_vectors(made, tmp_path / target)
        made.drop()
    settings = Settings.load(uri=backend_uri)
    with imgvec.create_for_vectors("again", tmp_path / target, settings=settings) as again:
        assert imgvec.import_vectors(again, tmp_path / target).written == 12
    check("again", backend_uri, pictures / "07.png")


def test_a_folder_for_a_bulk_import_brings_it(lite_uri: str, pictures: Path, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    with white(lite_uri) as made:
        assert made.ingest(pictures, via=staged).written == 12
        assert made.ingest(pictures, via=staged).unchanged == 12
        made.drop()
    settings = Settings.load(uri=lite_uri)
    with imgvec.create_for_vectors("again", staged, settings=settings) as again:
        assert imgvec.import_vectors(again, staged).written == 12
    check("again", lite_uri, pictures / "07.png")


def test_an_import_brings_what_the_collection_lacks(lite_uri: str, pictures: Path, tmp_path: Path) -> None:
    """As one does that 0.1.0's import made."""
    with white(lite_uri) as made:
        made.ingest(pictures)
        imgvec.export_vectors(made, tmp_path / "out.parquet")
        made.learned.forget(made.learned.keys()[0])
    with ImageCollection.open("white", uri=lite_uri) as made:
        # an export of it now has none to bring, and is one all the same
        imgvec.export_vectors(made, tmp_path / "less.parquet")
        assert (open_source(tmp_path / "less.parquet").projections, made.learned.keys()) == ({}, [])
        with pytest.raises(EncoderUnavailable, match="import an export"):
            made.search(pictures / "00.png")
        imgvec.import_vectors(made, tmp_path / "out.parquet")
    check("white", lite_uri, pictures / "03.png")


def test_one_that_is_damaged_on_its_way(lite_uri: str, pictures: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    with white(lite_uri) as made:
        made.ingest(pictures)
        imgvec.export_vectors(made, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    [key] = [key for key in table.schema.metadata if key.startswith(b"imgvec.projection ")]
    for number, (data, error, says) in enumerate(
        [
            (b"?", SourceError, "damaged"),
            (b"AAAA", EncoderUnavailable, "is not a projection"),
        ]
    ):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, key: data}), file)
        with pytest.raises(error, match=says):
            imgvec.create_for_vectors(f"no{number}", file, settings=Settings.load(uri=lite_uri))
    with pytest.raises(EncoderUnavailable, match="another projection"):
        Projection.unpacked(Projection.orthogonal(16, 6).packed(), MAP.learned_name)
    with ImageCollection.open("white", uri=lite_uri) as made:
        assert made.handle.connection.collections() == ["white", "white__learned"]


def test_a_copy_keeps_that_of_the_other_vector(lite_uri: str, pictures: Path) -> None:
    second = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}}
    texture = FakeEncoder(seed=5, dim=24)
    with ImageCollection.create(
        "both",
        definition={**DEFINITION, "vectors": {"texture": second}},
        uri=lite_uri,
        encoder=ProjectedEncoder(FakeEncoder(), MAP, f"/maps/a.npz@{MAP.digest()}"),
        encoders={"texture": texture},
    ) as both:
        both.ingest(pictures)
        imgvec.projected_copy(both, "copy", Projection.truncation(24, 9), vector="texture").close()
    encoders = {"vector": FakeEncoder(), "texture": texture}
    with ImageCollection.open("copy", uri=lite_uri, encoders=encoders) as copy:
        assert len(copy.learned.keys()) == 2
        for vector, dim in (("vector", 6), ("texture", 9)):
            assert copy.bindings[vector].dim == dim
            assert copy.search(pictures / "09.png", vector=vector, limit=1)[0].uri == str(pictures / "09.png")


def test_doctor_says_where_one_is_lost(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.encoders.describe", lambda *_: {}, raising=False)
    # these bring torch, and say nothing of collections
    monkeypatch.setattr(doctor, "_device", lambda *_: doctor.Finding("device", "ok", ""))
    monkeypatch.setattr(doctor, "_weights", lambda *_: [])

    def said() -> tuple[str, str]:
        [found] = [each for each in doctor.examine(Settings.load(uri=lite_uri)) if each.subject == "collection white"]
        return found.state, found.said

    with white(lite_uri) as made:
        key = made.learned.keys()[0]
    assert said() == ("ok", f"fake, dim 6, behind it {MAP.learned_name}")
    with ImageCollection.open("white", uri=lite_uri) as made:
        made.learned.forget(key)
    state, text = said()
    assert (state, "does not keep its projection" in text) == ("wrong", True)


def test_collections_of_before_keep_their_space(
    lite_uri: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the default encoder without its map, as every one was that is there: opened, searched, filled, exported,
    and asked for again by the definition that it was made from."""
    model, digest = "pypi:dinov2-small-11", "0" * 32
    bare = FakeEncoder(dim=384)
    bare.binding = Binding(model, "0.1.1", digest, None, "cls", 32, 384)
    definition = {**DEFINITION, "encoder": {"model": model}}
    with ImageCollection.create("photos", definition=definition, uri=lite_uri, encoder=bare) as photos:
        photos.ingest(pictures)
        before = {row["id"]: row["vector"] for rows in photos.store.scan(["vector"]) for row in rows}
    asked: list[EncoderSpec] = []

    def loaded(spec: EncoderSpec, **_: Any) -> FakeEncoder:
        asked.append(settled_spec(spec))
        return bare

    monkeypatch.setattr("imgvec.encoders.load_encoder", loaded, raising=False)
    picture(50).save(pictures / "50.png")
    with ImageCollection.create("photos", definition=definition, uri=lite_uri, exist_ok=True) as photos:
        assert (photos.binding.dim, photos.binding.projection) == (384, None)
        assert photos.search(pictures / "05.png", limit=1)[0].uri == str(pictures / "05.png")
        report = photos.ingest(pictures)
        assert (report.written, report.unchanged) == (1, 12)
        after = {row["id"]: row["vector"] for rows in photos.store.scan(["vector"]) for row in rows}
        for id_, vector in before.items():
            np.testing.assert_array_equal(after[id_], vector)
        imgvec.export_vectors(photos, tmp_path / "out.parquet")
    assert [(spec.model, spec.projection, spec.fit) for spec in asked] == [(model, None, None)]
    with imgvec.create_for_vectors("again", tmp_path / "out.parquet", settings=Settings.load(uri=lite_uri)) as again:
        assert imgvec.import_vectors(again, tmp_path / "out.parquet").written == 13
    with ImageCollection.open("again", uri=lite_uri) as again:
        assert again.binding == bare.binding
        assert again.search(pictures / "50.png", limit=1)[0].uri == str(pictures / "50.png")
