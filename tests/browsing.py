"""A real browser on a page that is served here: Playwright drives the Chromium of the machine.

A `Visit` writes down what the page says on its console, the errors that nobody caught, and every request; leaving it
fails the test if there was a warning, an error or a request to another host. No other host can be reached: names other
than this machine's are not resolved.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from backends import without
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from playwright.sync_api import Error as BrowserError

Scheme = Literal["light", "dark"]

PATIENCE = 20_000
"""Milliseconds that something may take to appear on a busy machine; what is there at once does not wait."""
WIDE, NARROW = (1280, 800), (390, 844)
"""A laptop's window, and a phone's."""
EVERY_LOOK = pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param(WIDE, "light", marks=pytest.mark.nightly),
        pytest.param(WIDE, "dark", marks=pytest.mark.nightly),
        pytest.param(NARROW, "light", marks=pytest.mark.nightly),
        pytest.param(NARROW, "dark"),
    ],
)
"""Both widths and schemes, one of each by day."""
_LOCAL = ("data", "blob", "about")
"""Schemes of addresses that lead nowhere."""


def chromium() -> str:
    """The browser of the machine; without one the test is skipped, or fails where everything is required."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        without("browser", "there is no Chromium (Debian's package is called chromium)")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window. Playwright's event loop runs in this thread until the block ends."""
    found = chromium()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found,
            # root has no sandbox; shared memory is scarce in containers
            args=[
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        try:
            yield started
        finally:
            started.close()


@dataclass
class Visit:
    """A page that was opened at an origin such as http://127.0.0.1:8000."""

    page: Page
    origin: str
    troubles: list[str] = field(default_factory=list)
    """Warnings and errors of the console, and errors that were not caught."""
    requests: list[str] = field(default_factory=list)

    def watch(self) -> None:
        def said(message: ConsoleMessage) -> None:
            if message.type in ("warning", "error"):
                self.troubles.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

        context = self.page.context
        context.on("console", said)
        context.on("weberror", lambda each: self.troubles.append(f"uncaught: {each.error}"))
        context.on("request", lambda each: self.requests.append(each.url))

    def open(self, path: str = "/") -> None:
        self.page.goto(self.origin + path)

    @property
    def strange(self) -> list[str]:
        """Requests that went, or would have gone, to another host."""
        return [
            url for url in self.requests if urlsplit(url).scheme not in _LOCAL and not url.startswith(f"{self.origin}/")
        ]

    @contextmanager
    def expected(self, *words: str) -> Iterator[None]:
        """Within the block troubles with any of these words are as they should be, and one there must be."""
        before = len(self.troubles)
        yield
        self.page.wait_for_timeout(50)  # what the console says comes after what it is about
        found = self.troubles[before:]
        assert any(word in each for each in found for word in words), found
        self.troubles[before:] = [each for each in found if not any(word in each for word in words)]

    def wait(self, done: Callable[[], object]) -> None:
        """Until `done` is true, which the events of the page may change."""
        until = time.monotonic() + PATIENCE / 1000
        while not done():
            assert time.monotonic() < until, "it did not happen"
            self.page.wait_for_timeout(10)

    def check(self) -> None:
        assert not self.troubles, self.troubles
        assert not self.strange, self.strange

    def axe(self) -> list[str]:
        """What axe-core finds that is serious or critical, a line each; it takes a visit with `axe=True`."""
        self.page.evaluate(AXE_SCRIPT)
        # animations that have not ended are seen half transparent
        self.page.evaluate("() => Promise.allSettled(document.getAnimations().map((each) => each.finished))")
        found: dict[str, Any] = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']} ({each['impact']}): {each['help']}: {node['html'][:160]} {node['failureSummary'][:300]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]


@contextmanager
def visiting(
    browser: Browser,
    origin: str,
    path: str | None = "/",
    *,
    size: tuple[int, int] = WIDE,
    scheme: Scheme = "light",
    axe: bool = False,
    **context: Any,
) -> Iterator[Visit]:
    """A visit of a browser that knows nothing of the origin yet; `path` is open already, unless it is None.

    With `axe` the page's policy does not hold, since axe-core is put into the page; without, it does.
    """
    width, height = size
    made = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        bypass_csp=axe,
        reduced_motion="reduce",
        locale="en-GB",
        has_touch=size == NARROW,
        is_mobile=size == NARROW,  # as a phone does, it makes pages that say no width 980 pixels wide
        **context,
    )
    made.set_default_timeout(PATIENCE)
    try:
        visit = Visit(made.new_page(), origin)
        visit.watch()
        if path is not None:
            visit.open(path)
        yield visit
        visit.page.wait_for_timeout(50)  # what the console says comes after what it is about
        visit.check()
    finally:
        with suppress(BrowserError):  # the browser may be gone
            made.close()
