"""A selection over HTTP: rows and pictures to take along, pictures to delete; and what strangers make of it."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from pictures import picture
from PIL import Image
from served import Client, serving

from imgvec import ImageCollection, Settings
from imgvec.serving import taking
from imgvec.serving.tokens import new_token

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
        "taken_at": {"type": "INT64", "format": "unix_ms", "default": 0},
        "price": {"type": "FLOAT", "default": 0},
    },
}
IMAGES = "/v1/collections/trip/images"


class Trip:
    """Six pictures: four below the root, one beside it, one that has gone."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.root, outside = folder / "root", folder / "outside"
        self.root.mkdir()
        outside.mkdir()
        self.files = {name: self.root / f"{name}.jpg" for name in ("a", "b", "c", "gone")}
        self.files["outside"] = outside / "outside.jpg"
        self.files["again"] = self.root / "more" / "A.jpg"
        (self.root / "more").mkdir()
        for seed, file in enumerate(self.files.values()):
            picture(seed, (320, 240)).save(file)
        albums = {
            str(file): {
                "album": "=HYPERLINK(1)" if name == "b" else "sea",
                "taken_at": 1_700_000_000_000 * (name == "a"),
                "price": 23.17,
            }
            for name, file in self.files.items()
        }
        with ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as made:
            made.ingest(sorted(self.files.values()), metadata=albums)
            stored = {hit.uri: hit.id for hit in made.search(self.files["a"], limit=10)}
        self.ids = {name: stored[str(file)] for name, file in self.files.items()}
        self.files["gone"].unlink()
        self.uri = uri

    def opened(self) -> ImageCollection:
        settings = Settings(uri=self.uri, roots=(self.root,))
        return ImageCollection.open("trip", settings=settings, encoder=FakeEncoder())


@pytest.fixture
def trip(lite_uri: str, tmp_path: Path) -> Trip:
    return Trip(lite_uri, tmp_path)


@pytest.fixture
def client(trip: Trip) -> Iterator[Client]:
    with serving({"trip": trip.opened()}) as client:
        yield client


def table(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_rows_to_take_along(client: Client, trip: Trip) -> None:
    ids = [trip.ids["b"], trip.ids["a"], "nobody", trip.ids["b"]]
    got = client.post(f"{IMAGES}/export", {"ids": ids, "form": "csv"})
    assert (got.status, got.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert got.headers["content-disposition"] == 'attachment; filename="pictures.csv"'
    head, *rows = table(got.body)
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["id"] for row in found] == ids[:2]
    assert [row["uri"] for row in found] == [str(trip.files["b"]), str(trip.files["a"])]
    assert [row["album"] for row in found] == ["'=HYPERLINK(1)", "sea"]
    assert [row["taken_at"] for row in found] == ["", "2023-11-14T22:13:20Z"]
    assert [row["width"] for row in found] == ["320", "320"]
    assert [row["price"] for row in found] == ["23.17", "23.17"]
    assert len(set(head)) == len(head)
    assert "vector" not in head

    got = client.post(f"{IMAGES}/export", {"ids": ids, "form": "json"})
    assert [(row["id"], row["fields"]["album"]) for row in got.json] == [(ids[0], "=HYPERLINK(1)"), (ids[1], "sea")]
    assert got.json[0]["fields"] == client.get(f"{IMAGES}/{ids[0]}").json["fields"]

    assert client.post(f"{IMAGES}/export", {"ids": ["nobody"], "form": "json"}).json == []

    got = client.post(f"{IMAGES}/export", {"ids": ids, "form": "paths"})
    assert got.body.decode().splitlines() == [str(trip.files["b"]), str(trip.files["a"])]


def test_pictures_to_take_along(client: Client, trip: Trip) -> None:
    ids = [trip.ids[name] for name in ("a", "gone", "again", "outside")] + ["nobody"]
    got = client.post(f"{IMAGES}/export", {"ids": ids, "form": "originals"})
    assert (got.status, got.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(got.body)) as found:
        assert found.namelist() == ["a.jpg", "A (2).jpg", "index.csv"]
        assert found.read("a.jpg") == trip.files["a"].read_bytes()
        assert found.read("A (2).jpg") == trip.files["again"].read_bytes()
        _, *index = table(found.read("index.csv"))
    assert [(row[0], row[1]) for row in index] == list(zip(["a.jpg", "", "A (2).jpg", "", ""], ids, strict=True))
    assert [bool(row[3]) for row in index] == [False, True, False, True, True]
    assert "permission denied" in index[3][3]

    got = client.post(f"{IMAGES}/export", {"ids": ids[:1], "form": "thumbnails", "size": 100})
    with zipfile.ZipFile(io.BytesIO(got.body)) as found, Image.open(io.BytesIO(found.read("a.jpg"))) as small:
        assert small.size == (128, 96)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"ids": ["nobody"], "form": "csv"}, 404, "row-not-found"),
        ({"ids": ["nobody"], "form": "originals"}, 404, "row-not-found"),
        ({"ids": ['x" or id != "'], "form": "csv"}, 404, "row-not-found"),
        ({"ids": ["../../etc/passwd"], "form": "originals"}, 404, "row-not-found"),
        ({"ids": [], "form": "csv"}, 422, "invalid"),
        ({"ids": [""], "form": "csv"}, 422, "invalid"),
        ({"ids": ["x" * 1025], "form": "csv"}, 422, "invalid"),
        ({"ids": [7], "form": "csv"}, 422, "invalid"),
        ({"ids": ["x"] * 10_001, "form": "csv"}, 422, "invalid"),
        ({"ids": [str(i) for i in range(1001)], "form": "originals"}, 422, "invalid"),
        ({"ids": ["x"], "form": "exe"}, 422, "invalid"),
        ({"ids": ["x"], "form": "thumbnails", "size": 100_000}, 422, "invalid"),
        ({"ids": ["x"], "form": "csv", "where": "true"}, 422, "invalid"),
    ],
)
def test_what_cannot_be_taken_along(client: Client, body: Any, status: int, kind: str) -> None:
    got = client.post(f"{IMAGES}/export", body)
    assert (got.status, got.kind) == (status, kind)


def test_archives_are_few_at_a_time(trip: Trip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "_MOST_ARCHIVES", 0)
    with serving({"trip": trip.opened()}) as client:
        got = client.post(f"{IMAGES}/export", {"ids": [trip.ids["a"]], "form": "originals"})
        assert (got.status, got.kind, got.headers["retry-after"]) == (503, "archives-full", "10")
        assert client.post(f"{IMAGES}/export", {"ids": [trip.ids["a"]], "form": "csv"}).status == 200


def test_an_archive_has_its_limit_and_says_what_is_left_out(trip: Trip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "_MOST_BYTES", 1)
    with serving({"trip": trip.opened()}) as client:
        ids = [trip.ids["a"], trip.ids["b"]]
        got = client.post(f"{IMAGES}/export", {"ids": ids, "form": "originals"})
    with zipfile.ZipFile(io.BytesIO(got.body)) as found:
        assert found.namelist() == ["a.jpg", "index.csv"]
        assert table(found.read("index.csv"))[2] == ["", ids[1], str(trip.files["b"]), "the archive is full"]


def test_who_takes_an_archive_too_slowly_or_leaves_makes_room(trip: Trip, monkeypatch: pytest.MonkeyPatch) -> None:
    large = trip.root / "a.jpg"
    noise = Image.frombytes("RGB", (2000, 2000), os.urandom(12_000_000))
    with ImageCollection.open("trip", uri=trip.uri, encoder=FakeEncoder()) as photos:
        noise.save(large, quality=95)
        photos.ingest(large)
    monkeypatch.setattr(taking, "_MOST_ARCHIVES", 1)
    monkeypatch.setattr(taking, "_SECONDS", 2.0)
    asked = json.dumps({"ids": [trip.ids["a"]], "form": "originals"}).encode()
    head = f"POST {IMAGES}/export HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    with serving({"trip": trip.opened()}) as client:
        for leaves in (True, False):
            with socket.socket() as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                slow.connect(("127.0.0.1", client.port))
                slow.sendall(head + f"Content-Length: {len(asked)}\r\n\r\n".encode() + asked)
                assert slow.recv(100).startswith(b"HTTP/1.1 200")
                if leaves:
                    slow.close()
                while (got := client.post(f"{IMAGES}/export", json.loads(asked))).status == 503:
                    assert got.kind == "archives-full"
                assert got.status == 200
                assert len(zipfile.ZipFile(io.BytesIO(got.body)).read("a.jpg")) > 2_000_000


def test_deleting_takes_its_word(client: Client, trip: Trip) -> None:
    ids = [trip.ids["a"], trip.ids["gone"], "nobody"]
    for body in (
        {"ids": ids},
        {"ids": ids, "confirm": False},
        {"ids": ids, "confirm": "true"},
        {"ids": ids, "confirm": 1},
        {"ids": [], "confirm": True},
        {"ids": [trip.ids["a"]] * 1001, "confirm": True},
        {"ids": ids, "confirm": True, "where": "true"},
        {"where": "id != ''", "confirm": True},
    ):
        got = client.post(f"{IMAGES}/delete", body)
        assert (got.status, got.kind) == (422, "invalid"), body
    assert client.post(f"{IMAGES}/delete", json.dumps({"ids": ids, "confirm": True}).encode()).status == 415
    assert client.post(f"{IMAGES}/delete", {"ids": ['" or id != "'], "confirm": True}).json == {"deleted": 0}
    assert client.get("/v1/collections/trip/count").json == {"count": 6}

    assert client.post(f"{IMAGES}/delete", {"ids": [*ids, ids[0]], "confirm": True}).json == {"deleted": 2}
    assert client.get("/v1/collections/trip/count").json == {"count": 4}
    assert client.get(f"{IMAGES}/{ids[0]}").status == 404
    assert trip.files["a"].exists()  # files stay
    assert client.post(f"{IMAGES}/delete", {"ids": ids, "confirm": True}).json == {"deleted": 0}


def test_what_has_changed_since_it_was_looked_at_stays(client: Client, trip: Trip) -> None:
    ids = [trip.ids["a"], trip.ids["b"], trip.ids["c"]]
    known = {id: client.get(f"{IMAGES}/{id}").json["fields"]["content_hash"] for id in ids}
    unchanged = {ids[0]: known[ids[0]], ids[1]: known[ids[0]], "nobody": "x"}
    got = client.post(f"{IMAGES}/delete", {"ids": ids, "confirm": True, "unchanged": unchanged})
    assert got.json == {"deleted": 2}
    assert [client.get(f"{IMAGES}/{id}").status for id in ids] == [404, 200, 404]
    for odd in ({"": "x"}, {"x": "y" * 129}, {"x": 1}, ["x"], {str(i): "x" for i in range(1001)}):
        got = client.post(f"{IMAGES}/delete", {"ids": ids, "confirm": True, "unchanged": odd})
        assert (got.status, got.kind) == (422, "invalid"), odd


def test_who_may_take_along_and_who_may_delete(trip: Trip, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    headers = {
        scope: {"Authorization": f"Bearer {new_token(file, scope, (scope,))}"} for scope in ("read", "write", "admin")
    }
    taken, deleted = {"ids": [trip.ids["a"]], "form": "paths"}, {"ids": [trip.ids["a"]], "confirm": True}
    with serving({"trip": trip.opened()}, token_file=str(file)) as client:
        assert client.ask("POST", f"{IMAGES}/export", taken).status == 401
        assert client.ask("POST", f"{IMAGES}/delete", deleted).status == 401
        for scope in ("read", "write"):
            got = client.ask("POST", f"{IMAGES}/delete", deleted, headers[scope])
            assert (got.status, got.kind) == (403, "scope")
        assert client.ask("POST", f"{IMAGES}/export", taken, headers["read"]).status == 200
        assert client.ask("POST", f"{IMAGES}/delete", deleted, headers["admin"]).json == {"deleted": 1}
        stranger = {**headers["admin"], "Origin": "http://evil.example"}
        got = client.ask("POST", f"{IMAGES}/delete", deleted, stranger)
        assert (got.status, got.kind) == (403, "origin")
