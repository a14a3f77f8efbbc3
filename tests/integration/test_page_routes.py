"""The page's files over HTTP, and the rows that it shows before anything is asked."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeEncoder
from served import Client, serving

import imgvec.serving
from imgvec import ImageCollection, Settings
from imgvec.serving.running import new_token

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
        "taken_at": {"type": "INT64", "format": "unix_ms", "default": 0},
    },
}
PAGE = Path(imgvec.serving.__file__).parent / "page"
V1 = "/v1/collections/trip"


@pytest.fixture
def trip(backend_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    """Twenty pictures, of which one has no date and two have the same."""
    given = {
        str(path): {"album": path.parent.name, "taken_at": 1_600_000_000_000 + number if number > 1 else 0}
        for number, path in enumerate(sorted(pictures.rglob("*.jpg")))
    }
    settings = Settings(uri=backend_uri, roots=(pictures,))
    with ImageCollection.create("trip", definition=DEFINITION, settings=settings, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures, metadata=given)
        assert photos.count() == 20
        yield photos


def test_rows_without_a_question(trip: ImageCollection) -> None:
    rows = [row for some in trip.store.scan(["uri", "album", "taken_at", "content_hash"]) for row in some]
    with serving({"trip": trip}) as client:

        def listed(**asked: object) -> list[dict[str, object]]:
            found, after = [], None
            while True:
                given = {**asked, **({} if after is None else {"after": after})}
                got = client.get(f"{V1}/images?{'&'.join(f'{name}={value}' for name, value in given.items())}")
                assert got.status == 200, got.body
                assert len(got.json["images"]) <= int(str(asked.get("limit", 100)))
                found += got.json["images"]
                after = got.json["next"]
                if after is None:
                    return found

        for limit in (7, 10, 20, 100):
            assert [each["id"] for each in listed(limit=limit)] == [row["id"] for row in rows]
        dated = sorted((row for row in rows if row["taken_at"]), key=lambda row: row["taken_at"])
        undated = [row["id"] for row in rows if not row["taken_at"]]
        assert len(undated) == 2
        assert [each["id"] for each in listed(order_by="taken_at", limit=6)] == [*(r["id"] for r in dated), *undated]
        down = [each["id"] for each in listed(order_by="-taken_at", limit=6)]
        assert down == [*(row["id"] for row in reversed(dated)), *undated]
        some = listed(where="album%20==%20%22album1%22", field="album", limit=4)
        assert {each["id"] for each in some} == {row["id"] for row in rows if row["album"] == "album1"}
        assert {name for each in some for name in each["fields"]} == {"album"}  # type: ignore[attr-defined]
        first = next(row for row in rows if row["id"] == some[0]["id"])
        assert some[0]["uri"] == first["uri"]
        assert client.get(str(some[0]["thumbnail"])).headers["cache-control"].startswith("private, max-age")
        assert client.get(f"{V1}/images?order_by=album&after=nobody").kind == "query-error"
        assert client.get(f"{V1}/images?order_by=nothing").kind == "option-error"
        assert client.get(f"{V1}/images?order=album").kind == "invalid"
        assert client.get(f"{V1}/images?limit=10001").kind == "invalid"


@pytest.fixture
def alone(lite_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    settings = Settings(uri=lite_uri, roots=(pictures,))
    with ImageCollection.create(
        "trip", definition=DEFINITION, settings=settings, encoder=FakeEncoder(text=True)
    ) as own:
        own.ingest(pictures)
        yield own


@pytest.fixture
def client(alone: ImageCollection) -> Iterator[Client]:
    with serving({"trip": alone}) as client:
        yield client


def test_files(client: Client) -> None:
    for path in [*PAGE.iterdir(), PAGE / "index.html"]:
        got = client.get("/" if path.name == "index.html" else f"/page/{path.name}")
        assert (got.status, got.body) == (200, path.read_bytes())
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-type"].split(";")[0] == {
            ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
        }[path.suffix]  # fmt: skip
        policy = dict(each.strip().split(" ", 1) for each in got.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in str(policy)
        again = client.get(
            "/" if path.name == "index.html" else f"/page/{path.name}", If_None_Match=got.headers["etag"]
        )
        assert (again.status, again.body) == (304, b"")
        assert again.headers["content-security-policy"] == got.headers["content-security-policy"]
    for path in ("/page/", "/page/nothing.js", "/page/..%2ffront.py", "/page/../front.py", "/index.html", "/page/x/y"):
        assert client.get(str(path)).status == 404
    assert "/page/{name}" not in client.get("/openapi.json").json["paths"]


def test_a_link_to_the_page_may_stand_anywhere_and_nothing_else_is_open_to_other_pages(client: Client) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.ask("GET", "/", headers=visit).status == 200
    assert client.ask("GET", "/v1/collections", headers=visit).kind == "origin"
    assert client.ask("GET", "/page/app.js", headers=visit).kind == "origin"
    for other in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Dest": "image"}):
        assert client.ask("GET", "/", headers=visit | other).kind == "origin"


def test_what_the_page_makes_its_controls_of(client: Client) -> None:
    found = client.get(V1).json
    schema = {each["name"]: each for each in found["schema"]}
    assert schema["taken_at"]["date"]
    assert not schema["width"]["date"]
    assert schema["album"]["type"] == "VARCHAR"
    while client.get("/readyz").status != 200:
        pass
    assert client.get(V1).json["takes"] == {"image": True, "text": True, "uploads": False}


def test_it_is_shown_without_a_token_and_nothing_else_is(alone: ImageCollection, tmp_path: Path) -> None:
    token = new_token(tmp_path / "tokens", "page")
    with serving({"trip": alone}, token_file=str(tmp_path / "tokens"), rate=5) as client:
        assert client.get("/").status == client.get("/page/app.js").status == 200
        for path in (V1, f"{V1}/images", "/pages", "/page", "//", "/openapi.json"):
            assert client.get(path).kind == "token"
        assert client.get(V1, Authorization=f"Bearer {token}").status == 200
        while (got := client.get("/page/app.js")).status == 200:  # nor is it for overloading the server
            pass
        assert got.kind == "rate"


@pytest.mark.nightly
def test_the_wheel_has_all_of_it(tmp_path: Path) -> None:
    made = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run(made, check=True, cwd=PAGE.parents[2])
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"imgvec/serving/page/{path.name}" for path in PAGE.iterdir()} <= names
