"""`imgvec serve` of a collection of faces: its answers are the library's, and tokens say who may enrol and forget."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from served import Client, serving
from square_faces import Squares, created, near, picture

import imgvec
from imgvec import Crop, FaceEncoder, ImageBytes, ImageCollection, Settings, StoredId
from imgvec.serving.tokens import new_token

V1 = "/v1/collections/club"


@pytest.fixture
def club(lite_uri: str, tmp_path: Path) -> Iterator[ImageCollection]:
    """Ann and Bob are enrolled; Ann's and a stranger's faces are stored."""
    with created(lite_uri) as made:
        folder = tmp_path / "album"
        folder.mkdir()
        picture(folder / "two.png", "Ann", "Ed")
        made.ingest(folder)
        for person in ("Ann", "Bob"):
            imgvec.enrol_person(made, person, [picture(tmp_path / f"{person}{n}.png", near(person, n)) for n in (0, 5)])
        yield made


def opened(club: ImageCollection) -> ImageCollection:
    return ImageCollection.open("club", settings=Settings(uri=club.uri, roots=()), encoder=FaceEncoder(Squares()))


@pytest.fixture
def client(club: ImageCollection) -> Iterator[Client]:
    with serving({"club": opened(club)}) as client:
        yield client


def sent(path: Path) -> Any:
    return {"image": base64.b64encode(path.read_bytes()).decode()}


def plain(found: Any) -> Any:
    return json.loads(json.dumps(found.to_dict()))


def stored(club: ImageCollection) -> list[str]:
    """The ids of the stored faces, from left to right."""
    rows = [row for some in club.store.scan(["id", "box"]) for row in some]
    return [row["id"] for row in sorted(rows, key=lambda row: list(row["box"]))]


def test_faces_are_identified_and_verified_as_by_the_library(
    client: Client, club: ImageCollection, tmp_path: Path
) -> None:
    party, nobody = picture(tmp_path / "party.png", "Bob", "Di"), picture(tmp_path / "nobody.png")
    ids = stored(club)

    def named(path: Path, number: int) -> ImageBytes:
        return ImageBytes(path.read_bytes(), f"pictures[{number}]")

    forms = [named(party, 0), StoredId(ids[0]), named(nobody, 2), Crop(named(party, 3), (0, 0, 100, 512))]
    body = {
        "pictures": [sent(party), {"id": ids[0]}, sent(nobody), {"crop": sent(party), "box": [0, 0, 100, 512]}],
        "candidates": 1,
        "rate": 0.05,
    }
    got = client.post(f"{V1}/faces/identify", body)
    assert got.json == plain(imgvec.identify_faces(club, forms, candidates=1, rate=0.05))
    assert [face["person"] for face in got.json["faces"]] == ["Bob", None, "Ann", "Bob"]
    assert got.json["without"] == ["pictures[2]"]
    parts = [("image", "../x", path.read_bytes()) for path in (party, nobody, tmp_path / "Ann0.png")]
    by_form = client.upload(f"{V1}/faces/identify", [*parts, ("options", None, b'{"distance": 0.1}')])
    assert [face["person"] for face in by_form.json["faces"]] == ["Bob", None, "Ann"]
    broken = client.upload(f"{V1}/faces/identify", [("image", "a", b"GIF89a"), parts[0]])
    assert list(broken.json["refused"]) == ["pictures[0]"]

    ann, bob = tmp_path / "Ann0.png", tmp_path / "Bob0.png"
    for asked, wanted in (
        ({"first": sent(ann), "second": {"id": ids[0]}}, (ImageBytes(ann.read_bytes()), StoredId(ids[0]))),
        ({"first": {"id": ids[0]}, "second": {"id": ids[1]}}, (StoredId(ids[0]), StoredId(ids[1]))),
    ):
        assert client.post(f"{V1}/faces/verify", asked).json == plain(imgvec.verify_faces(club, *wanted))
    person = client.post(f"{V1}/faces/verify", {"first": sent(bob), "person": "Bob", "rate": 0.01})
    assert person.json == plain(imgvec.verify_faces(club, ImageBytes(bob.read_bytes()), person="Bob", rate=0.01))
    assert (person.json["same"], person.json["person"]) == (True, "Bob")
    one = ("image", "a", ann.read_bytes())
    options = ("options", None, json.dumps({"id": ids[1]}).encode())
    assert client.upload(f"{V1}/faces/verify", [one, options]).json["same"] is False
    assert client.upload(f"{V1}/faces/verify", [one, one]).json["same"] is True
    assert client.upload(f"{V1}/faces/verify", [one, one, options]).kind == "invalid"


def test_people_are_enrolled_and_forgotten_by_who_may(club: ImageCollection, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens = {scope: new_token(file, scope, [scope]) for scope in ("read", "write", "admin")}
    portrait = picture(tmp_path / "cy.png", "Cy")
    with serving({"club": opened(club)}, token_file=str(file)) as client:

        def asking(method: str, path: str, scope: str, body: Any = None) -> Any:
            return client.ask(method, path, body, {"Authorization": f"Bearer {tokens[scope]}"})

        body = {"person": "Cy", "pictures": [sent(portrait)]}
        assert asking("POST", f"{V1}/people", "read", body).kind == "scope"
        assert asking("GET", f"{V1}/people", "read").json == {"people": {"Ann": 2, "Bob": 2}}
        done = asking("POST", f"{V1}/people", "write", body)
        assert done.json == {"person": "Cy", "enrolled": 1, "known": 0, "refused": {}, "notices": []}
        assert imgvec.enrolled_people(club) == {"Ann": 2, "Bob": 2, "Cy": 1}
        parts = [("image", "a", path.read_bytes()) for path in (portrait, picture(tmp_path / "none.png"))]
        again = client.upload(
            f"{V1}/people",
            [*parts, ("options", None, b'{"person": "Di"}')],
            Authorization=f"Bearer {tokens['write']}",
        )
        assert (again.json["enrolled"], list(again.json["refused"])) == (1, ["pictures[1]"])
        assert "Cy too" in again.json["notices"][0]
        for scope in ("read", "write"):
            assert asking("DELETE", f"{V1}/people?person=Ann", scope).kind == "scope"
        gone = asking("DELETE", f"{V1}/people?person=Ann", "admin")
        assert gone.json == {"person": "Ann", "enrolled": 2, "faces": 0}
        assert asking("DELETE", f"{V1}/people", "admin").kind == "invalid"
        missed = asking("DELETE", f"{V1}/people?person=Ann", "admin")
        assert (missed.kind, missed.json["detail"]) == ("query-error", "nobody called 'Ann' is enrolled")


def test_what_is_not_a_face_is_said_in_the_librarys_words(
    client: Client, club: ImageCollection, tmp_path: Path
) -> None:
    both, ann = sent(picture(tmp_path / "both.png", "Ann", "Bob")), sent(tmp_path / "Ann0.png")
    for body, said in (
        ({"first": both, "person": "Ann"}, "pictures[0]: several faces are in the picture"),
        ({"first": ann, "second": {"id": "nobody"}}, "no row with id 'nobody'"),
        ({"first": ann, "person": "An"}, "nobody called 'An' is enrolled"),
        ({"first": ann}, "compare with a second picture, or with an enrolled person"),
        ({"first": ann, "second": ann, "person": "Ann"}, "compare with a second picture"),
    ):
        got = client.post(f"{V1}/faces/verify", body)
        assert (got.status, said in got.json["detail"]) == (422, True), got.body
    assert client.post(f"{V1}/people", {"person": " ", "pictures": [ann]}).kind == "usage-error"
    assert client.post(f"{V1}/people", {"person": "Ed", "pictures": [both]}).kind == "query-error"
    for body in (
        {"pictures": []},
        {"pictures": [{"text": "Ann"}]},
        {"pictures": [ann] * 33},
        {"pictures": [{"crop": {"id": stored(club)[0]}, "box": [0, 0, 9, 9]}]},  # opens no stored file
        {"pictures": [ann], "on_notice": 1},
        {"pictures": [ann], "rate": 2},
    ):
        assert client.post(f"{V1}/faces/identify", body).kind == "invalid", body
    assert client.upload(f"{V1}/people", [("image", "a", b"x")]).kind == "invalid"  # of nobody


def test_a_collection_of_other_pictures_says_that_it_has_no_faces(lite_uri: str) -> None:
    definition = {"encoder": {"model": "fake"}}
    with ImageCollection.create("club", definition=definition, uri=lite_uri, encoder=FakeEncoder()):
        photos = ImageCollection.open("club", settings=Settings(uri=lite_uri, roots=()), encoder=FakeEncoder())
        with serving({"club": photos}) as client:
            for got in (
                client.get(f"{V1}/people"),
                client.post(f"{V1}/faces/identify", {"pictures": [{"id": "x"}]}),
                client.ask("DELETE", f"{V1}/people?person=Ann"),
            ):
                assert (got.status, got.kind) == (422, "usage-error")
                assert got.json["detail"] == (
                    "'club' is not a collection of faces: create one with `--definition faces`"
                )


def test_without_the_extra_it_says_which(lite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dlib", reason="the extra faces is not installed")
    ImageCollection.create("club", definition="faces", uri=lite_uri).close()
    monkeypatch.setitem(sys.modules, "dlib", None)
    with serving({"club": ImageCollection.open("club", settings=Settings(uri=lite_uri, roots=()))}) as client:
        got = client.post(f"{V1}/faces/identify", {"pictures": [sent(picture(tmp_path / "ann.png", "Ann"))]})
        assert (got.status, got.kind) == (501, "missing-extra")
        assert "pip install 'imgvec[faces]'" in got.json["detail"]
        assert client.get("/readyz").json["checks"] == {"milvus": True, "encoders": False}
