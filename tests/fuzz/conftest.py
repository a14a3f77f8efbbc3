"""What the fuzz tests share: how long they go on, and the figures at the end.

By day each target has a few inputs, the same ones every time; `pytest -m nightly tests/fuzz` tries thousands of new
ones, or as many as IMGVEC_TEST_FUZZ_EXAMPLES says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tally import Fuzz, Tally

_tallies = pytest.StashKey[dict[str, Tally]]()
_sent = pytest.StashKey[dict[str, str]]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Figures that are printed at the end of the run, under the test's name."""
    return request.config.stash.setdefault(_tallies, {}).setdefault(request.node.name, Tally())


@pytest.fixture(params=["day", pytest.param("night", marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])])
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """`fuzz(check, strategy, day=50, night=5000)` calls `check` with so many drawn values."""

    def run(check: Callable[[Any], None], strategy: st.SearchStrategy[Any], *, day: int, night: int) -> None:
        by_day = request.param == "day"
        profile = settings(
            max_examples=day if by_day else int(os.environ.get("IMGVEC_TEST_FUZZ_EXAMPLES", night)),
            derandomize=by_day,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
        )

        @profile
        @given(strategy)
        def examples(value: Any) -> None:
            check(value)

        examples()

    return run


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where the run is spread over processes, each sends its figures to the one that prints them."""
    if hasattr(session.config, "workeroutput"):
        tallies = session.config.stash.get(_tallies, {})
        session.config.workeroutput["fuzz figures"] = {name: str(tally) for name, tally in tallies.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    sent = getattr(node, "workeroutput", {}).get("fuzz figures", {})
    node.config.stash.setdefault(_sent, {}).update(sent)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    own = {name: str(tally) for name, tally in config.stash.get(_tallies, {}).items()}
    figures = config.stash.setdefault(_sent, {}) | own
    if figures:
        terminalreporter.section("fuzz figures")
        for name, figure in sorted(figures.items()):
            terminalreporter.write_line(f"{name}: {figure}")
