"""Faces in pictures: found, kept as rows and searched for; dlib on the astronaut of scikit-image's wheel.

These show the mechanics. How often faces are told right cannot be learned from one.
"""

from __future__ import annotations

import ctypes
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from imgvec import Crop, ImageCollection, ImageFile, StoredId, field
from imgvec.errors import DefinitionError, EncoderUnavailable, QueryError, UnreadableImage
from imgvec.rows import view_id
from imgvec.sources import record_id

pytest.importorskip("dlib", reason="the extra faces is not installed")
pytest.importorskip("skimage.data", reason="scikit-image, whose astronaut has the face, is not installed")

from skimage import data

from imgvec.faces import FaceEncoder, dlib_model
from imgvec.faces.dlib_model import DlibFaces
from imgvec.faces.finding import find

DISTANCE = DlibFaces.distance


def astronaut() -> Image.Image:
    return Image.fromarray(data.astronaut())


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=quality)
    return Image.open(kept).convert("RGB")


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "flipped": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.5),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
    "jpeg": lambda image: as_jpeg(image, 30),
    "cropped": lambda image: image.crop((110, 20, 340, 260)),
    "smaller": lambda image: image.resize((300, 300)),
    "larger": lambda image: image.resize((1100, 1100)),
    "turned": lambda image: image.rotate(12, Image.Resampling.BICUBIC),
}


def two_faces() -> Image.Image:
    """Her, and beside her she again, flipped and smaller."""
    made = Image.new("RGB", (900, 512))
    made.paste(astronaut(), (0, 0))
    made.paste(EDITS["flipped"](astronaut()).resize((380, 380)), (516, 60))
    return made


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album")
    astronaut().save(folder / "astronaut.png")
    two_faces().save(folder / "two.jpg", quality=95)
    Image.fromarray(data.coffee()).save(folder / "coffee.jpg")
    return folder


@pytest.fixture
def faces(lite_uri: str, dlib_once: None) -> Iterator[ImageCollection]:
    with ImageCollection.create("people", definition="faces", uri=lite_uri) as made:
        yield made


def rows_of(faces: ImageCollection) -> list[dict[str, Any]]:
    names = ["uri", "image_id", "view", "box", "person", "vector"]
    return sorted((row for rows in faces.store.scan(names) for row in rows), key=lambda row: (row["uri"], row["box"]))


def test_each_face_is_a_row_with_its_box(faces: ImageCollection, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = faces.ingest(album)
    assert (report.written, dict(report.refused), faces.count(), faces.count_pictures()) == (3, {}, 3, 3)
    rows = rows_of(faces)
    assert [Path(row["uri"]).name for row in rows] == ["astronaut.png", "two.jpg", "two.jpg"]
    assert {(row["view"], row["person"]) for row in rows} == {("face", "")}
    # her face is around (222, 115), of about 90 pixels; the small one at 516 + .742 * (512 - 222), 60 + .742 * 115
    for row, (x, y) in zip(rows, [(222, 115), (222, 115), (731, 145)], strict=True):
        x0, y0, x1, y1 = row["box"]
        assert x0 < x < x1
        assert y0 < y < y1
        assert 50 < x1 - x0 < 130
    # the larger one comes first
    image_id = record_id(str(album / "two.jpg"))
    first = faces.get([view_id(image_id, "face", 0)])[view_id(image_id, "face", 0)]
    assert list(first["box"]) == list(rows[1]["box"])
    # unit length is not what the network gives, and distances are those of the vectors
    assert all(np.linalg.norm(row["vector"]) > 1.2 for row in rows)
    hits = faces.search(StoredId(rows[0]["id"]), limit=5, views=True)
    assert hits[0].uri == str(album / "astronaut.png")
    for hit in hits:
        [row] = [row for row in rows if row["id"] == hit.id]
        assert hit.distance == pytest.approx(float(((row["vector"] - rows[0]["vector"]) ** 2).sum()), abs=1e-5)
        assert hit.distance < DISTANCE**2

    def fails(*_: object) -> None:
        raise AssertionError("it was looked at again")

    # neither a picture with faces nor one without is looked at again
    monkeypatch.setattr(DlibFaces, "detect", fails)
    assert faces.ingest(album).unchanged == 3


def test_a_picture_is_searched_by_the_one_face_in_it(faces: ImageCollection, album: Path) -> None:
    faces.ingest(album / "astronaut.png")
    [hit] = faces.search(album / "astronaut.png")
    assert (hit.uri, round(hit.distance, 4)) == (str(album / "astronaut.png"), 0)
    with pytest.raises(QueryError, match="several faces are in the picture: crop it"):
        faces.search(album / "two.jpg")
    [hit] = faces.search(Crop(ImageFile(album / "two.jpg"), (500, 0, 900, 512)))
    assert hit.distance < DISTANCE**2
    with pytest.raises(QueryError, match="no face was found"):
        faces.search(album / "coffee.jpg")
    # one of several costs nobody else's answer
    with_one, without, with_two = faces.search_each(
        [album / f"{n}" for n in ("astronaut.png", "coffee.jpg", "two.jpg")]
    )
    assert len(with_one) == 1
    assert "no face" in str(without.error)
    assert "several faces" in str(with_two.error)
    with pytest.raises(QueryError, match="has no text side"):
        faces.search("somebody")
    # a large JPEG is not read so small that its face is lost
    large = Image.new("RGB", (3000, 2000), (90, 110, 90))
    large.paste(astronaut().resize((1000, 1000)), (200, 400))
    large.save(album.parent / "large.jpg", quality=90)
    [hit] = faces.search(album.parent / "large.jpg")
    assert hit.distance < DISTANCE**2


@pytest.mark.parametrize("edit", EDITS)
def test_her_edited_face_is_still_hers(edit: str) -> None:
    """By dlib's own distance, in each of nine ways."""
    encoder = FaceEncoder(DlibFaces())
    first, edited = encoder.encode_images([astronaut(), EDITS[edit](astronaut())])
    assert np.linalg.norm(first - edited) < DISTANCE


def test_a_profile_is_not_found() -> None:
    """The cameraman looks to the side."""
    picture = Image.fromarray(data.camera()).convert("RGB")
    assert find(DlibFaces(), picture, *picture.size, most=5) == []
    with pytest.raises(QueryError, match="no face was found in the picture: it should be seen from the front"):
        FaceEncoder(DlibFaces()).encode_images([picture])


def test_the_cnn_finds_her_too(tmp_path: Path) -> None:
    [by_hog] = find(DlibFaces(), astronaut(), 512, 512, most=5)
    model = dlib_model.model_named("dlib", {"detector": "cnn", "smallest": "0.15"})
    assert model.name == "faces:dlib?detector=cnn&smallest=0.15"
    [by_cnn] = find(model, astronaut(), 512, 512, most=5)
    inside = [max(by_hog.box[i], by_cnn.box[i]) if i < 2 else min(by_hog.box[i], by_cnn.box[i]) for i in range(4)]
    shared = (inside[2] - inside[0]) * (inside[3] - inside[1])
    assert shared / (by_hog.width**2 + by_cnn.width**2 - shared) > 0.5
    assert model.version != DlibFaces().version


def test_boxes_are_of_the_picture_and_not_of_what_was_looked_at() -> None:
    """An image that was read at half the size gives the same places, inside the picture."""
    [whole] = find(DlibFaces(), astronaut(), 512, 512, most=5)
    [half] = find(DlibFaces(), astronaut(), 1024, 1024, most=5)
    assert np.abs(np.array(half.box) - 2 * np.array(whole.box)).max() <= 1
    cut = astronaut().crop((185, 60, 300, 200))
    for face in find(DlibFaces(score=-0.5), cut, *cut.size, most=5):
        x0, y0, x1, y1 = face.box
        assert 0 <= x0 < x1 <= cut.width
        assert 0 <= y0 < y1 <= cut.height


def test_equal_pictures_have_equal_faces_and_no_more_than_asked_for() -> None:
    picture = two_faces()
    both = find(DlibFaces(), picture, *picture.size, most=5)
    again = find(DlibFaces(), picture, *picture.size, most=5)
    assert [face.box for face in both] == [face.box for face in again]
    assert all((a.aligned.chip == b.aligned.chip).all() for a, b in zip(both, again, strict=True))
    assert [face.box for face in find(DlibFaces(), picture, *picture.size, most=1)] == [both[0].box]
    assert both[0].width > both[1].width


def test_processes_find_the_same_faces(lite_uri: str, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ImageCollection.create("here", definition="faces", uri=lite_uri) as here:
        here.ingest(album)
        wanted = [(row["uri"], row["box"], row["vector"].tolist()) for row in rows_of(here)]
    monkeypatch.setenv("IMGVEC_DECODE_PROCESSES", "2")
    with ImageCollection.create("there", definition="faces", uri=lite_uri) as there:
        there.ingest(album)
        assert [(row["uri"], row["box"], row["vector"].tolist()) for row in rows_of(there)] == wanted


def test_a_changed_picture_loses_the_faces_that_are_gone(faces: ImageCollection, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    two_faces().save(path)
    faces.ingest(path, metadata={str(path): {"identity": "Eileen"}})
    assert faces.count(field("identity") == "Eileen") == 2
    astronaut().save(path)
    assert faces.ingest(path).written == 1
    assert (faces.count(), faces.count_pictures(), faces.count(field("identity") == "Eileen")) == (1, 1, 1)
    Image.fromarray(data.coffee()).save(path)
    assert faces.ingest(path).written == 1
    assert (faces.count(), faces.count_pictures()) == (0, 1)
    assert faces.ingest(path).unchanged == 1


def test_metadata_cannot_say_whose_a_face_is(faces: ImageCollection, album: Path) -> None:
    path = str(album / "astronaut.png")
    report = faces.ingest(album / "astronaut.png", metadata={path: {"person": "Eileen"}})
    assert any("person" in notice and "filled in by imgvec" in notice for notice in report.notices), report.notices
    assert [row["person"] for row in rows_of(faces)] == [""]
    with pytest.raises(DefinitionError, match="person: is reserved"):
        ImageCollection.create(
            "more",
            definition={
                "encoder": {"model": "faces:dlib"},
                "views": {"faces": 3},
                "fields": {"person": {"type": "VARCHAR", "max_length": 9, "default": ""}},
                "vector": {"metric_type": "L2"},
            },
            uri=faces.uri,
        )


def test_an_encoder_and_views_that_do_not_fit_are_refused(lite_uri: str) -> None:
    index = {"cpu": {"type": "FLAT"}}
    with pytest.raises(DefinitionError, match=r"faces:dlib makes vectors of faces: it needs views: \{faces: N\}"):
        ImageCollection.create(
            "a", uri=lite_uri,
            definition={"encoder": {"model": "faces:dlib"}, "vector": {"metric_type": "L2"}, "index": index},
        )  # fmt: skip
    with pytest.raises(DefinitionError, match=r"COSINE needs unit vectors, but faces:dlib does not"):
        ImageCollection.create(
            "a", uri=lite_uri, definition={"encoder": {"model": "faces:dlib"}, "views": {"faces": 3}, "index": index}
        )


@pytest.mark.usefixtures("dlib_once")
def test_a_collection_of_faces_opens_with_the_detector_that_it_was_made_with(lite_uri: str, album: Path) -> None:
    definition = {
        "encoder": {"model": "faces:dlib?smallest=0.1&score=0.5"},
        "views": {"faces": 3},
        "vector": {"metric_type": "L2"},
        "index": {"cpu": {"type": "FLAT"}},
    }
    with ImageCollection.create("people", definition=definition, uri=lite_uri) as made:
        assert made.ingest(album).written == 3
    with ImageCollection.open("people", uri=lite_uri) as again:
        assert again.binding.model == "faces:dlib?smallest=0.1&score=0.5"
        assert isinstance(again.encoder, FaceEncoder)
        assert again.encoder.faces == DlibFaces("hog", 0.1, 0.5)
        assert again.ingest(album).unchanged == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("insight", {}, "faces:insight: no such model"),
        ("dlib", {"detector": "yolo"}, "detector=yolo is not hog or cnn"),
        ("dlib", {"smallest": "tiny"}, "smallest=tiny is not a number"),
        ("dlib", {"smallest": "0"}, "smallest=0.0 is not from 0.01 to 1"),
        ("dlib", {"score": "nan"}, "score=nan is not from -1 to 10"),
    ],
)
def test_a_name_that_means_no_model_is_refused(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(EncoderUnavailable, match=message):
        dlib_model.model_named(name, options)


def test_other_weights_are_refused_before_dlib_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "face_recognition_models" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for file in dlib_model.SHA256:
        with pytest.raises(EncoderUnavailable, match="cannot be read"):
            dlib_model.checked(file)
        (models / file).write_bytes(b"dlib")
        with pytest.raises(EncoderUnavailable, match="was rejected because its sha256 is"):
            dlib_model.checked(file)


class Opened:
    """Which files of a folder are opened, as Linux tells (inotify(7)): also those that C++ opens."""

    IN_OPEN, IN_NONBLOCK, HEADER = 0x20, 0o4000, 16

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(self.IN_NONBLOCK)
        assert libc.inotify_add_watch(self._events, os.fsencode(folder), self.IN_OPEN) >= 0

    def names(self) -> set[str]:
        found = set()
        while True:
            try:
                read = os.read(self._events, 65536)
            except BlockingIOError:
                return found
            while read:
                length = int.from_bytes(read[12:16], "little")
                found.add(read[16 : 16 + length].rstrip(b"\0").decode())
                read = read[16 + length :]

    def close(self) -> None:
        os.close(self._events)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "inotify_init1"), reason="only Linux tells which files are opened")
def test_the_68_point_predictor_is_never_opened(lite_uri: str, tmp_path: Path) -> None:
    """Its training data is not free for commercial use."""
    models = Path(dlib_model.checked(dlib_model.NETWORK)).parent
    never = "shape_predictor_68_face_landmarks.dat"
    assert (models / never).is_file()
    for cached in (dlib_model._cnn, dlib_model._points, dlib_model._network):
        cached.cache_clear()
    watched = Opened(models)
    her = tmp_path / "her.png"
    EDITS["cropped"](astronaut()).save(her)
    for name in ("faces:dlib?smallest=0.3", "faces:dlib?detector=cnn&smallest=0.3"):
        definition = {
            "encoder": {"model": name},
            "views": {"faces": 3},
            "vector": {"metric_type": "L2"},
            "index": {"cpu": {"type": "FLAT"}},
        }
        with ImageCollection.create("people", definition=definition, uri=lite_uri) as faces:
            faces.ingest(her)
            assert len(faces.search(her)) == 1
            faces.drop()
    assert watched.names() == set(dlib_model.SHA256)  # and never the other
    (models / never).open("rb").close()
    assert watched.names() == {never}  # which would have been seen
    watched.close()


def test_a_broken_picture_is_refused_like_any(faces: ImageCollection, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no")
    report = faces.ingest(tmp_path / "broken.jpg")
    assert sum(report.refused.values()) == 1
    with pytest.raises(UnreadableImage):
        faces.search(tmp_path / "broken.jpg")
