"""Fetching one image: where it may connect, how long it may take, how much it may bring."""

from __future__ import annotations

import gzip
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from records import read_source

from imgvec import __version__
from imgvec.errors import UnreadableImage
from imgvec.images import FetchPolicy, UrlReader
from imgvec.images.addresses import may_connect, parse_networks
from imgvec.images.fetch import url_trouble

pytestmark = pytest.mark.timeout(30)

HERE = FetchPolicy(allowed_networks=("127.0.0.0/8",), timeout=10)


class Server(ThreadingHTTPServer):
    """Answers each request by `answer`; remembers paths and headers."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, dict(self.headers)))
                answer(self)

            def log_message(self, *_: object) -> None:
                """Nothing to say."""

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some of these tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Server]:
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def refused(reader: UrlReader, max_bytes: int = 1000) -> UnreadableImage:
    with pytest.raises(UnreadableImage) as caught:
        reader.read(max_bytes)
    return caught.value


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("93.184.216.34", True),
        ("172.32.0.1", True),
        ("2606:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("127.255.255.254", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("172.31.255.255", False),
        ("192.0.0.192", False),
        ("192.0.2.1", False),
        ("192.88.99.1", False),
        ("192.168.0.1", False),
        ("198.18.0.1", False),
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("224.0.0.1", False),
        ("239.255.255.255", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::101:101", False),
        ("64:ff9b:1::1", False),
        ("100::1", False),
        ("2001::1", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2001:db8::1", False),
        ("2002:7f00:1::", False),
        ("2002:101:101::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("fc00::1", False),
        ("fd12:3456::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert may_connect(address) is public


def test_allowed_networks() -> None:
    allowed = parse_networks(["10.0.0.0/8", "fd00::/8"])
    assert [may_connect(one, allowed) for one in ("10.1.1.1", "::ffff:10.1.1.1", "fd00::1")] == [True, True, True]
    assert [may_connect(one, allowed) for one in ("192.168.0.1", "127.0.0.1", "::1")] == [False, False, False]
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        FetchPolicy(allowed_networks=("10.0.0.0/99",))


def test_an_image_and_who_asks() -> None:
    with serving(lambda handler: say(handler, 200, b"pixels", Content_Type="text/html")) as server:
        reader = pickle.loads(pickle.dumps(UrlReader(f"{server.url}/ä b/a.jpg?w=1&x=ü#top".replace(" ", "%20"), HERE)))
        assert reader.read(6) == b"pixels"
        path, headers = server.requests[0]
    assert path == "/%C3%A4%20b/a.jpg?w=1&x=%C3%BC"
    assert headers["User-Agent"] == f"imgvec/{__version__}"
    assert headers["Host"] == server.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/a.jpg", "permission denied"),
        ("http://[::1]/a.jpg", "permission denied"),
        ("http://[::ffff:127.0.0.1]/a.jpg", "permission denied"),
        ("http://2130706433/a.jpg", "permission denied"),
        ("http://127.1/a.jpg", "permission denied"),
        ("http://0x7f.1/a.jpg", "permission denied"),
        ("http://localhost/a.jpg", "permission denied"),
        ("http://169.254.169.254/latest/meta-data", "permission denied"),
        ("ftp://example.org/a.jpg", "unusable name"),
        ("http:///a.jpg", "unusable name"),
        ("http://example.org:99999/a.jpg", "unusable name"),
        ("http://example.org/a b.jpg", "unusable name"),
        ("http://example.org/a\r\nHost: x", "unusable name"),
        ("http://example.org\\@127.0.0.1/", "unusable name"),
    ],
)
def test_refused_without_a_connection(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it connected"))
    assert refused(UrlReader(url)).reason == reason


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.org/a b.jpg", "a URL must not contain spaces or control characters"),
        ("http://example.org/a\x7f.jpg", "a URL must not contain spaces or control characters"),
        ("http://example.org/a\x00.jpg", "a URL must not contain spaces or control characters"),
        ("http://example.org\\a.jpg", "a URL must not contain spaces or control characters"),
        ("ftp://example.org/a.jpg", "only http and https are supported"),
        ("https://me:hunter2@example.org/a.jpg", "a stored URL must not contain a user name or password"),
        ("http:///a.jpg", "it has no host"),
        ("http://example.org:0/a.jpg", "it has no host"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, why: str) -> None:
    assert refused(UrlReader(url)).detail == why
    [listed] = read_source(url) if url.startswith("http") else [refused(UrlReader(url))]
    assert isinstance(listed, UnreadableImage)
    assert (listed.reason, listed.detail) == ("unusable name", why)


@pytest.mark.parametrize("url", ["http://example.org/!~a.jpg", "https://example.org:1/ä", "http://a"])
def test_a_url_that_can_be_tried(url: str) -> None:
    assert url_trouble(url) is None


def test_a_password_is_shown_nowhere() -> None:
    error = refused(UrlReader("https://me:hunter2@example.org/a.jpg"))
    assert error.reason == "unusable name"
    assert "hunter2" not in f"{error} {error.uri} {error.detail}"


def test_a_redirect_into_the_network_is_refused() -> None:
    with (
        serving(lambda handler: say(handler, 200, b"secret")) as inner,
        serving(lambda handler: say(handler, 302, Location=inner.url.replace("127.0.0.1", "127.0.0.2"))) as outer,
    ):
        only_outer = FetchPolicy(allowed_networks=("127.0.0.1/32",), timeout=10)
        error = refused(UrlReader(outer.url, only_outer))
        assert error.reason == "permission denied"
        assert "127.0.0.2" in error.detail
        assert inner.requests == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/", "http://a:b@127.0.0.1/"])
def test_a_redirect_to_another_kind_of_address_is_refused(target: str) -> None:
    with serving(lambda handler: say(handler, 301, Location=target)) as server:
        assert refused(UrlReader(server.url, HERE)).reason == "permission denied"


def test_a_redirect_to_nonsense() -> None:
    with serving(lambda handler: say(handler, 302, Location="http://[nonsense")) as server:
        assert refused(UrlReader(server.url, HERE)).reason == "read failed"


def test_redirects_are_followed_three_times() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        left = int(handler.path[1:])
        say(handler, 200, b"pixels") if left == 0 else say(handler, 307, Location=f"/{left - 1}")

    with serving(answer) as server:
        assert UrlReader(f"{server.url}/3", HERE).read(100) == b"pixels"
        error = refused(UrlReader(f"{server.url}/4", HERE))
        assert (error.reason, error.detail) == ("read failed", "more than 3 redirects")


def test_the_judged_address_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when it is judged, private when it is asked again."""
    answers = ["93.184.216.34", "127.0.0.1"]
    asked: list[str] = []
    connected: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[min(len(asked), 2) - 1], port))]

    def connect(address: tuple[str, int], **_: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    assert refused(UrlReader("http://rebind.example/a.jpg", FetchPolicy(retries=0))).reason == "read failed"
    assert (asked, connected) == (["rebind.example"], ["93.184.216.34"])
    # another try is another judgement, which now sees the private address
    assert refused(UrlReader("http://rebind.example/a.jpg", FetchPolicy(retries=1))).reason == "permission denied"
    assert connected == ["93.184.216.34"]


def test_of_several_addresses_only_public_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", (one, 80)) for one in ("10.0.0.1", "1.1.1.1", "::1")]
    connected: list[str] = []

    def connect(address: tuple[str, int], **_: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "create_connection", connect)
    refused(UrlReader("http://mixed.example/", FetchPolicy(retries=0)))
    assert connected == ["1.1.1.1"]


@pytest.mark.parametrize("phase", ["headers", "body"])
@pytest.mark.alone
@pytest.mark.slow
def test_a_byte_now_and_then_meets_the_deadline(phase: str) -> None:
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if phase == "body":
            handler.send_response(200)
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        while not over.wait(0.05):
            handler.wfile.write(b"x")

    with serving(answer) as server:
        start = time.monotonic()
        error = refused(UrlReader(server.url, FetchPolicy(("127.0.0.0/8",), timeout=0.6)), 10**6)
        took = time.monotonic() - start
        over.set()
    assert (error.reason, error.detail) == ("read failed", "timed out after 0.6 s")
    assert 0.5 < took < 2


def test_an_endless_body_meets_the_cap() -> None:
    sent = 0

    def answer(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)
            sent += 65536

    with serving(answer) as server:
        assert refused(UrlReader(server.url, HERE), 10**6).reason == "too large"
    assert sent < 20 * 10**6


def test_a_length_over_the_cap_is_refused_before_the_body() -> None:
    with serving(lambda handler: say(handler, 200, b"x" * 10, Content_Length=str(10**15))) as server:
        assert refused(UrlReader(server.url, HERE), 1000).reason == "too large"


def test_an_encoding_that_was_not_asked_for_is_bounded() -> None:
    packed, bomb = gzip.compress(b"pixels"), gzip.compress(bytes(50 * 10**6))
    bodies = {"/ok": packed, "/bomb": bomb, "/cut": packed[:-9]}
    with serving(lambda handler: say(handler, 200, bodies[handler.path], Content_Encoding="gzip")) as server:
        assert UrlReader(f"{server.url}/ok", HERE).read(10**6) == b"pixels"
        assert refused(UrlReader(f"{server.url}/bomb", HERE), 10**6).reason == "too large"
        assert refused(UrlReader(f"{server.url}/cut", HERE), 10**6).reason == "read failed"


@pytest.mark.parametrize("trouble", ["503", "429", "reset", "cut"])
@pytest.mark.slow
def test_what_passes_is_tried_again(trouble: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if len(server.requests) > 2:
            say(handler, 200, b"pixels")
        elif trouble == "reset":
            handler.connection.close()
        elif trouble == "cut":
            say(handler, 200, b"pix", Content_Length="6")
        else:
            say(handler, int(trouble), Retry_After="0")

    with serving(answer) as server:
        assert UrlReader(server.url, HERE).read(100) == b"pixels"
        assert len(server.requests) == 3


@pytest.mark.slow
def test_tries_are_bounded_in_number_and_time() -> None:
    with serving(lambda handler: say(handler, 500)) as server:
        error = refused(UrlReader(server.url, HERE))
        assert (error.reason, len(server.requests)) == ("read failed", 4)
        assert "500" in error.detail
    with serving(lambda handler: say(handler, 503, Retry_After="3600")) as server:
        refused(UrlReader(server.url, HERE))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "missing"),
        (410, "missing"),
        (401, "permission denied"),
        (403, "permission denied"),
        (418, "read failed"),
        (204, "read failed"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(status: int, reason: str) -> None:
    with serving(lambda handler: say(handler, status)) as server:
        assert refused(UrlReader(server.url, HERE)).reason == reason
        assert len(server.requests) == 1


def test_empty() -> None:
    with serving(lambda handler: say(handler, 200)) as server:
        assert refused(UrlReader(server.url, HERE)).reason == "empty"


def test_tls_is_verified_for_the_name_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    import imgvec.images.fetch as fetch

    names: list[str | None] = []

    class Context:
        def wrap_socket(self, sock: socket.socket, *, server_hostname: str) -> socket.socket:
            names.append(server_hostname)
            return sock

    assert fetch._tls().check_hostname
    assert fetch._tls().verify_mode.name == "CERT_REQUIRED"
    with serving(lambda handler: say(handler, 200, b"pixels")) as server:
        monkeypatch.setattr(fetch, "_tls", Context)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.server_port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        real = socket.create_connection
        monkeypatch.setattr(
            socket, "create_connection", lambda address, **kw: real(("127.0.0.1", server.server_port), **kw)
        )
        assert UrlReader("https://photos.example/a.jpg", HERE).read(100) == b"pixels"
        assert server.requests[0][1]["Host"] == "photos.example"
    assert names == ["photos.example"]
