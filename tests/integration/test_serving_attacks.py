"""What strangers send to `imgvec serve`, and that it holds: a real server on Milvus Lite, which still answers after."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture
from served import PATIENCE, Client, serving

from imgvec import CallableEncoder, ImageCollection, Settings
from imgvec.errors import CollectionNotFound, SettingsError, TargetError, UsageError
from imgvec.serving.logs import JsonLines
from imgvec.serving.problems import problem_of
from imgvec.serving.running import create_app
from imgvec.serving.tokens import new_token

V1 = "/v1/collections/trip"
BODY = 64 * 2**10
"""The largest request that the server of these tests takes."""
SECRET = b"a secret of this machine"

Place = tuple[Client, dict[str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server, and the ids of rows by what their uris are."""
    folder = tmp_path_factory.mktemp("attacked")
    root, outside = folder / "root", folder / "outside"
    root.mkdir()
    outside.mkdir()
    picture(1).save(root / "own.jpg")
    picture(2).save(outside / "other.jpg")
    (outside / "secret.txt").write_bytes(SECRET)
    (root / "page.html").write_bytes(b"<html><script>alert(1)</script>" + SECRET)
    (root / "drawing.svg").write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    (root / "link.jpg").symlink_to(outside / "other.jpg")
    (root / "folder").symlink_to(outside)
    os.mkfifo(root / "fifo.jpg")
    uris = {
        "own": str(root / "own.jpg"),
        "outside": str(outside / "other.jpg"),
        "up": f"{root}/../outside/other.jpg",
        "relative": "../outside/other.jpg",
        "file": f"file://{outside}/other.jpg",
        "passwd": "/etc/passwd",
        "link": str(root / "link.jpg"),
        "linked-folder": str(root / "folder" / "other.jpg"),
        "html": str(root / "page.html"),
        "svg": str(root / "drawing.svg"),
        "fifo": str(root / "fifo.jpg"),
        "device": "/dev/zero",
        "folder": str(root),
        "nul": f"{root}/own.jpg\0.txt",
        "http": "http://127.0.0.1:1/a.jpg",
        "s3": "s3://bucket/a.jpg",
        "memory": "memory://a.jpg",
    }
    uri = str(folder / "lite.db")
    encoder = FakeEncoder(text=True)
    with ImageCollection.create("trip", definition={"encoder": {"model": "fake"}}, uri=uri, encoder=encoder) as made:
        made.ingest(root / "own.jpg")
        [[first]] = made.store.scan(["id", "*"])
        rows = [
            {**first, "id": f"row-{name}", "uri": where, "content_hash": "", "media_type": "text/html"}
            for name, where in uris.items()
        ]
        vectors = np.random.default_rng(0).standard_normal((len(rows), 16)).astype(np.float32)
        made.store.upsert(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    settings = Settings(uri=uri, roots=(root,), fetch_timeout=2)
    photos = ImageCollection.open("trip", settings=settings, encoder=encoder)
    with serving({"trip": photos}, max_body=BODY) as client:
        yield client, {name: f"row-{name}" for name in uris}


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    """The server, which has to answer after an attack as it did before."""
    client, ids = place
    yield client
    assert client.get("/livez").status == 200
    assert client.post(f"{V1}/search", {"query": {"id": ids["own"]}, "limit": 1}).json["hits"][0]["id"] == ids["own"]


def search(query: Any, **options: Any) -> bytes:
    return json.dumps({"query": query, "limit": 1, **options}).encode()


def image(data: bytes) -> Any:
    return {"image": base64.b64encode(data).decode()}


# Who asks


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "",
        "[::1",
        "a b",
        "*",
        "0",
    ],
)
def test_a_name_that_was_made_to_lead_here(client: Client, host: str) -> None:
    assert client.get("/v1/collections", Host=host).status == 400


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:{port}.evil.example", "http://localhost:1", "http://127.0.0.1",
     "file://", "", "http://127.0.0.1:{port}@evil.example"],
)  # fmt: skip
def test_pages_of_other_origins(client: Client, origin: str) -> None:
    for path in ("/v1/collections", f"{V1}/images/row-own/thumbnail"):
        assert client.get(path, Origin=origin.format(port=client.port)).kind == "origin"
    body = search({"id": "row-own"})
    assert client.post(f"{V1}/search", body, Origin=origin, Content_Type="application/json").kind == "origin"


def test_an_own_page_may_ask(client: Client) -> None:
    own = f"http://127.0.0.1:{client.port}"
    assert client.get("/v1/collections", Origin=own, Sec_Fetch_Site="same-origin").status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "odd"])
def test_a_picture_in_somebody_elses_page(client: Client, site: str) -> None:
    assert client.get(f"{V1}/images/row-own/thumbnail", Sec_Fetch_Site=site).kind == "origin"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json2", "text/json"]
)
def test_json_under_a_type_that_a_form_can_send(client: Client, kind: str) -> None:
    body = search({"id": "row-own"})
    assert client.post(f"{V1}/search", body, Content_Type=kind).kind == "unsupported-media-type"


def test_asking_first_allows_nothing_to_strangers(client: Client) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    got = client.ask("OPTIONS", f"{V1}/search", headers=asked)
    assert got.status == 403
    assert not [name for name in got.headers if name.startswith("access-control-allow")]


# How it is written


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/collections HTTP/1.1\r\n\r\n",
        b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\n X: folded\r\n\r\n",
        b"GET /v1/collections HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: odd\r\n\r\n",
    ],
    ids=[
        "no-host",
        "two-hosts",
        "folded",
        "space",
        "long-header",
        "long-path",
        "http2",
        "tls",
        "length",
        "lengths",
        "odd",
    ],
)
def test_what_is_not_quite_http(client: Client, head: bytes) -> None:
    answer = client.raw(head)
    assert not answer.startswith(b"HTTP/1.1 2")


def test_no_second_request_is_smuggled_in_a_body(client: Client) -> None:
    second = b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    head = b"POST /v1/collections/trip/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    for lengths in (
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (5 + len(second)),
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity, chunked\r\n",
    ):
        answer = client.raw(head + lengths + b"\r\n0\r\n\r\n" + second)
        assert b'"collections"' not in answer or answer.count(b"HTTP/1.1 ") == 1 or lengths.startswith(b"Content")
        assert b"200 OK" not in answer.split(b"\r\n", 1)[0]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "EVIL"])
def test_other_methods(client: Client, method: str) -> None:
    for path in (V1, f"{V1}/search", f"{V1}/images/row-own"):
        assert client.ask(method, path).status == 405
    assert "EVIL" not in client.get("/metrics").body.decode()


def test_no_websocket(client: Client) -> None:
    got = client.get(
        f"{V1}/search", Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Key="x", Sec_WebSocket_Version="13"
    )
    assert got.status in (403, 404, 405)


@pytest.mark.parametrize("id", ["a\nb", "a" * 65, "<script>", '{"a":1}', ""])
def test_an_id_of_a_request_is_a_word(client: Client, id: str) -> None:
    head = f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-ID: {id}\r\nConnection: close\r\n\r\n"
    answer = client.raw(head.encode())
    assert f"x-request-id: {id}\r\n".encode() not in answer.lower() or not id


# How much


def test_a_body_that_says_it_is_too_large_is_not_waited_for(client: Client) -> None:
    head = f"POST {V1}/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    answer = client.raw(f"{head}Connection: close\r\nContent-Length: {10**12}\r\n\r\n".encode(), ends=False)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer


def test_a_body_that_does_not_say_its_length(client: Client) -> None:
    chunks = (b" " * 4096 for _ in range(10_000))
    assert client.post(f"{V1}/search", chunks, Content_Type="application/json").kind == "content-too-large"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"query": {"id": "a"}, "query": 1}', b"[" * 60_000,
        b'{"query":' * 5_000, b'{"query": {"like": [{"query": ' * 1_000,
        b'{"query": {"text": "\\ud800"}}', b'{"query": {"id": "a"}, "limit": 1e400}',
        b'{"query": {"id": "a"}, "limit": ' + b"9" * 5_000 + b"}", gzip.compress(b"{}"),
    ],
    ids=["empty", "null", "list", "cut", "bytes", "twice", "brackets", "objects", "mixes", "surrogate", "infinite",
         "digits", "gzip"],
)  # fmt: skip
def test_broken_json(client: Client, body: bytes) -> None:
    for path in ("search", "search_many", "recommend"):
        got = client.post(f"{V1}/{path}", body, Content_Type="application/json", Content_Encoding="identity")
        assert got.kind == "invalid"
        assert len(got.body) < 10_000


@pytest.mark.parametrize(
    "query",
    [
        "row-own", 1, [], {}, {"id": ""}, {"id": 1}, {"id": "a", "text": "b"}, {"text": ""}, {"path": "/etc/passwd"},
        {"file": "/etc/passwd"}, {"image": 1}, {"vector": []}, {"vector": ["a"]}, {"vector": [float("nan")] * 16},
        {"vector": [1e39] * 16}, {"vector": [1.0]}, {"vector": [0.0] * 16}, {"vector": [1] * 12_000}, {"like": []},
        {"like": [{"query": {"id": "row-own"}, "weight": 0}]}, {"like": [{"query": {"id": "row-own"}}] * 300},
        {"like": [{"query": {"hybrid": []}}]}, {"crop": {"text": "a"}, "box": [0, 0, 1, 1]},
        {"crop": {"id": "row-own"}, "box": [0, 0, 10**9, 10**9]}, {"crop": {"id": "row-own"}, "box": [5, 5, 1, 1]},
        {"crop": {"id": "row-own"}, "box": [-1, 0, 1, 1]}, {"hybrid": [{"query": {"id": "row-own"}}] * 17},
        {"hybrid": [{"words": "a", "field": "uri"}]}, {"hybrid": [{"query": {"id": "row-own"}, "vector": "x"}]},
    ],
)  # fmt: skip
def test_impossible_queries(client: Client, query: Any) -> None:
    got = client.post(f"{V1}/search", search(query), Content_Type="application/json")
    assert got.status == 422, got.body
    assert got.kind in ("invalid", "query-error", "option-error")


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0}, {"limit": -1}, {"limit": 10**9}, {"limit": 10**30}, {"offset": -1}, {"offset": 10**9},
        {"user": "/etc/passwd"}, {"on_notice": "print"}, {"settings": {}}, {"uri": "http://evil.example"},
        {"params": {"ef": 10**12}}, {"params": {"nested": {"a": 1}}},
        {"consistency_level": "odd"},
        {"facet": [""]}, {"group_by": [""]}, {"output_fields": [""]}, {"vector": "__class__"},
        {"order_by": "-"}, {"candidates": 10**6}, {"false_match_rate": 2}, {"min_score": "a"}, {"where": 1},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_options(client: Client, options: dict[str, Any]) -> None:
    for path, what in (
        ("search", {"query": {"id": "row-own"}}),
        ("recommend", {"positive": [{"query": {"id": "row-own"}}]}),
    ):
        got = client.post(f"{V1}/{path}", {**what, **options})
        assert got.status == 422, got.body


@pytest.mark.parametrize(
    "parts",
    [
        [("image", None, b"not a file")],
        [("options", "options.json", b"{}"), ("image", "a", b"x")],
        [("image", "a", b"x"), ("path", None, b"/etc/passwd")],
        [("image", "a", b"x"), ("options", None, b'{"query": {"id": "a"}}')],
        [("image", "a", b"x"), ("options", None, b'{"user": "/etc/passwd"}')],
        [("image", "a", b"x"), ("box", None, b"[0, 0, 1]")],
        [("image", "a", b"x"), ("box", None, b'"/etc/passwd"')],
        [("image", "a", b"x")] * 300,
        [("options", None, b"{}")] * 20,
        [],
    ],
    ids=["text", "file", "path", "query", "user", "box", "no-box", "files", "fields", "nothing"],
)
def test_forms_that_are_none(client: Client, parts: list[tuple[str, str | None, bytes]]) -> None:
    for path in ("search", "search_many"):
        assert client.upload(f"{V1}/{path}", parts).status in (400, 422)


def test_a_form_without_an_edge(client: Client) -> None:
    for kind in (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "a" * 9_000,
    ):
        assert client.post(f"{V1}/search", b"--x\r\n", Content_Type=kind).status in (400, 422)


# Pictures


def png(width: int, height: int) -> bytes:
    """A PNG file that says it has so many pixels, of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9_000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 422, "empty"),
        (b"\0" * 100, 415, "not an image"),
        (b"<html><script>alert(1)</script></html>", 415, "not an image"),
        (
            b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
            415,
            "format not allowed",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(/etc/passwd) (r) file", 415, None),
        (b"%PDF-1.7\n", 415, None),
        (png(60_000, 60_000), 413, "too many pixels"),
        (png(2**31 - 1, 2**31 - 1), 413, "too many pixels"),
        (b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0;", None, None),
        (png(10, 10)[:40], 422, "truncated"),
    ],
    ids=["empty", "zeros", "html", "svg", "postscript", "pdf", "bomb", "bigger-bomb", "gif", "cut"],
)
def test_pictures_that_are_none(client: Client, data: bytes, status: int | None, reason: str | None) -> None:
    for got in (
        client.post(f"{V1}/search", search(image(data)), Content_Type="application/json"),
        client.upload(f"{V1}/search", [("image", "a.jpg", data)]),
    ):
        assert got.kind == "unreadable-image"
        assert got.status in ((413, 415, 422) if status is None else (status,))
        assert reason is None or got.json["reason"] == reason


# Where it leads


@pytest.mark.parametrize(
    "row",
    ["outside", "up", "relative", "file", "passwd", "link", "linked-folder", "html", "svg", "fifo", "device", "folder",
     "nul", "http", "s3", "memory"],
)  # fmt: skip
def test_rows_that_name_what_is_not_to_be_shown(place: Place, row: str) -> None:
    client, ids = place
    for what in ("original", "thumbnail"):
        got = client.get(f"{V1}/images/{ids[row]}/{what}")
        assert got.kind == "picture-not-there"
        assert "/" not in got.json["detail"]
    crop = {"crop": {"id": ids[row]}, "box": [0, 0, 16, 16]}
    mix = {"like": [{"query": {"id": ids["own"]}}, {"query": crop, "weight": 0.5}]}
    for path, body in (
        ("search", {"query": crop}),
        ("search", {"query": mix}),
        ("search", {"query": {"hybrid": [{"query": {"id": ids["own"]}}, {"query": crop}]}}),
        ("recommend", {"positive": [{"query": {"id": ids["own"]}}], "negative": [{"query": crop}]}),
    ):
        got = client.post(f"{V1}/{path}", body)
        assert (got.status, got.kind) == (404, "picture-not-there")
        assert "/" not in got.json["detail"]
    got = client.post(f"{V1}/search_many", {"queries": [crop, {"id": ids["own"]}, mix], "limit": 1})
    errors = [answer["error"] for answer in got.json["answers"]]
    assert errors == [said := "a stored picture that this takes cannot be opened here", None, said]
    assert got.json["answers"][1]["hits"]
    assert SECRET not in got.body
    for body in ({"query": {"id": ids[row]}, "id": ids["own"]}, {"query": {"id": ids["own"]}, "id": ids[row]}):
        got = client.post(f"{V1}/explain", body)
        assert (got.status, got.kind) == (404, "picture-not-there")
        assert "/" not in got.json["detail"]
    assert client.get(f"{V1}/images/{ids['own']}/original").status == 200


def test_a_collection_that_has_gone_does_not_say_from_where_nor_which_others_there_are() -> None:
    told = problem_of(CollectionNotFound("there is no collection 'a' at /srv/photos.db (existing: secret)"))
    assert (told.status, told.detail) == (404, "the collection is not there any more")


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "//etc/passwd",
        "/v1/../../etc/passwd", "/v1/collections/..%2f..%2fetc",
        "/v1/collections/trip/images/..%2f..%2f..%2fetc%2fpasswd/original",
        "/v1/collections/trip/images//etc/passwd/original",
        "/v1/collections/trip/images/file:%2f%2f%2fetc%2fpasswd/thumbnail",
        "/v1/collections/trip/images/%00/original", "/v1/collections/trip/images/%ff%fe/original",
        "/v1/collections/trip__learned", "/v1/collections/trip%00", "/v1/collections/TRIP",
        "/v1/collections/trip/images/%22%20or%20id%20!=%20%22/original",
        "/v1/collections/trip/images/row-own%22%5D%20or%20id%20in%20%5B%22/original", "/docs", "/redoc", "/static/x",
    ],
)  # fmt: skip
def test_paths_lead_nowhere(client: Client, path: str) -> None:
    got = client.get(path)
    assert got.status == 404, got.body
    assert b"root:" not in got.body
    assert "passwd" not in got.json["detail"]


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "file:///etc/passwd", "id:row-own", "../../etc/passwd", "http://127.0.0.1/"]
)
def test_a_text_is_a_text(client: Client, text: str) -> None:
    got = client.post(f"{V1}/search", {"query": {"text": text}, "limit": 1}).json
    assert got["request"]["query"] == {"text": text}
    assert client.post(f"{V1}/search", {"query": {"id": text}}).kind == "query-error"


class _Inside(http.server.BaseHTTPRequestHandler):
    """A service that only this machine reaches."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(SECRET)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def inside() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Inside) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://127.1:{port}/", "http://2130706433:{port}/",
        "http://0x7f000001:{port}/", "http://0:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://[::1]:{port}/",
        "http://user@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@example.org/", "http://169.254.169.254/latest/",
        "http://10.0.0.1/", "file:///etc/passwd", "file://localhost/etc/passwd", "ftp://127.0.0.1/", "data:image/png,x",
        "gopher://127.0.0.1:{port}/_GET", "//127.0.0.1:{port}/", "http:///etc/passwd", "http://", "/etc/passwd",
        "HTTP://127.0.0.1:{port}/", "http://127.0.0.1:{port}/\r\nX: y",
    ],
)  # fmt: skip
def test_addresses_lead_to_nothing_inside(client: Client, inside: int, url: str) -> None:
    before = _Inside.asked
    got = client.post(f"{V1}/search", {"query": {"url": url.format(port=inside)}})
    assert got.status == 422
    assert got.kind in ("unreadable-image", "query-error")
    assert "127.0.0.1" not in got.json["detail"]
    assert _Inside.asked == before


@pytest.mark.parametrize(
    "where",
    [
        "", " ", 'id == "a', "id == 'a' or", "1 == 1; drop", "width > ", "((((", "(" * 5_000 + "1 == 1" + ")" * 5_000,
        "not " * 2_000 + "width > 1", "!" * 2_000 + "(width > 1)", "width > " + "- " * 2_000 + "1",
        ("(" + "not " * 50) * 40 + "width > 1" + ")" * 40, "__import__('os')", "width > 1 /* */", "width > 1 -- x",
        "width > 1\0", "\ud800",
        "id in [" + ", ".join(["'a'"] * 20_000), "exists(select)", "a" * 19_000, "width == 1e999999",
        "width > 1 && && 2",
    ],
    ids=lambda where: where[:12],
)  # fmt: skip
def test_filters_as_strangers_write_them(client: Client, where: str) -> None:
    got = client.post(f"{V1}/search", {"query": {"id": "row-own"}, "where": where})
    assert got.status in (413, 422), got.body
    assert len(got.body) < 10_000


def test_what_is_stored_is_data(client: Client) -> None:
    """A row says it is a web page: what is sent is told by its bytes, and nothing runs."""
    got = client.get(f"{V1}/images/row-own/original")
    assert got.headers["content-type"] == "image/jpeg"
    for answer in (got, client.get(f"{V1}/images/row-own"), client.get("/nothing"), client.get("/livez", Host="evil")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


# Tokens


@pytest.fixture
def photos(tmp_path: Path) -> ImageCollection:
    picture(1).save(tmp_path / "own.jpg")
    settings = Settings(uri=str(tmp_path / "lite.db"), roots=())
    with ImageCollection.create(
        "trip", definition={"encoder": {"model": "fake"}}, settings=settings, encoder=FakeEncoder()
    ) as made:
        made.ingest(tmp_path / "own.jpg")
    return ImageCollection.open("trip", settings=settings, encoder=FakeEncoder())


def test_tokens(photos: ImageCollection, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    good = new_token(file, "page", ["read"])
    other = new_token(file, "other", ["admin"])
    assert file.stat().st_mode & 0o077 == 0
    kept = file.read_text()
    assert good not in kept
    assert hashlib.sha256(good.encode()).hexdigest() in kept
    with serving({"trip": photos}, token_file=str(file)) as client:
        for path in ("/v1/collections", V1, f"{V1}/count", "/metrics", f"{V1}/images/x"):
            for given in (
                {},
                {"Authorization": ""},
                {"Authorization": "Bearer"},
                {"Authorization": "Bearer "},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Bearer {good[:-1]}"},
                {"Authorization": f"Bearer {good}x"},
                {"Authorization": f"Bearer {hashlib.sha256(good.encode()).hexdigest()}"},
                {"Authorization": f"Basic {base64.b64encode(good.encode()).decode()}"},
                {"Authorization": f"{good}"},
                {"Cookie": f"token={good}"},
                {"Authorization": f"Bearer {good.upper()}"},
            ):
                got = client.ask("GET", path, headers=given)
                assert got.kind == "token"
                assert got.headers["www-authenticate"].startswith("Bearer")
            assert client.get(f"{path}?token={good}&access_token={good}").kind == "token"
        twice = f"GET /v1/collections HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {good}\r\n"
        assert client.raw(f"{twice}Authorization: Bearer x\r\n\r\n".encode()).startswith(b"HTTP/1.1 401")
        for path in ("/livez", "/readyz"):
            assert client.get(path).status in (200, 503)
        for token, scopes in ((good, ["read"]), (other, ["read", "write", "admin"])):
            got = client.get("/v1/collections", Authorization=f"Bearer {token}", Host="any.example")
            assert (got.status, got.json["scopes"]) == (200, scopes)
        # a token ends where its line is taken out
        file.write_text("\n".join(line for line in kept.splitlines() if not line.startswith("page:")) + "\n")
        assert client.get("/v1/collections", Authorization=f"Bearer {good}").kind == "token"
        assert client.get("/v1/collections", Authorization=f"Bearer {other}").status == 200


def test_other_machines_are_let_in_by_tokens_alone(photos: ImageCollection, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        with pytest.raises(UsageError, match="takes tokens"):
            create_app({"trip": photos}, host=host)
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.2"):
        create_app({"trip": photos}, host=host)
    open_to_all = ImageCollection.open("trip", uri=photos.uri, encoder=FakeEncoder())
    with open_to_all, pytest.raises(UsageError, match="without roots"):
        create_app({"trip": open_to_all})
    photos.close()


@pytest.mark.parametrize("before", [b"# of ours", b"page:read:" + b"0" * 64, b"\xff"])
def test_a_token_has_a_line_of_its_own_whatever_an_editor_left(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(before)
    file.chmod(0o600)
    new_token(file, "other")
    first, second = file.read_bytes().splitlines()
    assert first == before
    assert second.startswith(b"other:read:")


def test_a_token_file_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot be written"):
        new_token(tmp_path, "page")


@pytest.mark.parametrize(
    "content", ["", "# nothing\n", "page:read:short\n", "page:root:" + "0" * 64 + "\n", "imgvec_secret\n", "\xff"]
)
def test_broken_token_files(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(SettingsError) as refused:
        create_app({}, token_file=str(file))
    assert "imgvec_secret" not in str(refused.value)
    file.write_text("page:read:" + "0" * 64 + "\n")
    file.chmod(0o666)
    with pytest.raises(SettingsError, match="written by others"):
        create_app({}, token_file=str(file))
    with pytest.raises(SettingsError, match="cannot be read"):
        create_app({}, token_file=str(tmp_path / "nowhere"))


def test_what_is_wrong_with_the_token_file_is_logged_without_a_token(
    photos: ImageCollection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    token = new_token(file, "page")
    with serving({"trip": photos}, token_file=str(file)) as client, caplog.at_level("INFO", "imgvec.serving"):
        for content, mode, said in ((f"{token}\n", 0o600, "tokens:1 is not name:scopes:hash"),
                                    ("", 0o600, "has no token"), (f"{token}\n\n", 0o666, "chmod go-w")):  # fmt: skip
            file.write_text(content)
            file.chmod(mode)
            caplog.clear()
            got = client.get("/v1/collections", Authorization=f"Bearer {token}")
            assert (got.status, str(tmp_path) in got.body.decode()) == (500, False)
            until = time.monotonic() + PATIENCE
            while not caplog.records and time.monotonic() < until:  # a line is written once its answer has gone
                time.sleep(0.01)
            line = json.loads(JsonLines().format(caplog.records[-1]))
            assert line["error"] == "BrokenTokens"
            assert said in line["said"]
            assert token not in json.dumps(line)


def test_names_of_tokens(tmp_path: Path) -> None:
    new_token(tmp_path / "tokens", "page")
    for name, scopes in (("page", ["read"]), ("a:b", ["read"]), ("a\nb", ["read"]), ("a", ["root"]), ("a", [])):
        with pytest.raises(UsageError):
            new_token(tmp_path / "tokens", name, scopes)
    assert len((tmp_path / "tokens").read_text().splitlines()) == 1


# Too much at once


def test_one_client_does_not_get_everything(photos: ImageCollection) -> None:
    with serving({"trip": photos}, rate=1e-4) as client:
        got = [client.get(f"{V1}/count") for _ in range(5)]
        assert [each.status for each in got] == [200, 429, 429, 429, 429]
        assert all(each.kind == "rate" and int(each.headers["retry-after"]) > 1000 for each in got[1:])
        assert client.get("/livez").status == 200


def test_guessing_tokens_is_as_slow_as_asking(photos: ImageCollection, tmp_path: Path) -> None:
    new_token(tmp_path / "tokens", "page")
    with serving({"trip": photos}, rate=1e-4, token_file=str(tmp_path / "tokens")) as client:
        got = [client.get("/v1/collections", Authorization=f"Bearer imgvec_{number}").status for number in range(4)]
        assert got == [401, 429, 429, 429]


class Slow(FakeEncoder):
    """Encodes once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def encode(self, pixels: Any) -> Any:
        assert self.may.wait(30)
        return super().encode(pixels)


def test_what_is_too_much_is_refused_and_stored_rows_do_not_wait(photos: ImageCollection, tmp_path: Path) -> None:
    settings, encoder = photos.settings, Slow()
    photos.close()
    opened = ImageCollection.open("trip", settings=settings, encoder=encoder)
    file = (tmp_path / "own.jpg").read_bytes()
    [[row]] = opened.store.scan(["id"])
    got = []
    with serving({"trip": opened}, at_once=2, queue=2) as client:
        assert client.get("/readyz").json["checks"] == {"milvus": True, "encoders": False}

        def ask() -> None:
            got.append(client.upload(f"{V1}/search", [("image", "a", file)]))

        threads = [threading.Thread(target=ask) for _ in range(10)]
        try:
            for each in threads:
                each.start()
            until = time.monotonic() + 30
            while len(got) < 6 and time.monotonic() < until:
                time.sleep(0.01)
            assert [each.kind for each in got] == ["queue-full"] * 6
            assert all(int(each.headers["retry-after"]) >= 1 for each in got)
            assert client.post(f"{V1}/search", {"query": {"id": row["id"]}}).status == 200  # needs no encoder
        finally:
            encoder.may.set()
            for each in threads:
                each.join()
        assert sorted(each.status for each in got) == [200] * 4 + [503] * 6
        assert client.upload(f"{V1}/search", [("image", "a", file)]).status == 200  # there is room again


def test_what_is_under_way_is_answered_before_it_stops(photos: ImageCollection, tmp_path: Path) -> None:
    settings, encoder, got = photos.settings, Slow(), []
    photos.close()
    opened = ImageCollection.open("trip", settings=settings, encoder=encoder)
    file = (tmp_path / "own.jpg").read_bytes()
    with serving({"trip": opened}, at_once=1) as client:
        thread = threading.Thread(target=lambda: got.append(client.upload(f"{V1}/search", [("image", "a", file)])))
        thread.start()
        try:
            while 'imgvec_lane_requests{lane="encoding"} 1.0' not in client.get("/metrics").body.decode():
                assert thread.is_alive()
            assert client.server is not None
            client.server.should_exit = True
            while client.listens():
                assert thread.is_alive()
        finally:
            encoder.may.set()
            thread.join()
        assert [each.status for each in got] == [200]


def test_clients_that_wait_for_the_encoder_share_its_passes(photos: ImageCollection, tmp_path: Path) -> None:
    passes: list[int] = []
    first, may = threading.Event(), threading.Event()

    def mean_colour(pixels: Any) -> Any:
        passes.append(len(pixels))
        if len(passes) == 2:  # the first is the server's own, to be warm
            first.set()
            assert may.wait(60)
        return pixels.reshape(len(pixels), -1, 3).mean(axis=1)

    photos.close()
    encoder = CallableEncoder(mean_colour, name="mean", version="1", image_size=8, batch_size=32)
    settings = photos.settings
    ImageCollection.create("means", definition="photos", settings=settings, encoder=encoder).close()
    opened = ImageCollection.open("means", settings=settings, encoder=encoder)
    files = [_jpeg(number, tmp_path) for number in range(9)]
    passes.clear()
    with serving({"means": opened}) as client:
        until = time.monotonic() + PATIENCE
        while client.get("/readyz").status != 200:
            assert time.monotonic() < until
            time.sleep(0.01)
        threads = [
            threading.Thread(target=client.upload, args=("/v1/collections/means/search", [("image", "a", file)]))
            for file in files
        ]
        threads[0].start()
        try:
            assert first.wait(60)
            for each in threads[1:]:
                each.start()
            while len(encoder._turns._queries) < 8:
                assert time.monotonic() < until
                time.sleep(0.01)
        finally:
            may.set()
            for each in threads:
                each.join()
    assert passes == [1, 1, 8]  # to be warm, the first, and all others together


def _jpeg(number: int, folder: Path) -> bytes:
    path = folder / f"{number}.jpg"
    picture(number).save(path)
    return path.read_bytes()


def test_a_body_that_does_not_come(photos: ImageCollection) -> None:
    with serving({"trip": photos}, deadline=0.5) as client:
        head = f"POST {V1}/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        import socket

        with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
            connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 408")


def test_an_answer_that_takes_too_long(photos: ImageCollection, tmp_path: Path) -> None:
    settings, encoder = photos.settings, Slow()
    photos.close()
    opened = ImageCollection.open("trip", settings=settings, encoder=encoder)
    with serving({"trip": opened}, deadline=0.5) as client:
        got = client.upload(f"{V1}/search", [("image", "a", (tmp_path / "own.jpg").read_bytes())])
        encoder.may.set()
        assert (got.status, got.kind) == (504, "deadline")


def test_pages_that_are_allowed_may_ask(photos: ImageCollection) -> None:
    with serving({"trip": photos}, allow_origin=["https://shop.example"], allow_host=["search.example"]) as client:
        got = client.get("/v1/collections", Origin="https://shop.example", Host="search.example")
        assert got.status == 200
        assert got.headers["access-control-allow-origin"] == "https://shop.example"
        assert client.get("/v1/collections", Origin="https://shop.example.evil.example").kind == "origin"
        assert client.get("/v1/collections", Host="evil.example").kind == "host"
        first = client.ask(
            "OPTIONS",
            f"{V1}/search",
            headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"},
        )
        assert first.status == 200
