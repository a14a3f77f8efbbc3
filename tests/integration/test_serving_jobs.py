"""Jobs of `imgvec serve`: ingests, duplicates and calibrations over HTTP, by a real server."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from pictures import picture
from served import PATIENCE, Client, serving
from typing_extensions import Unpack

import imgvec
from imgvec import ImageCollection, Settings
from imgvec.images import content_hash
from imgvec.serving import ServeOptions, orders
from imgvec.serving.job import EXAMPLE, JobShown
from imgvec.serving.tokens import new_token

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}},
}
V1 = "/v1/collections/trip"


class Gated(FakeEncoder):
    """Encodes batches only while its gate is open."""

    def __init__(self) -> None:
        super().__init__(text=True)
        self.gate, self.waits = threading.Event(), threading.Event()
        self.gate.set()

    def encode(self, pixels: Any) -> Any:
        self.waits.set()
        assert self.gate.wait(PATIENCE)
        return super().encode(pixels)


@pytest.fixture
def encoder() -> Gated:
    return Gated()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures and a text that is called one."""
    root = tmp_path / "root"
    (root / "summer").mkdir(parents=True)
    for number in range(12):
        picture(number).save(root / "summer" / f"{number}.jpg")
    (root / "summer" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "uploads").mkdir()
    return root


@contextmanager
def served(uri: str, folder: Path, encoder: FakeEncoder, **options: Unpack[ServeOptions]) -> Iterator[Client]:
    """A server of the collection, which is made if it is not there."""
    settings = Settings(uri=uri, roots=(folder, folder.parent / "uploads"))
    ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=encoder, exist_ok=True).close()
    photos = ImageCollection.open("trip", settings=settings, encoder=encoder)
    options.setdefault("jobs_dir", str(folder.parent / "jobs"))
    options.setdefault("upload_dir", str(folder.parent / "uploads"))
    with serving({"trip": photos}, **options) as client:
        yield client


@pytest.fixture
def client(lite_uri: str, folder: Path, encoder: Gated) -> Iterator[Client]:
    with served(lite_uri, folder, encoder) as client:
        yield client
    encoder.gate.set()


def until(client: Client, id: str, *states: str, **headers: str) -> dict[str, Any]:
    """The job, once it is in one of these states: by default, once it has ended."""
    states = states or ("succeeded", "failed", "cancelled")
    end = time.monotonic() + PATIENCE
    while True:
        got = client.get(f"/v1/jobs/{id}", **headers)
        assert got.status == 200, got.body
        job: dict[str, Any] = JobShown.model_validate(got.json).model_dump()
        if job["state"] in states:
            return job
        assert time.monotonic() < end, job
        time.sleep(0.02)


def posted(client: Client, what: str, body: Any, **headers: str) -> dict[str, Any]:
    got = client.post(f"{V1}/{what}", body, **headers)
    assert got.status == 202, got.body
    job: dict[str, Any] = JobShown.model_validate(got.json).model_dump()
    assert got.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    return job


def events(client: Client, id: str, **headers: str) -> list[tuple[str, str, Any]]:
    """All events of a stream, to its end: id, name, data."""
    got = client.get(f"/v1/jobs/{id}/events", **headers)
    assert got.status == 200, got.body
    assert got.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in got.body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return found


def test_a_folder_is_ingested_as_the_library_does(backend_uri: str, folder: Path, encoder: Gated) -> None:
    with served(backend_uri, folder, encoder) as client:
        job = posted(client, "ingest", {"source": "summer", "exclude": ["1.jpg"]})
        assert (job["kind"], job["collection"], job["by"]) == ("ingest", "trip", "")
        assert job["request"] == {"source": "summer", "exclude": ["1.jpg"]}
        done = until(client, job["id"])
        assert done["state"] == "succeeded", done
        assert done["starts"] == 1
        wanted = {"seen": 12, "written": 11, "refused": 1, "unchanged": 0, "pruned": 0}
        assert {name: done["counts"][name] for name in wanted} == wanted
        [error] = done["errors"]
        assert (error["uri"], error["reason"]) == (str(folder / "summer" / "broken.jpg"), "not an image")
        assert client.get(f"{V1}/count").json == {"count": 11}
        report = client.get(done["links"]["result"]).json
        assert (report["written"], report["refused"], report["interrupted"]) == (11, {"not an image": 1}, False)
        again = until(client, posted(client, "ingest", {"source": str(folder / "summer")})["id"])
        assert (again["counts"]["written"], again["counts"]["unchanged"]) == (1, 11)
        hit = client.upload(f"{V1}/search", [("image", "x", (folder / "summer" / "3.jpg").read_bytes())]).json["hits"]
        assert hit[0]["uri"] == str(folder / "summer" / "3.jpg")
        assert [each["id"] for each in client.get("/v1/jobs").json["jobs"]] == [again["id"], done["id"]]
        assert client.get("/v1/jobs?state=running").json == {"jobs": []}
        assert [each["id"] for each in client.get("/v1/jobs?collection=trip&limit=1").json["jobs"]] == [again["id"]]


def test_uploads_become_pictures_named_by_their_content(client: Client, folder: Path) -> None:
    files = [(folder / "summer" / f"{number}.jpg").read_bytes() for number in (3, 4, 3)]
    parts = [("image", "../../etc/passwd", each) for each in files]
    parts.append(("metadata", None, json.dumps([{"album": "a"}, {"album": "b"}, {"album": "a"}]).encode()))
    got = client.upload(f"{V1}/ingest", [*parts, ("options", None, b'{"on_duplicate": "skip"}')])
    assert got.status == 202, got.body
    job = got.json
    assert job["request"] == {"on_duplicate": "skip", "uploads": 3}
    for each, data in zip(job["uploads"], files, strict=True):
        assert each["content_hash"] == content_hash(data)
        assert Path(each["uri"]) == folder.parent / "uploads" / each["content_hash"][:2] / each["content_hash"]
        assert Path(each["uri"]).read_bytes() == data
    done = until(client, job["id"])
    assert (done["state"], done["counts"]["written"], done["counts"]["duplicates"]) == ("succeeded", 2, 1)
    hit = client.upload(f"{V1}/search", [("image", "x", files[1]), ("options", None, b'{"limit": 1}')]).json["hits"][0]
    assert hit["fields"]["album"] == "b"
    whole = client.get(f"{V1}/images/{hit['id']}/original")
    assert (whole.headers["content-type"], whole.body) == ("image/jpeg", files[1])
    names = sorted(path.name for path in (folder.parent / "uploads").rglob("*") if path.is_file())
    assert names == sorted({content_hash(each) for each in files})


def test_what_is_uploaded_and_is_no_picture_is_refused_and_not_kept(client: Client, folder: Path) -> None:
    good = (folder / "summer" / "3.jpg").read_bytes()
    got = client.upload(f"{V1}/ingest", [("image", "a", b"<html>"), ("image", "b", good)])
    done = until(client, got.json["id"])
    assert (done["state"], done["counts"]["written"], done["counts"]["refused"]) == ("succeeded", 1, 1)
    assert done["errors"][0]["uri"] == got.json["uploads"][0]["uri"]
    kept = [path.name for path in (folder.parent / "uploads").rglob("*") if path.is_file()]
    assert kept == [content_hash(good)]


def test_events_say_how_far_it_is(client: Client, encoder: Gated) -> None:
    encoder.gate.clear()
    encoder.waits.clear()
    job = posted(client, "ingest", {"source": "summer"})
    assert encoder.waits.wait(PATIENCE)
    threading.Timer(0.5, encoder.gate.set).start()
    told = events(client, job["id"])
    assert told[0][1] == "state"
    assert told[0][2]["state"] == "running"
    assert told[-1][:2] == ("end", "state")
    assert (told[-1][2]["state"], told[-1][2]["counts"]["written"]) == ("succeeded", 12)
    assert {name for _, name, _ in told} <= {"state", "progress"}
    for _, name, data in told:
        if name == "progress":
            assert (data["id"], data["work"], data["stage"]) == (job["id"], "ingest", "images")
    # who was cut off before the end is told of it, and who has seen it of nothing
    assert [each[0] for each in events(client, job["id"], Last_Event_ID=told[0][0])] == ["end"]
    assert client.get(f"/v1/jobs/{job['id']}/events", Last_Event_ID="end").status == 204
    assert client.ask("HEAD", f"/v1/jobs/{job['id']}/events").status == 405


def test_an_open_stream_is_told_of_a_cancel_and_beats(
    client: Client, encoder: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgvec.serving.following._HEARTBEAT_SECONDS", 0.1)
    encoder.gate.clear()
    encoder.waits.clear()
    job = posted(client, "ingest", {"source": "summer"})
    assert encoder.waits.wait(PATIENCE)
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=PATIENCE)
    connection.request("GET", f"/v1/jobs/{job['id']}/events")
    stream = connection.getresponse()
    while stream.readline() != b": alive\n":
        pass
    first = client.post(f"/v1/jobs/{job['id']}/cancel", None)
    assert (first.status, first.json["state"]) == (200, "cancelling")
    assert client.post(f"/v1/jobs/{job['id']}/cancel", None).json["state"] == "cancelling"
    while b'"state": "cancelling"' not in stream.readline():
        pass
    encoder.gate.set()
    rest = stream.read().decode()
    connection.close()
    assert rest.rstrip().rpartition("data: ")[2].find('"state": "cancelled"') > 0
    ended = until(client, job["id"])
    assert ended["ended_at"] is not None
    assert client.post(f"/v1/jobs/{job['id']}/cancel", None).json["state"] == "cancelled"
    assert client.get(f"/v1/jobs/{job['id']}/result").kind == "no-result"


def test_jobs_of_a_collection_run_one_after_another_and_only_so_many_wait(
    lite_uri: str, folder: Path, encoder: Gated
) -> None:
    encoder.gate.clear()
    with served(lite_uri, folder, encoder, job_queue=1) as client:
        first = posted(client, "ingest", {"source": "summer"})
        until(client, first["id"], "running")
        second = posted(client, "ingest", {"source": "summer"})
        assert second["state"] == "waiting"
        third = client.post(f"{V1}/ingest", {"source": "summer"})
        assert (third.status, third.kind, third.headers["retry-after"]) == (503, "jobs-full", "30")
        text = client.get("/metrics").body.decode()
        assert 'imgvec_jobs{state="running"} 1.0' in text
        assert 'imgvec_jobs{state="waiting"} 1.0' in text
        assert client.post(f"/v1/jobs/{second['id']}/cancel", None).json["state"] == "cancelled"
        fourth = posted(client, "ingest", {"source": "summer"})
        encoder.gate.set()
        assert until(client, first["id"])["counts"]["written"] == 12
        assert until(client, fourth["id"])["counts"]["unchanged"] == 12
        assert client.post(f"/v1/jobs/{fourth['id']}/cancel", None).kind == "job-ended"
        text = client.get("/metrics").body.decode()
        assert 'imgvec_jobs_ended_total{kind="ingest",state="succeeded"} 2.0' in text
        assert 'imgvec_jobs_ended_total{kind="ingest",state="cancelled"} 1.0' in text


def test_queries_are_answered_while_a_job_runs(client: Client, encoder: Gated, folder: Path) -> None:
    until(client, posted(client, "ingest", {"source": "summer/1.jpg"})["id"])
    hit = client.upload(f"{V1}/search", [("image", "x", (folder / "summer" / "1.jpg").read_bytes())]).json["hits"][0]
    encoder.gate.clear()
    encoder.waits.clear()
    job = posted(client, "ingest", {"source": "summer"})
    assert encoder.waits.wait(PATIENCE)
    assert client.post(f"{V1}/search", {"query": {"id": hit["id"]}}).status == 200
    assert client.upload(f"{V1}/search", [("image", "x", b"no picture")]).kind == "unreadable-image"
    assert client.get(f"/v1/jobs/{job['id']}").json["state"] == "running"
    encoder.gate.set()
    assert until(client, job["id"])["state"] == "succeeded"


def test_a_job_goes_on_when_the_server_starts_again(lite_uri: str, folder: Path, encoder: Gated) -> None:
    encoder.gate.clear()
    with served(lite_uri, folder, encoder) as client:
        first = posted(client, "ingest", {"source": "summer"})
        until(client, first["id"], "running")
        upload = client.upload(f"{V1}/ingest", [("image", "a", (folder / "summer" / "0.jpg").read_bytes())]).json
        streams: list[list[Any]] = []
        threads = [
            threading.Thread(target=lambda id=id: streams.append(events(client, id)))  # type: ignore[misc]  # mypy#12557
            for id in (first["id"], upload["id"])
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + PATIENCE
        assert client.server is not None
        app: Any = client.server.config.app
        while app.state.served.jobs.onlookers.number < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        client.server.should_exit = True
        time.sleep(0.3)
        encoder.gate.set()  # its batch ends, and no other begins
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(each[-1][2]["state"] for each in streams) == ["paused", "paused"]
    with served(lite_uri, folder, encoder) as client:
        done = until(client, first["id"])
        assert (done["state"], done["starts"]) == ("succeeded", 2)
        assert done["counts"]["written"] + done["counts"]["unchanged"] == 12
        also = until(client, upload["id"])
        assert (also["state"], also["starts"], also["counts"]["written"]) == ("succeeded", 1, 1)
        assert client.get(f"{V1}/count").json == {"count": 13}


def test_duplicates_and_calibrate_are_the_librarys(client: Client, folder: Path) -> None:
    for number in range(12, 60):
        picture(number).save(folder / "summer" / f"{number}.jpg")
    (folder / "summer" / "copy.jpg").write_bytes((folder / "summer" / "20.jpg").read_bytes())
    until(client, posted(client, "ingest", {"source": "summer"})["id"])
    job = until(client, posted(client, "duplicates", {"exact": True})["id"])
    assert job["state"] == "succeeded", job
    found = client.get(job["links"]["result"]).json
    [group] = found["groups"]
    pair = {group["best"]["uri"], *(each["uri"] for each in group["others"])}
    assert pair == {str(folder / "summer" / name) for name in ("20.jpg", "copy.jpg")}
    assert job["counts"] == {"pictures": 61, "looked_at": 61, "groups": 1}
    unconfirmed = client.post(f"{V1}/duplicates", {"exact": True, "delete": True})
    assert (unconfirmed.kind, client.get(f"{V1}/count").json["count"]) == ("unconfirmed", 61)
    body = {"exact": True, "delete": True, "confirm": True}
    deleted = until(client, posted(client, "duplicates", body)["id"])
    assert client.get(deleted["links"]["result"]).json["deleted"] == {"pictures": 1, "left": 0}
    assert client.get(f"{V1}/count").json["count"] == 60
    measured = until(client, posted(client, "calibrate", {"rates": [0.2], "copies": 40})["id"])
    assert measured["state"] == "succeeded", measured
    assert client.get(measured["links"]["result"]).json["pictures"] == 60
    few = until(client, posted(client, "calibrate", {"rates": [0.0001]})["id"])
    assert (few["state"], few["problem"]["status"], few["errors"]) == ("failed", 422, [])
    assert few["problem"]["type"] == "urn:imgvec:problem:usage-error"


def test_pictures_that_are_gone_are_pruned_when_that_is_confirmed(client: Client, folder: Path) -> None:
    until(client, posted(client, "ingest", {"source": "summer"})["id"])
    (folder / "summer" / "5.jpg").unlink()
    assert client.post(f"{V1}/ingest", {"source": "summer", "prune": True}).kind == "unconfirmed"
    done = until(client, posted(client, "ingest", {"source": "summer", "prune": True, "confirm": True})["id"])
    assert (done["state"], done["counts"]["pruned"]) == ("succeeded", 1)
    assert client.get(f"{V1}/count").json == {"count": 11}


def test_a_job_is_of_the_token_that_asked(lite_uri: str, folder: Path, encoder: Gated) -> None:
    file = folder.parent / "tokens"
    bearer = {
        name: f"Bearer {new_token(file, name, [scope])}"
        for name, scope in (("page", "read"), ("one", "write"), ("two", "write"), ("boss", "admin"))
    }
    with served(lite_uri, folder, encoder, token_file=str(file)) as client:
        for path, body in (("ingest", {"source": "summer"}), ("duplicates", {}), ("calibrate", {})):
            assert client.post(f"{V1}/{path}", body, Authorization=bearer["page"]).kind == "scope"
        assert client.post(f"{V1}/calibrate", {}, Authorization=bearer["one"]).kind == "scope"
        for path, body in (("ingest", {"source": "summer", "prune": True}), ("duplicates", {"delete": True})):
            body["confirm"] = True
            assert client.post(f"{V1}/{path}", body, Authorization=bearer["one"]).kind == "scope"
        job = posted(client, "ingest", {"source": "summer"}, Authorization=bearer["one"])
        assert job["by"] == "one"
        for word in ("", "/events", "/result"):
            assert client.get(f"/v1/jobs/{job['id']}{word}", Authorization=bearer["two"]).kind == "job-not-found"
            assert client.get(f"/v1/jobs/{job['id']}{word}", Authorization=bearer["page"]).kind == "scope"
            assert client.get(f"/v1/jobs/{job['id']}{word}").kind == "token"
        assert client.post(f"/v1/jobs/{job['id']}/cancel", None, Authorization=bearer["two"]).kind == "job-not-found"
        assert client.get("/v1/jobs", Authorization=bearer["two"]).json == {"jobs": []}
        assert until(client, job["id"], Authorization=bearer["one"])["state"] == "succeeded"
        assert until(client, job["id"], Authorization=bearer["boss"])["state"] == "succeeded"
        assert len(client.get("/v1/jobs", Authorization=bearer["boss"]).json["jobs"]) == 1


def test_openapi_describes_jobs_and_its_examples_are_requests(client: Client) -> None:
    said = client.get("/openapi.json").json
    for path, kind in (("ingest", "IngestBody"), ("duplicates", "DuplicatesBody"), ("calibrate", "CalibrateBody")):
        route = said["paths"]["/v1/collections/{collection}/" + path]["post"]
        assert route["requestBody"]["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{kind}"}
        assert said["components"]["schemas"][kind]["examples"]
        assert route["responses"]["202"]["content"]["application/json"]["schema"]["$ref"].endswith("/JobShown")
    form = said["paths"]["/v1/collections/{collection}/ingest"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["properties"].keys() == {"image", "metadata", "options"}
    assert "follow_links" not in said["components"]["schemas"]["IngestBody"]["properties"]
    for each in orders.BODIES:
        for example in each.model_json_schema().get("examples", []):
            each.model_validate(example)
    JobShown.model_validate(EXAMPLE)
    assert imgvec.__version__ == said["info"]["version"]
