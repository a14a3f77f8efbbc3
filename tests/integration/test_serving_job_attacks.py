"""What strangers try with jobs of `imgvec serve`: paths, uploads, ids, cancels; a real server on Milvus Lite."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from pictures import picture
from served import PATIENCE, Client, serving

from imgvec import ImageCollection, Settings
from imgvec.errors import UsageError
from imgvec.serving.running import create_app

V1 = "/v1/collections/trip"
BODY = 256 * 2**10
"""The largest request that the server of these tests takes."""
SECRET = "a-secret-name"

Place = tuple[Client, Path]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server, and the folder that holds its root, its uploads, and what is nobody's business."""
    folder = tmp_path_factory.mktemp("attacked-jobs")
    root, outside = folder / "root", folder / "outside"
    for made in (root / "own", outside / SECRET, folder / "uploads", folder / "root-of-others"):
        made.mkdir(parents=True)
    picture(1).save(root / "own" / "1.jpg")
    picture(2).save(outside / SECRET / "2.jpg")
    picture(3).save(folder / "root-of-others" / "3.jpg")
    (root / "link").symlink_to(outside)
    (root / "link.jpg").symlink_to(outside / SECRET / "2.jpg")
    (root / "own" / "link.jpg").symlink_to(outside / SECRET / "2.jpg")
    (root / "own" / "folder").symlink_to(outside / SECRET)
    (root / "list.txt").write_text(f"{outside}/{SECRET}/2.jpg\n/etc/passwd\n")
    (root / "table.csv").write_text(f"path\n{outside}/{SECRET}/2.jpg\n")
    (root / "table.jsonl").write_text(json.dumps({"path": f"{outside}/{SECRET}/2.jpg"}))
    settings = Settings(uri=str(folder / "lite.db"), roots=(root, folder / "uploads"), max_pixels=10_000_000)
    encoder = FakeEncoder()
    definition = {"encoder": {"model": "fake"}}
    photos = ImageCollection.create("trip", definition=definition, settings=settings, encoder=encoder)
    with serving({"trip": photos}, upload_dir=str(folder / "uploads"), max_body=BODY) as client:
        yield client, folder


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    """The server, which has to work after an attack as it did before, and to have nothing of what is outside."""
    client, folder = place
    yield client
    done = until(client, client.post(f"{V1}/ingest", {"source": "own"}).json["id"])
    assert (done["state"], done["errors"]) == ("succeeded", [])
    uris = [each["uri"] for each in client.get(f"{V1}/images").json["images"]]
    assert uris
    assert not [uri for uri in uris if not uri.startswith((f"{folder}/root/own/1.jpg", f"{folder}/uploads/"))]


def until(client: Client, id: str) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE
    while True:
        job: dict[str, Any] = client.get(f"/v1/jobs/{id}").json
        if job["state"] in ("succeeded", "failed", "cancelled"):
            return job
        assert time.monotonic() < end, job
        time.sleep(0.02)


def refused(client: Client, source: str) -> str:
    got = client.post(f"{V1}/ingest", {"source": source})
    assert 400 <= got.status < 500, got.body
    assert SECRET.encode() not in got.body.replace(source.encode("utf-8", "replace"), b"")
    return got.kind


@pytest.mark.parametrize(
    "source",
    ["{folder}/outside", "{folder}/outside/{secret}/2.jpg", "/", "/etc", "/etc/passwd", "/dev/zero",
     "/proc/self/environ", "..", "../outside", "own/../../outside", "{folder}/root/../outside/{secret}/2.jpg",
     "link", "link/{secret}/2.jpg",
     "link.jpg", "own/folder", "own/folder/2.jpg", "{folder}/root/link.jpg", "{folder}/root-of-others/3.jpg",
     "own/../link/{secret}", "/{folder}/outside", "{folder}/root/own/../../outside", "{folder}/lite.db"],
)  # fmt: skip
def test_what_lies_outside_the_roots_whether_it_is_there_or_not(place: Place, client: Client, source: str) -> None:
    # a relative one might be below another root, where it is not
    said = "source-outside" if source.startswith(("/", "{folder}", "..", "own/../../")) else "source-missing"
    assert refused(client, source.format(folder=place[1], secret=SECRET)) == said


@pytest.mark.parametrize(
    ("there", "not_there"),
    [
        ("{folder}/outside/{secret}", "{folder}/outside/nobody"),
        ("../outside", "../nobody"),
        ("link/{secret}/2.jpg", "link/nobody.jpg"),
        ("own/folder/2.jpg", "own/folder/3.jpg"),
        ("{folder}/root/link/{secret}/2.jpg", "{folder}/root/link/nobody/2.jpg"),
        ("/etc/passwd", "/etc/nobody"),
    ],
)
def test_nobody_learns_what_is_there(place: Place, client: Client, there: str, not_there: str) -> None:
    names = [each.format(folder=place[1], secret=SECRET) for each in (there, not_there)]
    assert refused(client, names[0]) == refused(client, names[1])


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("nobody.jpg", "source-missing"),
        ("own/*.jpg", "source-missing"),
        ("{own,../outside}", "source-missing"),
        ("own/{1,../../outside/x}.jpg", "source-missing"),
        ("~", "source-missing"),
        ("~root", "source-missing"),
        ("$HOME", "source-missing"),
        ("list.txt", "source-kind"),
        ("table.csv", "source-kind"),
        ("table.jsonl", "source-kind"),
        ("file:///etc/passwd", "source-unusable"),
        ("http://127.0.0.1:1/a.jpg", "source-unusable"),
        ("s3://bucket/a.jpg", "source-unusable"),
        ("memory://a.jpg", "source-unusable"),
        ("own/1.jpg\0.txt", "source-unusable"),
        ("\ud800", "invalid"),
        ("", "invalid"),
        ("a" * 5000, "invalid"),
    ],
)
def test_what_is_no_place_below_a_root(client: Client, source: str, kind: str) -> None:
    assert refused(client, source) == kind


def test_a_link_that_is_changed_while_the_job_waits(place: Place, client: Client) -> None:
    place_to_be = place[1] / "root" / "changing"
    place_to_be.mkdir()
    jobs = [client.post(f"{V1}/ingest", {"source": each}).json for each in ("own", "own", "own", "changing")]
    place_to_be.rmdir()
    place_to_be.symlink_to(place[1] / "outside" / SECRET)
    try:
        last = [until(client, each["id"]) for each in jobs][-1]
        # it was too late for the change, or it was told of it
        assert last["counts"].get("written", 0) == 0
        assert last["state"] == "succeeded" or last["problem"]["type"].startswith("urn:imgvec:problem:source-")
    finally:
        place_to_be.unlink()


def test_links_in_a_folder_are_passed_over_and_no_option_follows_them(client: Client) -> None:
    assert client.post(f"{V1}/ingest", {"source": "own", "follow_links": True}).kind == "invalid"
    job = until(client, client.post(f"{V1}/ingest", {"source": "own"}).json["id"])
    assert client.get(job["links"]["result"]).json["passed_over"] == {"symbolic link": 2}


@pytest.mark.parametrize(
    "option",
    ["root", "metadata", "errors", "via", "keep", "engine", "stop", "on_progress", "uploads", "deleted", "log"],
)
def test_options_that_name_files_of_this_machine(client: Client, option: str) -> None:
    assert client.post(f"{V1}/ingest", {"source": "own", option: "/tmp/x"}).kind == "invalid"
    parts = [("image", "a", b"x"), ("options", None, json.dumps({option: "/tmp/x"}).encode())]
    assert client.upload(f"{V1}/ingest", parts).kind == "invalid"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", "a\0b", "CON", "a" * 300, "x/../../y", ".hidden"]
)
def test_names_of_uploads_are_never_paths(place: Place, client: Client, name: str) -> None:
    before = {path for path in place[1].rglob("*") if "lite.db" not in str(path)}
    got = client.upload(f"{V1}/ingest", [("image", name, jpeg(10))])
    job = until(client, got.json["id"])
    assert (job["state"], job["counts"]["refused"]) == ("succeeded", 0)
    made = {path for path in place[1].rglob("*") if "lite.db" not in str(path)} - before
    assert {path.relative_to(place[1]).parts[0] for path in made} <= {"uploads"}
    assert "passwd" not in json.dumps(job)


def test_an_upload_that_is_too_large_is_refused_unread(client: Client) -> None:
    assert client.upload(f"{V1}/ingest", [("image", "a", bytes(BODY))]).status == 413
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    endless = chain([head], (b"x" * 65_536 for _ in range(10_000)))
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    with suppress(OSError):  # it was told before it had sent all
        assert client.ask("POST", f"{V1}/ingest", endless, headers).status == 413


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html><script>alert(1)</script>", "not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "format not allowed"),
        (b"%PDF-1.7", "format not allowed"),
        (b"PK\x03\x04" + bytes(60), "not an image"),
        (b"\xff\xd8\xff\xe0", None),
        (b"GIF89a", None),
    ],
)
def test_what_is_no_picture(place: Place, client: Client, data: bytes, reason: str | None) -> None:
    got = client.upload(f"{V1}/ingest", [("image", "a.jpg", data)])
    job = until(client, got.json["id"])
    assert (job["state"], job["counts"]["refused"], len(job["errors"])) == ("succeeded", 1, 1)
    assert reason in (None, job["errors"][0]["reason"])
    assert not Path(got.json["uploads"][0]["uri"]).exists()


def test_a_picture_that_would_fill_the_memory(client: Client) -> None:
    got = client.upload(f"{V1}/ingest", [("image", "bomb.png", bomb(60_000, 60_000))])
    job = until(client, got.json["id"])
    assert (job["state"], job["errors"][0]["reason"]) == ("succeeded", "too many pixels")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [("picture", "a", b"x")],
        [("image", None, b"x")],
        [("image", "a", b"x"), ("source", None, b"/etc")],
        [("image", "a", b"x"), ("options", "a", b"{}")],
        [("image", "a", b"x"), ("options", None, b"[]")],
        [("image", "a", b"x"), ("options", None, b'{"prune": true, "confirm": true}')],
        [("image", "a", b"x"), ("metadata", None, b"7")],
        [("image", "a", b"x"), ("metadata", None, b"[{}, {}]")],
        [("image", "a", b"x"), ("metadata", None, b"[" * 5000)],
        [("image", "a", b"x"), ("metadata", None, b"\xff")],
    ],
)
def test_forms_that_say_something_else(client: Client, parts: list[tuple[str, str | None, bytes]]) -> None:
    assert client.upload(f"{V1}/ingest", parts).status in (400, 422)


@pytest.mark.parametrize(
    "metadata",
    [{"id": "x"}, {"uri": "/etc/passwd"}, {"content_hash": "x"}, {"vector": [1]}, {"a": {"b": [None] * 50}}, {"": 1},
     {"$ne": 1}, {"a": 1e400}, {"path": "/etc/passwd"}],
)  # fmt: skip
def test_metadata_of_strangers_changes_no_row_of_others(client: Client, metadata: dict[str, Any]) -> None:
    parts = [("image", "a", jpeg(11)), ("metadata", None, json.dumps(metadata).encode())]
    got = client.upload(f"{V1}/ingest", parts)
    if got.status == 202:
        assert until(client, got.json["id"])["state"] == "succeeded"
        for row in client.get(f"{V1}/images").json["images"]:
            assert len(row["id"]) == 32
    else:
        assert got.status == 422


@pytest.mark.parametrize("id", ["nobody", "0" * 32, "..", "%2e%2e%2flock", "lock", "a" * 3000, "'", "%00", "*"])
def test_ids_of_nobodys_jobs(client: Client, id: str) -> None:
    for path in (f"/v1/jobs/{id}", f"/v1/jobs/{id}/events", f"/v1/jobs/{id}/result"):
        assert client.get(path).status == 404
    assert client.post(f"/v1/jobs/{id}/cancel", None).status == 404


def test_a_cancel_is_heard_once(client: Client) -> None:
    job = client.post(f"{V1}/ingest", {"source": "own"}).json
    got: list[int] = []
    threads = [
        threading.Thread(target=lambda: got.append(client.post(f"/v1/jobs/{job['id']}/cancel", None).status))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = until(client, job["id"])["state"]
    assert set(got) <= ({200} if ended == "cancelled" else {200, 409})
    assert ended in ("cancelled", "succeeded")


def test_streams_of_events_are_only_so_many(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.serving.following._STREAMS", 0)
    job = client.post(f"{V1}/ingest", {"source": "own"}).json
    assert client.get(f"/v1/jobs/{job['id']}/events").kind == "streams"
    until(client, job["id"])


@pytest.mark.parametrize("query", ["state=x", "limit=0", "limit=9999999", "by=boss", "collection=" + "a" * 2000])
def test_questions_for_jobs_that_cannot_be_asked(client: Client, query: str) -> None:
    assert client.get(f"/v1/jobs?{query}").kind == "invalid"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("duplicates", {"delete": True}),
        ("duplicates", {"delete": "yes", "confirm": True}),
        ("duplicates", {"delete": True, "confirm": "true"}),
        ("duplicates", {"delete": True, "confirm": True, "log": "/tmp/x"}),
        ("duplicates", {"kinds": ["all"]}),
        ("duplicates", {"candidates": 10**9}),
        ("duplicates", {"vectors_alone": 2}),
        ("calibrate", {"rates": [2]}),
        ("calibrate", {"sample": -1}),
        ("calibrate", {"on_progress": "x"}),
        ("ingest", {"source": "own", "prune": True}),
        ("ingest", {"source": "own", "prune": True, "confirm": None}),
        ("ingest", {"source": ["own"]}),
        ("ingest", []),
    ],
)
def test_bodies_that_are_refused_at_once(client: Client, path: str, body: Any) -> None:
    assert client.post(f"{V1}/{path}", body).status == 422


def test_nothing_is_taken_without_a_place_for_it(lite_uri: str, tmp_path: Path) -> None:
    """Without --upload-dir no upload, without --root no source; a folder for jobs that cannot be made is said."""
    (tmp_path / "file").write_bytes(b"")
    encoder = FakeEncoder()
    settings = Settings(uri=lite_uri, roots=())
    ImageCollection.create("trip", definition={"encoder": {"model": "fake"}}, uri=lite_uri, encoder=encoder).close()
    opened = ImageCollection.open("trip", settings=settings, encoder=encoder)
    with serving({"trip": opened}, jobs_dir=str(tmp_path / "file" / "jobs")) as client:
        got = client.upload(f"{V1}/ingest", [("image", "a", jpeg(1))])
        assert (got.status, got.kind) == (501, "no-upload-dir")
        assert client.post(f"{V1}/ingest", {"source": "/"}).kind == "source-outside"
        assert client.post(f"{V1}/ingest", {"source": "."}).kind == "source-outside"
        got = client.post(f"{V1}/duplicates", {"exact": True})
        assert (got.status, got.kind) == (507, "jobs-unavailable")
        assert str(tmp_path).encode() not in got.body
    with (
        ImageCollection.open("trip", settings=settings, encoder=encoder) as photos,
        pytest.raises(UsageError, match="not there"),
    ):
        create_app({"trip": photos}, upload_dir=str(tmp_path / "nobody"))


def _kept(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_a_disk_is_not_filled_by_uploads(lite_uri: str, tmp_path: Path) -> None:
    """However many come at once, and whatever becomes of them."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    files = [("image", "a.jpg", _encoded(number)) for number in range(12)]
    assert max(len(data) for _, _, data in files) < 4096
    encoder = FakeEncoder()
    definition = {"encoder": {"model": "fake"}}
    settings = Settings(uri=lite_uri, roots=(uploads,))
    photos = ImageCollection.create("trip", definition=definition, settings=settings, encoder=encoder)
    with serving({"trip": photos}, upload_dir=str(uploads), upload_space=4 * 4096, job_queue=64) as client:
        got = client.upload(f"{V1}/ingest", files[:5])
        assert (got.status, got.kind) == (507, "uploads-full")
        assert "--upload-space" in got.json["detail"]
        assert str(tmp_path) not in got.json["detail"]
        assert _kept(uploads) == 0  # all or none
        # what is no picture has its space only until the job has ended
        for _ in range(3):
            lost = [("image", "a", b"%d no picture" % number) for number in range(4)]
            done = until(client, client.upload(f"{V1}/ingest", lost).json["id"])
            assert len(done["errors"]) == 4
            assert _kept(uploads) == 0
        with ThreadPoolExecutor(12) as pool:
            asked = list(pool.map(lambda each: client.upload(f"{V1}/ingest", [each]), files))
        assert sorted(each.status for each in asked) == [202] * 4 + [507] * 8
        for each in asked:
            if each.status == 202:
                assert until(client, each.json["id"])["counts"]["written"] == 1
        assert _kept(uploads) == 4
        head = f"POST {V1}/ingest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        assert client.raw(f"{head}Content-Length: 200000\r\n\r\n".encode(), ends=False).startswith(b"HTTP/1.1 507"), (
            "refused unread"
        )
        assert client.post(f"{V1}/search", {"query": {"id": "nobody"}}).status == 422


def _encoded(number: int) -> bytes:
    data = io.BytesIO()
    picture(number).save(data, "JPEG")
    return data.getvalue()


def test_two_servers_do_not_run_the_same_jobs(lite_uri: str, tmp_path: Path) -> None:
    encoder, root = FakeEncoder(), tmp_path / "root"
    root.mkdir()
    picture(1).save(root / "1.jpg")
    ImageCollection.create("trip", definition={"encoder": {"model": "fake"}}, uri=lite_uri, encoder=encoder).close()
    first, second = (
        ImageCollection.open("trip", settings=Settings(uri=lite_uri, roots=(root,)), encoder=encoder) for _ in range(2)
    )
    jobs = str(tmp_path / "jobs")
    with serving({"trip": second}, jobs_dir=jobs) as other:
        with serving({"trip": first}, jobs_dir=jobs) as client:
            until(client, client.post(f"{V1}/ingest", {"source": "1.jpg"}).json["id"])
            got = other.post(f"{V1}/ingest", {"source": "1.jpg"})
            assert (got.status, got.kind) == (503, "jobs-elsewhere")
        assert until(other, other.post(f"{V1}/ingest", {"source": "1.jpg"}).json["id"])["counts"]["unchanged"] == 1
        assert len(other.get("/v1/jobs").json["jobs"]) == 2  # those of the first too


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, "JPEG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    )
