"""What the tests of the page share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """A browser for the module: while it is open, nothing else of its process can run an event loop."""
    from browsing import browser

    with browser() as found:
        yield found
