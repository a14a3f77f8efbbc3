"""The tests of the page notice what they are there for: errors, other hosts, what a screen reader cannot tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browsing import NARROW, visiting
from playwright.sync_api import Browser

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src *; connect-src *"
GOOD = "<!doctype html><html lang=en><title>Good</title><main><h1>Good</h1></main>"


@contextmanager
def page_of(html: str) -> Iterator[str]:
    """The origin of a server that has one page."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/"
            self.send_response(200 if found or self.path == "/favicon.ico" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(html.encode() if found else b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_good_page_passes(chrome: Browser) -> None:
    with page_of(GOOD) as origin, visiting(chrome, origin, axe=True) as visit:
        assert visit.axe() == []
        assert visit.requests[0] == f"{origin}/"


@pytest.mark.parametrize(
    ("html", "told"),
    [
        ("<script>console.error('it broke')</script>", "it broke"),
        ("<script>console.warn('it may break')</script>", "it may break"),
        ("<script>throw new Error('nobody caught it')</script>", "nobody caught it"),
        ("<script>Promise.reject(new Error('nobody awaited it'))</script>", "nobody awaited it"),
        ("<script>eval('1')</script>", "unsafe-eval"),
        ("<img src=/nothing.png alt=''>", "404"),
        ("<img src=http://elsewhere.example/pixel.png alt=''>", "elsewhere.example"),
    ],
)
def test_what_a_page_must_not_do_fails_the_test(chrome: Browser, html: str, told: str) -> None:
    with (
        page_of(GOOD + html) as origin,
        pytest.raises(AssertionError, match=told),
        visiting(chrome, origin) as visit,
    ):
        visit.wait(lambda: visit.troubles)


def test_a_request_to_another_host_fails_the_test_even_if_nothing_is_said(chrome: Browser) -> None:
    html = "<script>fetch('http://127.0.0.2:9/').catch(() => 0)</script>"
    with page_of(GOOD + html) as origin, visiting(chrome, origin) as visit:
        visit.wait(lambda: visit.strange and visit.troubles)
        visit.troubles.clear()
        assert visit.strange == ["http://127.0.0.2:9/"]
        visit.requests.clear()


def test_what_is_expected_must_come_and_nothing_else(chrome: Browser) -> None:
    with page_of(GOOD) as origin, visiting(chrome, origin) as visit:
        with visit.expected("planned"):
            visit.page.evaluate("() => console.error('planned')")
        with pytest.raises(AssertionError), visit.expected("planned"):
            pass
        with visit.expected("planned"):
            visit.page.evaluate("() => { console.error('planned'); console.error('not so') }")
        with pytest.raises(AssertionError, match="not so"):
            visit.check()
        visit.troubles.clear()


def test_axe_finds_what_cannot_be_read_in_each_scheme(chrome: Browser) -> None:
    html = (
        "<style>p {color: #bbb; background: #fff} @media (prefers-color-scheme: dark) {p {color: #000}}"
        "button {width: 40px; height: 40px}</style><p>Pale words</p><button></button>"
    )
    with page_of(GOOD + html) as origin:
        with visiting(chrome, origin, axe=True) as visit:
            assert {line.split()[0] for line in visit.axe()} == {"button-name", "color-contrast"}
        with visiting(chrome, origin, axe=True, scheme="dark", size=NARROW) as visit:
            assert {line.split()[0] for line in visit.axe()} == {"button-name"}
            assert visit.page.evaluate("() => innerWidth") == 980  # without a viewport of its own
