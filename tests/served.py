"""A real server, in a thread or as the command `imgvec serve`, and a client for it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import uvicorn
from typing_extensions import Unpack

from imgvec import ImageCollection
from imgvec.options import settled
from imgvec.serving import ServeOptions
from imgvec.serving.running import Server, configured, create_app

PATIENCE = 60.0


@dataclass(frozen=True)
class Got:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """Of a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        found = self.json
        assert found["status"] == self.status
        assert found["request_id"] == self.headers["x-request-id"]
        return str(found["type"]).removeprefix("urn:imgvec:problem:")


@dataclass(frozen=True)
class Client:
    """Asks one server, each time over a connection of its own."""

    port: int
    server: uvicorn.Server | None = None
    """Where it runs in this process."""

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Got:
        """A `body` that is bytes, or an iterator of them, is sent as it is, and anything else as JSON."""
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes | Iterator):
            body = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, given)
            found = connection.getresponse()
            return Got(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Got:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, body: Any, **headers: str) -> Got:
        return self.ask("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def upload(self, path: str, parts: list[tuple[str, str | None, bytes]], **headers: str) -> Got:
        """A form of (name, file name or None, content)."""
        lines = []
        for name, file, content in parts:
            named = "" if file is None else f'; filename="{file}"'
            lines += [b"--edge", f'Content-Disposition: form-data; name="{name}"{named}'.encode(), b"", content]
        body = b"\r\n".join([*lines, b"--edge--", b""])
        return self.post(path, body, Content_Type="multipart/form-data; boundary=edge", **headers)

    def listens(self) -> bool:
        """Whether anybody is let in."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
        except ConnectionError:
            return False
        return True

    def raw(self, data: bytes, *, ends: bool = True) -> bytes:
        """What comes back for bytes that need not be HTTP, until the server closes; `ends` says that no more follow."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            with suppress(OSError):  # it may have closed already
                connection.sendall(data)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
            found = b""
            with suppress(ConnectionResetError):  # closed, with more to come
                while chunk := connection.recv(65_536):
                    found += chunk
            return found


@contextmanager
def serving(collections: Mapping[str, ImageCollection], **options: Unpack[ServeOptions]) -> Iterator[Client]:
    """The collections, served until the block ends, and closed then."""
    options.setdefault("port", 0)
    options.setdefault("rate", 0)
    app = create_app(collections, **options)
    server = Server(configured(app, settled(ServeOptions, options)))
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        until = time.monotonic() + PATIENCE
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.005)
        yield Client(server.servers[0].sockets[0].getsockname()[1], server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


@contextmanager
def started(
    *words: str, stdout: int | None = None, stderr: int | IO[str] = subprocess.PIPE
) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """The command with these words, once it is ready; killed at the end. A pipe holds few lines of its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "imgvec", "serve", "--port", str(port), *words]
    with subprocess.Popen(command, stdout=stdout, stderr=stderr, text=True, env=os.environ.copy()) as process:
        try:
            client, until = Client(port), time.monotonic() + PATIENCE
            while True:
                with suppress(OSError):
                    if client.get("/readyz").status == 200:
                        break
                time.sleep(0.05)
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < until
            yield process, client
        finally:
            process.kill()
