"""At its bounds an image is still taken, one byte beyond them it is not; and what is said of each refusal."""

from __future__ import annotations

import gzip
import socket
import ssl
import zlib
from http.server import BaseHTTPRequestHandler

import pytest
from test_fetch import HERE, refused, say, serving

from imgvec import __version__
from imgvec.images import FetchPolicy, UrlReader

pytestmark = pytest.mark.timeout(30)
BODY = bytes(range(250)) * 4


def chunked(handler: BaseHTTPRequestHandler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))


@pytest.mark.parametrize("way", ["length", "chunked", "gzip"])
def test_a_body_as_large_as_the_cap_is_taken(way: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if way == "chunked":
            chunked(handler)
        elif way == "gzip":
            say(handler, 200, gzip.compress(BODY), Content_Encoding="gzip")
        else:
            say(handler, 200, BODY)

    with serving(answer) as server:
        reader = UrlReader(f"{server.url}/a.jpg", HERE)
        assert reader.read(1000) == BODY
        error = refused(reader, 999)
    assert (error.reason, error.detail) == ("too large", "the limit is 999 bytes")


@pytest.mark.parametrize(
    ("encoding", "body", "detail"),
    [
        ("identity", BODY, None),
        ("", BODY, None),
        (" GZip ", gzip.compress(BODY), None),
        ("x-gzip", gzip.compress(BODY), None),
        ("br", BODY, "the server sent content-encoding 'br' without being asked"),
        ("b" * 50, BODY, f"the server sent content-encoding '{'b' * 40}' without being asked"),
        ("gzip", gzip.compress(BODY)[:-9], "its gzip encoding is cut off"),
        ("gzip", zlib.compress(BODY), "not gzip, as its header says: "),
    ],
)
def test_encodings(encoding: str, body: bytes, detail: str | None) -> None:
    with serving(lambda handler: say(handler, 200, body, Content_Encoding=encoding)) as server:
        reader = UrlReader(f"{server.url}/a.jpg", HERE)
        if detail is None:
            assert reader.read(1000) == BODY
            return
        error = refused(reader)
    assert error.reason == "read failed"
    assert error.detail.startswith(detail)


@pytest.mark.parametrize(
    ("status", "reason", "detail"),
    [
        (404, "missing", "404 Not Found"),
        (410, "missing", "410 Gone"),
        (401, "permission denied", "401 Unauthorized"),
        (403, "permission denied", "403 Forbidden"),
        (204, "read failed", "204 No Content"),
        (302, "read failed", "302 Found"),
        (418, "read failed", "418 I'm a Teapot"),
    ],
)
def test_a_status_in_words(status: int, reason: str, detail: str) -> None:
    with serving(lambda handler: say(handler, status)) as server:
        error = refused(UrlReader(f"{server.url}/a.jpg", HERE))
    assert (error.uri, error.reason, error.detail) == (f"{server.url}/a.jpg", reason, detail)
    assert len(server.requests) == 1


def test_redirects_and_tries_are_counted_in_what_is_said() -> None:
    with serving(lambda handler: say(handler, 301, Location="/again")) as server:
        error = refused(UrlReader(f"{server.url}/a.jpg", FetchPolicy(("127.0.0.0/8",), 10, max_redirects=2)))
    assert (error.detail, len(server.requests)) == ("more than 2 redirects", 3)
    with serving(lambda handler: say(handler, 503, Retry_After="0")) as server:
        error = refused(UrlReader(f"{server.url}/a.jpg", FetchPolicy(("127.0.0.0/8",), 10, retries=1)))
    assert (error.detail, len(server.requests)) == ("503 Service Unavailable; tried 2 times", 2)


def test_a_wait_that_the_deadline_does_not_allow_is_not_begun() -> None:
    with serving(lambda handler: say(handler, 429, Retry_After="60")) as server:
        error = refused(UrlReader(f"{server.url}/a.jpg", HERE))
    assert (error.detail, len(server.requests)) == ("429 Too Many Requests; tried 1 time", 1)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("", "/"), ("/a%20b.jpg?x=1&y=%2F", "/a%20b.jpg?x=1&y=%2F"), ("/ä.jpg", "/%C3%A4.jpg"), ("?q=1", "/?q=1"),
        ("/a.jpg#part", "/a.jpg"), ("/~a;b=(1),'2'!", "/~a;b=(1),'2'!"),
    ],
)  # fmt: skip
def test_what_is_sent(asked: str, sent: str) -> None:
    with serving(lambda handler: say(handler, 200, BODY)) as server:
        assert UrlReader(server.url + asked, HERE).read(1000) == BODY
        [(path, headers)] = server.requests
    assert path == sent
    assert headers == {
        "Host": server.url.removeprefix("http://"), "User-Agent": f"imgvec/{__version__}",
        "Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity", "Connection": "close",
    }  # fmt: skip


def test_a_certificate_that_is_not_the_host_s_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []

    class Context:
        def wrap_socket(self, sock: socket.socket, *, server_hostname: str) -> socket.socket:
            opened.append(sock)
            error = ssl.SSLCertVerificationError("certificate verify failed")
            error.verify_message = f"{server_hostname} is another"
            raise error

    monkeypatch.setattr("imgvec.images.fetch._tls", Context)
    with serving(lambda handler: say(handler, 200, BODY)) as server:
        error = refused(UrlReader(server.url.replace("http:", "https:"), HERE))
    assert (error.reason, error.detail) == ("read failed", "invalid certificate: 127.0.0.1 is another")
    assert [sock.fileno() for sock in opened] == [-1]  # closed, and not tried again
    assert server.requests == []


@pytest.mark.parametrize(
    ("error", "reason", "detail", "tries"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Unknown"), "read failed", "x.example cannot be resolved: Unknown", 1),
        (
            socket.gaierror(socket.EAI_AGAIN, "Not now"),
            "read failed",
            "x.example cannot be resolved: Not now; tried 4 times",
            4,
        ),
        (UnicodeError("label too long"), "unusable name", "the host name is invalid", 1),
    ],
)  # fmt: skip
def test_a_host_that_cannot_be_resolved(
    error: Exception, reason: str, detail: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append((host, port))
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("imgvec.images.fetch.random.uniform", lambda low, high: 0.0)
    found = refused(UrlReader("https://x.example/a.jpg"))
    assert (found.reason, found.detail, asked) == (reason, detail, [("x.example", 443)] * tries)


def test_waits_between_tries_double_and_vary_by_half(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []
    monkeypatch.setattr("imgvec.images.fetch.random.uniform", lambda *given: bounds.append(given) or 0.0)
    with serving(lambda handler: say(handler, 500)) as server:
        assert refused(UrlReader(server.url, HERE)).detail == "500 Internal Server Error; tried 4 times"
    # and a fourth that is drawn, and not waited
    assert bounds == [(0.125, 0.25), (0.25, 0.5), (0.5, 1.0), (1.0, 2.0)]
