"""Connections that serve more than one fetch: which are kept, which are not, and that nothing depends on them."""

from __future__ import annotations

import datetime
import ipaddress
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from records import read_source

from imgvec.errors import UnreadableImage
from imgvec.images import FetchPolicy, UrlReader, fetch
from imgvec.images.connections import MOST_IDLE, Connections
from imgvec.sources import Record

pytestmark = pytest.mark.timeout(30)

HERE = FetchPolicy(allowed_networks=("127.0.0.0/8",), timeout=10, retries=0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npixels"

Answer = Callable[[int, int], bytes | tuple[bytes, ...] | None]
"""(number of the connection, number of the request on it), from 0, to what is sent, in one go or several; None hangs up
at once."""


class Server:
    """Speaks as `answer` says, and hangs up after an answer that says so; counts its connections."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.connections = self.requests = 0
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/a.jpg"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock, self.connections - 1), daemon=True).start()

    def _serve(self, sock: socket.socket, connection: int) -> None:
        request = 0
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_side=True)
        self._open.append(sock)
        with sock:
            while self._asked(sock):
                self.requests += 1
                answer = self._answer(connection, request)
                if answer is None:
                    return
                parts = answer if isinstance(answer, tuple) else (answer,)
                for part in parts:
                    sock.sendall(part)
                if b"Connection: close" in parts[0] or b"HTTP/1.0" in parts[0]:
                    return
                request += 1

    @staticmethod
    def _asked(sock: socket.socket) -> bool:
        heard = b""
        while not heard.endswith(b"\r\n\r\n"):
            try:
                more = sock.recv(4096)
            except OSError:
                return False
            if not more:
                return False
            heard += more
        return True

    def hang_up(self) -> None:
        for sock in self._open:
            with suppress(OSError):  # closed already
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.hang_up()  # each thread then closes its own


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    with closing(Server(answer)) as server:
        yield server


@pytest.fixture
def kept() -> Iterator[Connections]:
    with closing(Connections()) as connections:
        yield connections


def read(server: Server, connections: Connections | None) -> bytes:
    return UrlReader(server.url, HERE, connections).read(1000)


def test_one_connection_serves_the_next_fetch(kept: Connections) -> None:
    with serving(lambda *_: OK) as server:
        assert [read(server, kept) for _ in range(3)] == [b"pixels"] * 3
        assert (server.connections, server.requests) == (1, 3)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context, whose certificate the fetches of this test trust."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    monkeypatch.setattr(fetch, "_tls", lambda: ssl.create_default_context(cafile=pem))
    return server


def test_a_handshake_serves_the_next_fetch_too(kept: Connections, tls: ssl.SSLContext) -> None:
    with closing(Server(lambda *_: OK, tls)) as server:
        server.url = server.url.replace("http:", "https:")
        assert [read(server, kept) for _ in range(3)] == [b"pixels"] * 3
        assert (server.connections, server.requests) == (1, 3)
        server.hang_up()
        assert read(server, kept) == b"pixels"
        assert server.connections == 2


def test_chunked_answers_keep_it_too(kept: Connections) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npixels\r\n0\r\n\r\n"
    with serving(lambda *_: chunked) as server:
        assert [read(server, kept) for _ in range(2)] == [b"pixels"] * 2
        assert server.connections == 1


def test_without_connections_each_fetch_has_its_own() -> None:
    with serving(lambda *_: OK) as server:
        assert [read(server, None) for _ in range(2)] == [b"pixels"] * 2
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\npixels",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\npixels",
    ],
)
def test_a_server_that_closes_is_connected_to_again(answer: bytes, kept: Connections) -> None:
    with serving(lambda *_: answer) as server:
        assert [read(server, kept) for _ in range(2)] == [b"pixels"] * 2
        assert server.connections == 2


def test_an_idle_connection_that_the_server_closed_costs_no_try(kept: Connections) -> None:
    with serving(lambda *_: OK) as server:
        read(server, kept)
        server.hang_up()
        assert read(server, kept) == b"pixels"
        assert server.connections == 2


def test_one_that_closes_when_it_is_asked_again_costs_no_try(kept: Connections) -> None:
    """As it goes where the server's patience ends while the request is on its way."""
    with serving(lambda _, request: OK if request == 0 else None) as server:
        assert [read(server, kept) for _ in range(3)] == [b"pixels"] * 3
        assert (server.connections, server.requests) == (3, 5)


def test_what_nobody_asked_for_is_no_answer_to_the_next(kept: Connections) -> None:
    forged = OK.replace(b"pixels", b"forged")
    with serving(lambda *_: OK + b"x" * 100_000 + forged) as server:
        assert [read(server, kept) for _ in range(2)] == [b"pixels"] * 2
        assert server.connections == 2


def test_an_answer_that_is_not_read_to_its_end_ends_the_connection(kept: Connections) -> None:
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nsorry!"
    with serving(lambda connection, _: missing if connection == 0 else OK) as server:
        with pytest.raises(UnreadableImage, match="404"):
            read(server, kept)
        assert read(server, kept) == b"pixels"
        assert server.connections == 2


def test_an_answer_that_is_too_large_ends_the_connection(kept: Connections) -> None:
    with serving(lambda *_: OK) as server:
        with pytest.raises(UnreadableImage, match="too large"):
            UrlReader(server.url, HERE, kept).read(3)
        assert read(server, kept) == b"pixels"
        assert server.connections == 2


def test_another_place_has_another_connection(kept: Connections) -> None:
    with serving(lambda *_: OK) as one, serving(lambda *_: OK.replace(b"pixels", b"others")) as other:
        assert [read(each, kept) for each in (one, other, one, other)] == [b"pixels", b"others"] * 2
        assert (one.connections, other.connections) == (1, 1)


def test_nothing_is_kept_after_the_end() -> None:
    connections = Connections()
    with serving(lambda *_: OK) as server:
        read(server, connections)
        connections.close()
        assert [read(server, connections) for _ in range(2)] == [b"pixels"] * 2
        assert server.connections == 3


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="the system has no TCP_QUICKACK")
@pytest.mark.alone
def test_head_and_body_sent_apart_do_not_wait_for_each_other(kept: Connections) -> None:
    """Nagle's algorithm there and delayed acknowledgements here: 40 ms for each answer."""
    head, body = OK[: -len(b"pixels")], b"pixels"
    with serving(lambda *_: (head, body)) as server:
        read(server, kept)
        started = time.monotonic()
        for _ in range(25):
            read(server, kept)
        assert server.connections == 1
        assert time.monotonic() - started < 0.5


def test_idle_connections_are_bounded(kept: Connections) -> None:
    with serving(lambda *_: OK) as server:
        pairs = [socket.socketpair() for _ in range(MOST_IDLE + 1)]
        read(server, kept)
        for mine, _ in pairs:
            kept.give_back(("http", "elsewhere", 80), mine)
        assert pairs[0][0].fileno() == -1
        assert pairs[-1][0].fileno() != -1
        read(server, kept)
        assert server.connections == 2
        for _, theirs in pairs:
            theirs.close()


def test_threads_share_them(kept: Connections) -> None:
    with serving(lambda *_: OK) as server:
        threads = [threading.Thread(target=lambda: [read(server, kept) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.requests == 80
        assert server.connections <= 4


def test_another_process_has_none(kept: Connections) -> None:
    reader = UrlReader("https://example.org/a.jpg", HERE, kept)
    copy = pickle.loads(pickle.dumps(reader))
    assert (copy, copy.connections) == (reader, None)


def test_a_source_keeps_them_as_long_as_it_is_read(tmp_path: Path) -> None:
    with serving(lambda *_: OK) as server:
        (tmp_path / "list.txt").write_text("".join(f"{server.url}?{i}\n" for i in range(5)))
        records = read_source(tmp_path / "list.txt", policy=HERE)
        for record in records:
            assert isinstance(record, Record)
            assert record.reader.read(10) == b"pixels"
        assert server.connections == 1
        assert record.reader.read(10) == b"pixels"
        assert server.connections == 2
