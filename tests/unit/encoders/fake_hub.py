"""A Hugging Face hub on the loopback interface: model info, HEAD and GET of files, and its ways to refuse."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves `repos` (name to folder) and refuses `refusals` (name to status and error code)."""

    def __init__(self) -> None:
        self.repos: dict[str, Path] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.requests: list[str] = []
        self.url = ""


@contextmanager
def serve() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *args: object) -> None: ...

        def _answer(self, *, body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            parts = self.path.removeprefix("/api/models").strip("/").split("?")[0].split("/")
            name = "/".join(parts[:2])
            if name in hub.refusals or name not in hub.repos:
                status, code = hub.refusals.get(name, (404, "RepoNotFound"))
                self._send(status, b"{}", {"X-Error-Code": code}, body)
            elif self.path.startswith("/api/models"):
                root = hub.repos[name]
                files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
                info = {"id": name, "modelId": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
                self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"}, body)
            else:
                data = hub.repos[name].joinpath(*parts[4:]).read_bytes()  # …/resolve/COMMIT/FILE
                etag = f'"{hashlib.sha1(data).hexdigest()}"'
                self._send(200, data, {"ETag": etag, "X-Repo-Commit": COMMIT}, body)

        def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
