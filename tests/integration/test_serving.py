"""`imgvec serve` by a real server: its answers are the library's, on Milvus Lite and on Milvus 2.3.5."""

from __future__ import annotations

import base64
import io
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture
from PIL import Image
from served import PATIENCE, Client, serving

import imgvec
from imgvec import Crop, Hybrid, ImageBytes, ImageCollection, Like, Part, Settings, StoredId, Text, VectorQuery
from imgvec.serving.logs import JsonLines

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}},
}
V1 = "/v1/collections/trip"


def opened(uri: str, root: Path) -> ImageCollection:
    return ImageCollection.open("trip", settings=Settings(uri=uri, roots=(root,)), encoder=FakeEncoder(text=True))


@contextmanager
def filled(uri: str, pictures: Path) -> Iterator[ImageCollection]:
    """Twenty pictures in two albums."""
    given = {str(path): {"album": path.parent.name} for path in pictures.rglob("*.jpg")}
    with ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=FakeEncoder(text=True)) as collection:
        collection.ingest(pictures, metadata=given)
        assert collection.count() == 20  # a server's searches see them from now on
        yield collection


@pytest.fixture
def trip(backend_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    with filled(backend_uri, pictures) as collection:
        yield collection


@pytest.fixture
def client(trip: ImageCollection, pictures: Path) -> Iterator[Client]:
    with serving({"trip": opened(trip.uri, pictures)}) as client:
        yield client


@pytest.fixture
def on_lite(lite_uri: str, pictures: Path) -> Iterator[Client]:
    """For what no backend has a part in."""
    with filled(lite_uri, pictures) as collection, serving({"trip": opened(collection.uri, pictures)}) as client:
        yield client


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs from call to call, and what only the server says."""
    hits = [{name: value for name, value in hit.items() if name != "thumbnail"} for hit in answer["hits"]]
    return {**{name: value for name, value in answer.items() if name not in ("seconds", "request")}, "hits": hits}


def test_answers_are_the_librarys(client: Client, trip: ImageCollection, pictures: Path) -> None:
    file = (pictures / "album1" / "03.jpg").read_bytes()
    image = base64.b64encode(file).decode()
    ids = [hit.id for hit in trip.search(ImageBytes(file), limit=3)]
    vector = trip.vectors([ImageBytes(file)])[0].tolist()
    questions: list[tuple[Any, Any]] = [
        ({"id": ids[1]}, StoredId(ids[1])),
        ({"vector": vector}, VectorQuery(vector)),
        ({"text": "a red dress"}, Text("a red dress")),
        ({"image": image}, ImageBytes(file)),
        ({"crop": {"image": image}, "box": [0, 0, 32, 24]}, Crop(ImageBytes(file), (0, 0, 32, 24))),
        ({"crop": {"id": ids[1]}, "box": [0, 0, 32, 24]}, Crop(StoredId(ids[1]), (0, 0, 32, 24))),
        (
            {"like": [{"query": {"id": ids[0]}}, {"query": {"text": "night"}, "weight": -0.5}]},
            Like([(StoredId(ids[0]), 1.0), (Text("night"), -0.5)]),
        ),
        (
            {"hybrid": [{"query": {"id": ids[0]}}, {"query": {"id": ids[2]}, "weight": 2}], "fusion": "weights"},
            Hybrid([Part(StoredId(ids[0])), Part(StoredId(ids[2]), weight=2)], "weights"),
        ),
    ]
    options: dict[str, Any] = {"limit": 4, "where": 'album == "album1"', "group_by": ["width"], "group_size": 4}
    for asked, form in questions:
        got = client.post(f"{V1}/search", {"query": asked, **options})
        assert got.status == 200, got.body
        assert comparable(got.json) == comparable(json.loads(json.dumps(trip.search(form, **options).to_dict())))
        assert got.json["hits"]


def test_uploads_are_the_pictures_and_their_names_are_nothing(
    client: Client, trip: ImageCollection, pictures: Path
) -> None:
    file = (pictures / "album0" / "04.jpg").read_bytes()
    wanted = trip.search(ImageBytes(file), limit=2)
    got = client.upload(f"{V1}/search", [("image", "../../etc/passwd", file), ("options", None, b'{"limit": 2}')])
    assert comparable(got.json) == comparable(json.loads(json.dumps(wanted.to_dict())))
    assert "passwd" not in got.body.decode()
    cut = client.upload(f"{V1}/search", [("image", "a.jpg", file), ("box", None, b"[0, 0, 32, 24]")])
    assert [hit["id"] for hit in cut.json["hits"]] == [
        hit.id for hit in trip.search(Crop(ImageBytes(file), (0, 0, 32, 24)))
    ]
    two = client.upload(
        f"{V1}/search_many", [("image", "a", file), ("image", "a", b"GIF89a"), ("options", None, b"{}")]
    )
    assert [len(answer["hits"]) for answer in two.json["answers"]] == [10, 0]
    assert two.json["answers"][1]["error"]
    assert client.upload(f"{V1}/search", [("options", None, b"{}")]).kind == "invalid"
    assert client.upload(f"{V1}/search", [("image", "a", file), ("image", "b", file)]).kind == "invalid"


def test_many_and_recommendations(client: Client, trip: ImageCollection) -> None:
    ids = [row["id"] for row in next(iter(trip.store.scan(["id"])))]
    got = client.post(f"{V1}/search_many", {"queries": [{"id": ids[0]}, {"id": "nobody"}, {"id": ids[1]}], "limit": 3})
    answers = trip.search_each([StoredId(ids[0]), StoredId("nobody"), StoredId(ids[1])], limit=3)
    for shown, answer in zip(got.json["answers"], answers, strict=True):
        assert comparable(shown) == comparable(json.loads(json.dumps(answer.to_dict())))
    body = {"positive": [{"query": {"id": ids[0]}}, {"query": {"id": ids[1]}}], "negative": [{"query": {"id": ids[2]}}]}
    for strategy in ("average", "best", "sum"):
        got = client.post(f"{V1}/recommend", {**body, "strategy": strategy, "limit": 5})
        wanted = imgvec.recommend(
            trip,
            [StoredId(ids[0]), StoredId(ids[1])],
            [StoredId(ids[2])],
            strategy=strategy,  # type: ignore[arg-type]  # one of the three
            limit=5,
        )
        assert comparable(got.json) == {
            **comparable(json.loads(json.dumps(wanted.to_dict()))),
            "certain": wanted.certain,
            "compared": wanted.compared,
        }


def test_stored_pictures(client: Client, trip: ImageCollection, pictures: Path) -> None:
    path = pictures / "album1" / "05.jpg"
    hit = client.upload(f"{V1}/search", [("image", "x", path.read_bytes())]).json["hits"][0]
    assert hit["uri"] == str(path)
    row = client.get(f"{V1}/images/{hit['id']}").json
    assert row["id"] == hit["id"]
    assert row["fields"] == trip.get([hit["id"]])[hit["id"]]
    small = client.get(hit["thumbnail"] + "&size=60")
    assert small.headers["content-type"] == "image/jpeg"
    assert "immutable" in small.headers["cache-control"]
    with Image.open(io.BytesIO(small.body)) as image:
        assert image.format == "JPEG"
        assert max(image.size) <= 64
    again = client.get(hit["thumbnail"] + "&size=60", If_None_Match=small.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    # the same address may hold another picture tomorrow
    assert client.get(f"{V1}/images/{hit['id']}/thumbnail").headers["cache-control"] == "private, no-cache"
    whole = client.get(f"{V1}/images/{hit['id']}/original")
    assert (whole.body, whole.headers["content-type"]) == (path.read_bytes(), "image/jpeg")
    assert whole.headers["etag"] != small.headers["etag"]
    picture(11).save(path)  # another picture of this name is not what was stored
    assert client.get(f"{V1}/images/{hit['id']}/original").kind == "picture-not-there"
    assert client.get(f"{V1}/images/{hit['id']}/thumbnail?size=128").kind == "picture-not-there"
    assert client.get(f"{V1}/images/nobody").kind == "row-not-found"


def test_an_id_may_end_in_a_word_of_a_route(lite_uri: str, pictures: Path) -> None:
    with filled(lite_uri, pictures) as made:
        row = next(iter(made.store.scan(["id", "*", "vector"])))[0]
        file, vector = Path(row["uri"]), row.pop("vector")
        ids = [f"a/{word}" for word in ("b", "thumbnail", "original")]
        made.store.upsert([{**row, "id": id_} for id_ in ids], np.stack([vector] * len(ids)))
        with serving({"trip": opened(lite_uri, pictures)}) as client:
            for id_ in ids:
                at = f"{V1}/images/{quote(id_, safe='')}"
                assert client.get(at).json["id"] == id_
                assert client.get(f"{at}/original").body == file.read_bytes()
                assert client.get(f"{at}/thumbnail").headers["content-type"] == "image/jpeg"
                hits = client.post(f"{V1}/search", {"query": {"id": id_}, "limit": 5}).json["hits"]
                assert {client.get(each["thumbnail"]).status for each in hits} == {200}
            # as it was before: the last word, as it is written, is the route's
            assert client.get(f"{V1}/images/a/b/original").body == file.read_bytes()
            assert client.get(f"{V1}/images/a/b").json["id"] == "a/b"
            assert client.get(f"{V1}/images/a/original").kind == "row-not-found"


def test_what_there_is(client: Client, trip: ImageCollection) -> None:
    every = client.get("/v1/collections").json
    assert [each["name"] for each in every["collections"]] == ["trip"]
    assert every["scopes"] == ["read", "write", "admin"]
    about = client.get(V1).json
    assert (about["name"], about["rows"], about["vector"]["dim"]) == ("trip", 20, 16)
    assert client.get(f"{V1}/count").json == {"count": 20}
    assert client.get(f"{V1}/count?pictures=true&where=album+%3D%3D+%22album1%22").json == {"count": 10}
    facets = client.get(f"{V1}/facets?field=album&field=height&most=1").json["facets"]
    assert facets["album"]["counts"] == [{"value": "album0", "count": 10}]
    assert (facets["album"]["values"], facets["album"]["total"], facets["album"]["over"]) == (2, 20, "rows")
    some = client.get(f"{V1}/facets?field=album&where=album+!%3D+%22album0%22").json["facets"]["album"]
    assert some["counts"] == [{"value": "album1", "count": 10}]
    assert client.get("/v1/collections/other").kind == "collection-not-found"
    assert client.get(f"{V1}/facets").kind == "invalid"
    assert client.post(f"{V1}/search", {"query": {"id": "x"}, "collapse": 2}).kind == "invalid"
    assert client.post(f"{V1}/search", {"query": {"text": "x"}, "limit": 20_000}).json["option"] == "limit"


def test_health_and_metrics(on_lite: Client) -> None:
    assert on_lite.get("/livez").json == {"alive": True}
    until = time.monotonic() + PATIENCE
    while (ready := on_lite.get("/readyz")).status != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert ready.json == {"ready": True, "checks": {"milvus": True, "encoders": True}}
    on_lite.get(f"{V1}/images/nobody")
    on_lite.get("/no/such/route")
    on_lite.post(f"{V1}/search", {"query": {"id": "nobody"}})
    text = on_lite.get("/metrics").body.decode()
    assert 'imgvec_http_requests_total{method="GET",route="/livez",status="200"} 1.0' in text
    assert 'imgvec_http_requests_total{method="GET",route="unknown",status="404"} 1.0' in text
    assert f'route="{V1.replace("trip", "{collection}")}/images/{{id}}",status="404"' in text
    assert 'imgvec_refused_total{reason="query-error"} 1.0' in text
    assert 'imgvec_lane_requests{lane="encoding"} 0.0' in text
    assert "nobody" not in text


@pytest.mark.parametrize("path", ["/livez", "/readyz", V1, f"{V1}/count", f"{V1}/images/nobody", f"{V1}/search"])
def test_a_head_is_the_get_without_its_body(on_lite: Client, path: str) -> None:
    got, head = on_lite.get(path), on_lite.ask("HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    for name in ("content-type", "content-length", "cache-control", "allow"):
        assert head.headers.get(name) == got.headers.get(name)


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure(
    on_lite: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "imgvec.serving")
    head = f"POST {V1}/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nContent-Type: "
    for kind in ("application/json", "multipart/form-data; boundary=edge"):
        on_lite.raw(f"{head}{kind}\r\n\r\n{{".encode())
    until = time.monotonic() + PATIENCE
    while len(lines := [each for each in caplog.records if each.name == "imgvec.serving"]) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    shown = [json.loads(JsonLines().format(each)) for each in lines]
    assert [(each["status"], each["reason"], each["level"]) for each in shown] == [(499, "client-left", "info")] * 2


def test_the_log_holds_no_picture_text_or_filter(
    on_lite: Client, caplog: pytest.LogCaptureFixture, pictures: Path
) -> None:
    caplog.set_level(logging.INFO, "imgvec.serving")
    on_lite.post(f"{V1}/search", {"query": {"text": "secret words"}, "where": 'album == "secret album"'})
    on_lite.get(f"{V1}/count?where=album+%3D%3D+%22secret+filter%22", X_Request_ID="mine-1")
    on_lite.get(f"{V1}/count?where=secret+%3D%3D+1", Authorization="Bearer secret-token")
    on_lite.upload(f"{V1}/search", [("image", "secret.jpg", b"secret bytes")])

    def logged() -> list[str]:
        return [JsonLines().format(record) for record in caplog.records if record.name == "imgvec.serving"]

    deadline = time.monotonic() + PATIENCE
    while len(logged()) < 4 and time.monotonic() < deadline:  # a line is written once its answer has gone
        time.sleep(0.01)
    lines = logged()
    assert len(lines) == 4
    assert "secret" not in "".join(lines)
    shown = [json.loads(line) for line in lines]
    assert [each["status"] for each in shown] == [200, 200, 422, 415]
    assert shown[1]["request_id"] == "mine-1"
    assert shown[3]["reason"] == "unreadable-image"
    assert shown[0]["route"] == "/v1/collections/{collection}/search"


def test_a_parameter_that_no_route_has_is_refused(on_lite: Client) -> None:
    for path in (f"{V1}/count?wher=width+%3E+3", f"{V1}/images/nobody?x=1", "/v1/collections?where=x"):
        answer = on_lite.get(path)
        assert answer.status == 422, path
        assert answer.json["type"] == "urn:imgvec:problem:invalid"
    assert "no parameter 'wher', did you mean 'where'?" in on_lite.get(f"{V1}/count?wher=x").json["detail"]


def test_a_collection_that_is_dropped_does_not_make_the_others_unready(lite_uri: str, pictures: Path) -> None:
    with filled(lite_uri, pictures) as photos:
        other = ImageCollection.create("other", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder())
        other.close()
        settings = Settings(uri=lite_uri, roots=())
        encoder = FakeEncoder(text=True)
        served = {name: ImageCollection.open(name, settings=settings, encoder=encoder) for name in ("trip", "other")}
        with serving(served) as client:
            until = time.monotonic() + PATIENCE
            while client.get("/readyz").status != 200:
                assert time.monotonic() < until
                time.sleep(0.05)
            photos.drop()
            assert client.get(f"{V1}/count").status == 404
            time.sleep(1.1)  # what was found out a second ago is told again
            assert client.get("/readyz").status == 200


def test_openapi_says_what_is_taken(on_lite: Client) -> None:
    said = on_lite.get("/openapi.json").json
    assert said["openapi"].startswith("3.")
    schemas = said["components"]["schemas"]
    for path, kind in (
        ("search", "SearchBody"),
        ("search_many", "SearchManyBody"),
        ("recommend", "RecommendBody"),
        ("explain", "ExplainBody"),
    ):
        content = said["paths"]["/v1/collections/{collection}/" + path]["post"]["requestBody"]["content"]
        assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{kind}"}
        assert schemas[kind]["examples"]
        if kind != "ExplainBody":
            assert schemas[kind]["properties"]["limit"]["minimum"] == 1
        assert schemas[kind]["additionalProperties"] is False
    refs = {each.rpartition("/")[2] for each in _refs(said)}
    assert refs <= schemas.keys()
    assert said["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert "/v1/collections/{collection}/images/{id}/thumbnail" in said["paths"]


def test_examples_of_openapi_are_requests() -> None:
    from imgvec.serving import faces, questions, reasons

    for kind in (faces.IdentifyBody, faces.VerifyBody, faces.EnrolBody):
        for example in kind.model_json_schema()["examples"]:
            kind.model_validate(example)
    for kind in (questions.SearchBody, questions.SearchManyBody, questions.RecommendBody, reasons.ExplainBody):
        for example in kind.model_json_schema()["examples"]:
            kind.model_validate(example)


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each
            else:
                yield from _refs(each)
    elif isinstance(value, list):
        for each in value:
            yield from _refs(each)
