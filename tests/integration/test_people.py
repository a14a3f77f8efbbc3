"""People are enrolled, identified, compared and forgotten: with faces that are squares of one colour each.

Whatever finds faces plugs in as they do; `test_faces.py` has dlib's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from square_faces import COLOURS, Squares, created, near, persons, picture, sound

import imgvec
from imgvec import Crop, FaceEncoder, ImageBytes, ImageCollection, ImageFile, Pixels, StoredId, field
from imgvec.cli import main
from imgvec.errors import OptionError, QueryError, UsageError
from imgvec.sources import record_id


@pytest.fixture
def club(lite_uri: str) -> Iterator[ImageCollection]:
    with created(lite_uri) as made:
        yield made


def test_the_whole_life_of_known_people(backend_uri: str, tmp_path: Path) -> None:
    album, portraits = tmp_path / "album", tmp_path / "portraits"
    album.mkdir()
    portraits.mkdir()
    for person in ("Ann", "Bob", "Cy"):
        for n in range(2):
            picture(portraits / f"{person}{n}.png", near(person, 5 * n))
    picture(album / "two.png", "Ann", "Bob")
    picture(album / "three.png", "Bob", "Ann", "Di")
    picture(album / "alone.png", "Ann")
    picture(album / "stranger.png", "Ed")
    picture(album / "nobody.png")
    with created(backend_uri) as club:
        assert club.ingest(album).written == 5
        assert (club.count(), club.count_pictures()) == (7, 5)
        assert imgvec.enrolled_people(club) == {}
        for person in ("Ann", "Bob", "Cy"):
            found = imgvec.enrol_person(club, f" {person} ", [portraits / f"{person}{n}.png" for n in range(2)])
            assert (found.person, found.enrolled, found.known, dict(found.refused)) == (person, 2, 0, {})
        assert imgvec.enrol_person(club, "Ann", [portraits / "Ann0.png"]).known == 1
        assert imgvec.enrolled_people(club) == {"Ann": 2, "Bob": 2, "Cy": 2}

        answer = imgvec.identify_faces(club, [album / "three.png", album / "nobody.png"])
        assert [face.person for face in answer.faces] == ["Bob", "Ann", None]
        assert [len(face.candidates) for face in answer.faces] == [3, 3, 3]
        assert answer.without == (str(album / "nobody.png"),)
        assert answer.faces[0].candidates[0].distance == pytest.approx(0, abs=1e-6)
        # Di is as far from Bob's second portrait as they differ in red
        assert answer.faces[2].distance == pytest.approx(155 / 255, abs=1e-6)
        assert (answer.limit.source, answer.limit.people, answer.limit.wrong_rate) == ("published", 3, 0)
        assert answer.limit.high is not None
        assert answer.limit.high > 0.5

        named = imgvec.name_faces(club)
        assert (named.faces, dict(named.named), named.changed) == (7, {"Ann": 3, "Bob": 2}, 5)
        assert persons(club) == {
            "two": ["Ann", "Bob"], "three": ["Bob", "Ann", ""], "alone": ["Ann"], "stranger": [""],
        }  # fmt: skip
        assert club.count(field("person") == "Ann") == 3
        assert imgvec.name_faces(club).changed == 0
        assert club.ingest(album).unchanged == 5
        sound(club)

        # by another client, too
        with ImageCollection.open("club", uri=backend_uri, encoder=FaceEncoder(Squares())) as other:
            forgotten = imgvec.forget_person(other, "Ann")
        assert (forgotten.enrolled, forgotten.faces) == (2, 3)
        assert imgvec.enrolled_people(club) == {"Bob": 2, "Cy": 2}
        assert persons(club) == {"two": ["Bob"], "three": ["Bob", ""], "stranger": [""]}
        assert (club.count(), club.count_pictures()) == (4, 5)
        sound(club)
        vectors = [row["vector"] for rows in club.store.scan(["vector"]) for row in rows]
        ann = np.array(COLOURS["Ann"]) / 255
        assert all(np.linalg.norm(vector - ann) > 0.1 for vector in vectors)
        # nothing brings her back but a picture that changes
        assert club.ingest(album).unchanged == 5
        assert imgvec.name_faces(club).changed == 0
        assert club.count() == 4
        with pytest.raises(QueryError, match="nobody called 'Ann' is enrolled"):
            imgvec.forget_person(club, "Ann")
        club.drop()
        assert [name for name in club.handle.connection.link.client.list_collections() if "club" in name] == []


def test_what_is_not_one_face_from_the_front_is_not_enrolled(club: ImageCollection, tmp_path: Path) -> None:
    one = picture(tmp_path / "one.png", "Ann")
    pictures = [
        picture(tmp_path / "none.png"),
        picture(tmp_path / "many.png", "Ann", "Bob"),
        picture(tmp_path / "turned.png", "Ann", turned=True),
        tmp_path / "missing.png",
        one,
    ]
    small = Image.open(one).resize((256, 256), Image.Resampling.NEAREST)
    found = imgvec.enrol_person(club, "Ann", [*pictures, Pixels(small), Crop(ImageFile(pictures[1]), (0, 0, 512, 128))])
    assert found.enrolled == 1
    reasons = [found.refused[str(each)] for each in pictures[:-1]]
    for reason, wanted in zip(
        reasons, ["no face was found", "several faces", "turned to the side", "missing"], strict=True
    ):
        assert wanted in reason
    assert "the face is 32 pixels wide: take one of at least 40" in found.refused["<pixels>"]
    assert "several faces" in found.refused[f"a part of {pictures[1]}"]
    with pytest.raises(QueryError, match=r"Bob was not enrolled: .*none\.png: no face was found"):
        imgvec.enrol_person(club, "Bob", pictures[:1])
    with pytest.raises(UsageError, match="give at least one picture"):
        imgvec.enrol_person(club, "Bob", [])
    with pytest.raises(UsageError, match="give a list of pictures"):
        imgvec.enrol_person(club, "Bob", str(one))
    with pytest.raises(UsageError, match="a int is not a picture"):
        imgvec.enrol_person(club, "Bob", [3])  # type: ignore[list-item]
    for name in ("", "  ", "x" * 257, "\ud800", 3):
        with pytest.raises(UsageError, match="is not a person's name"):
            imgvec.enrol_person(club, name, [one])  # type: ignore[arg-type]
    assert imgvec.enrolled_people(club) == {"Ann": 1}


def test_a_face_that_is_somebody_elses_is_told_of(club: ImageCollection, tmp_path: Path) -> None:
    imgvec.enrol_person(club, "Ann", [picture(tmp_path / "ann.png", "Ann")])
    told: list[str] = []
    imgvec.enrol_person(club, "Anna", [picture(tmp_path / "anna.png", near("Ann", 20))], on_notice=told.append)
    assert told == [f"{tmp_path / 'anna.png'} looks like Ann too (distance 0.078)"]
    with pytest.raises(QueryError, match="nobody called 'Anne' is enrolled, did you mean 'Ann"):
        imgvec.verify_faces(club, tmp_path / "ann.png", person="Anne")


@pytest.mark.parametrize("name", ['O\'Neil "Bob"', "Zoë \\ 北", "a\nb", "' or 1 == 1 or person == '"])
def test_a_name_is_a_text_and_nothing_else(club: ImageCollection, tmp_path: Path, name: str) -> None:
    imgvec.enrol_person(club, "Bob", [picture(tmp_path / "bob.png", "Bob")])
    imgvec.enrol_person(club, name, [picture(tmp_path / "ann.png", "Ann")])
    club.ingest(picture(tmp_path / "both.png", "Ann", "Bob"))
    assert dict(imgvec.name_faces(club).named) == {name: 1, "Bob": 1}
    assert imgvec.verify_faces(club, tmp_path / "ann.png", person=name).same
    forgotten = imgvec.forget_person(club, name)
    assert (forgotten.enrolled, forgotten.faces) == (1, 1)
    assert imgvec.enrolled_people(club) == {"Bob": 1}
    assert persons(club) == {"both": ["Bob"]}


def test_two_faces_are_compared_with_a_limit_that_says_what_it_knows(club: ImageCollection, tmp_path: Path) -> None:
    ann, other = picture(tmp_path / "ann.png", "Ann"), picture(tmp_path / "other.png", near("Ann", 30))
    bob, both = picture(tmp_path / "bob.png", "Bob"), picture(tmp_path / "both.png", "Ann", "Bob")
    same = imgvec.verify_faces(club, ann, other)
    assert (same.same, same.distance) == (True, pytest.approx(30 / 255))
    assert (same.limit.source, same.limit.wrong_rate) == ("published", None)
    assert not imgvec.verify_faces(club, ann, bob).same
    assert not imgvec.verify_faces(club, ann, other, distance=0.1).same
    with pytest.raises(QueryError, match="several faces"):
        imgvec.verify_faces(club, ann, both)
    assert imgvec.verify_faces(club, ann, Crop(ImageFile(both), (0, 0, 128, 512))).distance == 0
    assert imgvec.verify_faces(club, ann, ImageBytes(ann.read_bytes())).distance == 0
    for pair in ([ann], [ann, bob, "Ann"]):
        with pytest.raises(UsageError, match="compare with a second picture, or with"):
            imgvec.verify_faces(club, *pair[:2], person=pair[2] if len(pair) == 3 else None)  # type: ignore[arg-type]
    # two enrolled people who look much alike lower the limit below what they are apart
    imgvec.enrol_person(club, "Ann", [ann])
    imgvec.enrol_person(club, "Anna", [other])
    now = imgvec.verify_faces(club, ann, other)
    assert (now.same, now.limit.source, now.limit.calibrated_by) == (False, "enrolled people", "enrolled people")
    assert now.limit.distance < 30 / 255
    assert (now.limit.comparisons, now.limit.wrong_rate) == (1, 0)
    assert imgvec.identify_faces(club, [picture(tmp_path / "between.png", near("Ann", 15))]).faces[0].person == "Ann"


def test_labelled_faces_calibrate_too(club: ImageCollection, tmp_path: Path) -> None:
    given: dict[str, Mapping[str, Any]] = {}
    for n in range(40):
        path = picture(tmp_path / f"{n:02}.png", (60 + 4 * n, 30, 200 - 4 * n))
        given[str(path)] = {"identity": f"p{n:02}" if n < 36 else ""}
    club.ingest(tmp_path, metadata=given)
    ann = picture(tmp_path / "ann.png", "Ann")
    found = imgvec.verify_faces(club, ann, ann, label="identity", rate=0.05).limit
    assert (found.source, found.calibrated_by, found.people) == ("labelled faces", "labelled faces", 36)
    assert found.comparisons == 36 * 35 // 2
    assert found.wrong_rate is not None
    assert 0.03 < found.wrong_rate <= 0.05
    # the 35 pairs of neighbours of 630 would be too many: rounding keeps some of them apart
    assert found.distance == pytest.approx(np.sqrt(32) / 255, abs=1e-6)
    for label in ("box", "nothing"):
        with pytest.raises(OptionError, match="is not a field of texts or whole numbers"):
            imgvec.verify_faces(club, ann, ann, label=label)


def test_a_changed_picture_has_no_names_until_it_is_looked_at_again(club: ImageCollection, tmp_path: Path) -> None:
    imgvec.enrol_person(club, "Ann", [picture(tmp_path / "ann.png", "Ann")])
    path = picture(tmp_path / "album.png", "Bob", "Ann")
    club.ingest(path, metadata={str(path): {"identity": "two friends"}})
    imgvec.name_faces(club)
    assert persons(club) == {"album": ["", "Ann"]}
    # metadata alone leaves them
    club.ingest(path, metadata={str(path): {"identity": "friends"}})
    assert persons(club) == {"album": ["", "Ann"]}
    assert club.count(field("identity") == "friends") == 2
    picture(path, "Ann", "Bob")
    club.ingest(path)
    assert persons(club) == {"album": ["", ""]}
    imgvec.name_faces(club)
    assert persons(club) == {"album": ["Ann", ""]}
    # what a killed ingest has left torn loses the rows, and is made whole by the next one: without her
    [entry] = club.handle.target.journal.get([record_id(str(path))]).values()  # type: ignore[union-attr]
    club.handle.target.journal.upsert([{**entry, "content_hash": ""}])  # type: ignore[union-attr]
    assert imgvec.forget_person(club, "Ann").faces == 1
    assert club.count() == 1
    assert club.ingest(path).written == 1
    assert persons(club) == {"album": [""]}
    sound(club)
    assert club.ingest(path).unchanged == 1
    # but a picture that has changed since is another one
    picture(path, "Di", "Ann")
    club.ingest(path)
    assert persons(club) == {"album": ["", ""]}


def test_an_interrupted_forgetting_is_finished_by_the_next(
    club: ImageCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imgvec.enrol_person(club, "Ann", [picture(tmp_path / "ann.png", "Ann")])
    album = tmp_path / "album"
    album.mkdir()
    for n in range(3):
        picture(album / f"{n}.png", "Bob", "Ann")
    club.ingest(album)
    imgvec.name_faces(club)
    calls = iter(range(100))
    upsert = type(club.handle.target.journal).upsert

    def ends(self: Any, rows: Any, vectors: Any = None) -> int:
        if next(calls) == 3:  # it is noted, the pictures are torn, and their rows written
            raise KeyboardInterrupt
        return upsert(self, rows, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(type(club.handle.target.journal), "upsert", ends)
        with pytest.raises(KeyboardInterrupt):
            imgvec.forget_person(club, "Ann")
    finished = imgvec.forget_person(club, "Ann")
    assert (finished.enrolled, finished.faces) == (0, 0)  # the rows had gone
    sound(club)
    assert persons(club) == {str(n): [""] for n in range(3)}
    with pytest.raises(QueryError, match="nobody called 'Ann'"):
        imgvec.forget_person(club, "Ann")
    assert club.ingest(album).unchanged == 3
    assert club.count() == 3


def test_faces_without_a_name_are_grouped(club: ImageCollection, tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="the extra faces is not installed")
    album = tmp_path / "album"
    album.mkdir()
    for n in range(6):
        picture(album / f"{n}.png", near("Ann", n), near("Bob", n), *(["Cy"] if n == 0 else []))
    club.ingest(album)
    found = imgvec.cluster_faces(club)
    assert [len(group) for group in found.groups] == [6, 6]
    assert found.alone == 1
    assert found == imgvec.cluster_faces(club)
    colours = [{(*np.rint(club.get([face.id], with_vector=True)[face.id]["vector"] * 255)[1:],) for face in group}
               for group in found.groups]  # fmt: skip
    assert sorted(map(sorted, colours)) == [[(40.0, 40.0)], [(200.0, 40.0)]]
    # a group gets a name by its rows
    ids = [face.id for face in found.groups[0]]
    enrolled = imgvec.enrol_person(club, "Ann or Bob", [StoredId(id_) for id_ in ids[:2]])
    assert enrolled.enrolled == 2
    assert dict(imgvec.name_faces(club).named) == {"Ann or Bob": 6}
    assert [len(group) for group in imgvec.cluster_faces(club, least=1).groups] == [6, 1]
    assert imgvec.cluster_faces(club, where=field("uri") == str(album / "0.png")).groups == ()
    with pytest.raises(QueryError, match="no row with id 'view-0'"):
        imgvec.enrol_person(club, "Ann", [StoredId("view-0")])


def test_a_collection_of_other_rows_has_no_people(lite_uri: str, encoder: Any, tmp_path: Path) -> None:
    what = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}}
    with ImageCollection.create("trip", definition=what, uri=lite_uri, encoder=encoder) as photos:
        for call in (imgvec.enrolled_people, imgvec.name_faces, imgvec.cluster_faces):
            with pytest.raises(UsageError, match="'trip' is not a collection of faces: create one with `--definition"):
                call(photos)
        with pytest.raises(UsageError, match="is not a collection of faces"):
            imgvec.forget_person(photos, "Ann")


@pytest.mark.usefixtures("dlib_once")
def test_the_commands(lite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dlib", reason="the extra faces is not installed")
    data = pytest.importorskip("skimage.data", reason="scikit-image, whose astronaut has the face, is not installed")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.astronaut()[20:260, 110:340]).save("her.png")
    Image.fromarray(data.astronaut()[20:260, 340:110:-1].copy()).save("flipped.png")
    Image.fromarray(data.coffee()).save("coffee.png")

    def run(*arguments: str, exit_code: int = 0) -> tuple[str, str]:
        done = CliRunner().invoke(main, ["--uri", lite_uri, *arguments])
        assert done.exit_code == exit_code, done.output
        return done.stdout, done.stderr

    run("ingest", "her.png", "coffee.png", "-c", "crew", "--definition", "faces")
    out, err = run("faces", "enrol", "Eileen", "her.png", "coffee.png", "-c", "crew")
    assert out == "Eileen: 1 face enrolled\n"
    assert "refused: coffee.png: no face was found" in err
    assert json.loads(run("faces", "people", "-c", "crew", "-o", "json")[0]) == [{"person": "Eileen", "faces": 1}]
    out, err = run("faces", "identify", "flipped.png", "coffee.png", "-c", "crew", "-o", "json")
    found = json.loads(out)
    assert [face["person"] for face in found["faces"]] == ["Eileen"]
    assert found["without"] == ["coffee.png"]
    assert "limit 0.600 (published); how often it is wrong is not known" in err
    assert run("faces", "identify", "flipped.png", "-c", "crew", "-o", "csv")[0].startswith("picture,box,person,")
    assert "nobody known" in run("faces", "identify", "flipped.png", "-c", "crew", "--distance", "0.01")[0]
    [group] = json.loads(run("faces", "cluster", "-c", "crew", "--least", "1", "-o", "json")[0])["groups"]
    assert len(group) == 1
    assert "1 face, 0 of nobody known; 1 changed" in run("faces", "identify", "--stored", "-c", "crew")[0]
    assert run("collections", "count", "crew", "--eq", "person=Eileen")[0] == "1\n"
    assert run("faces", "verify", "her.png", "flipped.png", "-c", "crew")[0].startswith("the same person: distance 0.")
    out, _ = run("faces", "verify", "her.png", "-c", "crew", "--person", "Eileen", "-o", "json")
    assert json.loads(out)["distance"] == 0
    assert run("faces", "verify", "her.png", "flipped.png", "-c", "crew", "--distance", "0.01", exit_code=1)[
        0
    ].startswith("not the same person")
    assert "no face was found" in run("faces", "verify", "her.png", "coffee.png", "-c", "crew", exit_code=2)[1]
    for wrong in (["enrol", "Eileen"], ["identify"], ["identify", "her.png", "--stored"], ["verify", "her.png"]):
        run("faces", *wrong, "-c", "crew", exit_code=2)
    assert "add --yes" in run("faces", "forget", "Eileen", "-c", "crew", exit_code=2)[1]
    out, _ = run("faces", "forget", "Eileen", "-c", "crew", "--yes")
    assert out == "Eileen: forgotten; 1 enrolled face and 1 stored face deleted\n"
    assert run("collections", "count", "crew")[0] == "0\n"
