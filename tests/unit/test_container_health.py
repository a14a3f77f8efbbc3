"""The health check of the image: docker/health.py."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from container_health import health


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ("/opt/imgvec/bin/python3 /opt/imgvec/bin/imgvec serve", ("127.0.0.1", 8000)),
        ("/sbin/docker-init -- imgvec --uri http://m:1 -v serve -c serve --host 0.0.0.0 --port=9", ("127.0.0.1", 9)),
        ("python3 -m imgvec serve --host :: --token-file t", ("::1", 8000)),
        ("imgvec serve --host 10.0.0.1", ("10.0.0.1", 8000)),
        ("imgvec serve --new-token page --token-file t", None),
        ("imgvec ingest serve -c serve", None),
        ("imgvec --db-name serve doctor", None),
        ("sleep 60", None),
    ],
)
def test_the_health_check_asks_where_serve_listens(command: str, where: tuple[str, int] | None) -> None:
    assert health.listens(command.split()) == where


def test_the_health_check_is_what_serve_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # as Docker sets it where people work behind one
    answers = iter([200, 503])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(answers) if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(b'{"ready":true}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: [server.handle_request() for _ in range(2)])
        thread.start()
        command = ["imgvec", "serve", "--port", str(server.server_port)]
        assert [health.check(command) for _ in range(2)] == [0, 1]
        thread.join()
    assert health.check(command) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ['200 {"ready":true}', '503 {"ready":true}']
    assert f"does not answer at 127.0.0.1, port {server.server_port}" in said[2]
    assert health.check(["imgvec", "ingest", "/pictures"]) == 0
