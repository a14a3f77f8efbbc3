"""How the whole run is spread over processes: `pytest` without paths starts several, `pytest PATH` stays in one.

Most of the run waits: for a server that flushes a collection once in ten seconds, for children that are killed, for
timeouts. So there are two processes a processor, and the tests that wait longest go first.

A file's tests stay together, since they share what its module fixtures make. The files that need a Milvus server share
`LANES` processes: each of these has a server of its own, as tests use fixed names and drop what they find left over,
and an idle server costs a tenth of a processor and several hundred megabytes. All container tests share one container,
and all cluster tests one cluster.

`@pytest.mark.alone` is for tests that measure seconds or memory: they come last, and each waits until no other test
runs. Every other test holds a lock that it shares; one of these holds it alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

MOST_WORKERS = 8
"""More bring nothing on a machine of many processors, and each may take a gigabyte (torch, its server)."""

LANES = 3
"""Processes that run the tests which need a server."""

_SECONDS = {
    "tests/e2e/test_commands.py": 45,
    "tests/integration/cluster/test_main_job.py": 20,
    "tests/integration/engines/test_ray.py": 20,
    "tests/integration/faults/test_kills.py": 20,
    "tests/integration/faults/test_name_kills.py": 28,
    "tests/integration/faults/test_view_kills.py": 70,
    "tests/integration/milvus/test_building.py": 8,
    "tests/integration/test_deferred_index.py": 17,
    "tests/integration/test_index.py": 14,
    "tests/integration/test_index_tune.py": 80,
    "tests/integration/test_index_verify.py": 12,
    "tests/integration/test_projecting.py": 12,
    "tests/integration/test_projections_travel.py": 17,
    "tests/integration/test_replaced.py": 19,
    "tests/integration/test_tuning_views.py": 19,
}
"""What a test on the server takes, roughly, in the files where it is not some three seconds."""

_SHARED = {"server": "server_uri", "container": "container_uri", "cluster": "cluster"}
"""The session's fixture behind the groups of each name."""

_grouped = pytest.StashKey[dict[str, str]]()
_made = pytest.StashKey[dict[str, list[tuple[pytest.FixtureDef[Any], Any]]]]()
_lock = pytest.StashKey[Path]()
_held = pytest.StashKey[IO[bytes]]()

_FIRST = (
    "server",
    "container",
    "cluster",
    "tests/integration/test_streams.py",
    "tests/integration/faults/",
    "tests/integration/engines/",  # Ray takes half a minute to start
    "tests/e2e/",
    "tests/integration/",
    "tests/fuzz/",
)
"""What starts first, by a mark or by the path that a test's id begins with; the rest follows in its order."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`, which is the default: 0, and so this very process, where paths are named."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        config.option.dist = "no"  # spread over no process is an error
        return 0
    return min(2 * len(os.sched_getaffinity(0)), MOST_WORKERS)


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_held] = Path(worker["lock"]).open("rb")  # noqa: SIM115  until pytest_unconfigure
        config.pluginmanager.register(_Made())
    elif config.getoption("dist", "no") != "no":
        handle, name = tempfile.mkstemp(prefix="imgvec-tests-", suffix=".lock")
        os.close(handle)
        config.stash[_lock] = Path(name)
        # Workers inherit it. Several processes with a thread a processor each would spin for one another.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a worker where the lock is."""
    node.workerinput["lock"] = str(node.config.stash[_lock])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _lock in config.stash:
        config.stash[_lock].unlink(missing_ok=True)
        _groups_beside(config.stash[_lock]).unlink(missing_ok=True)
    if _held in config.stash:
        config.stash[_held].close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What hands out the tests group by group; xdist's own `loadgroup` knows no groups where pytest is 9.2 or later."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # untyped
        groups: Mapping[str, str] = {}

        def _split_scope(self, nodeid: str) -> str:
            if not self.groups:
                self.groups = json.loads(_groups_beside(config.stash[_lock]).read_text())
            return self.groups[nodeid]

    return ByGroup(config, log)


def _groups_beside(lock: Path) -> Path:
    return lock.with_suffix(".json")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests, and put those first that take long; where nothing is spread, all stays as it was."""
    if _held not in config.stash:
        return
    lanes = _lanes(items)
    target = _groups_beside(Path(config.stash[_held].name))
    own = target.with_suffix(f".{os.getpid()}")
    groups = config.stash[_grouped] = {item.nodeid: _group(item, lanes) for item in items}
    own.write_text(json.dumps(groups))
    own.replace(target)  # every process writes the same
    items.sort(key=_place)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest-timeout: to wait for one's turn takes none of its seconds
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    held = item.config.stash.get(_held, None)
    if held is None:
        return (yield)
    fcntl.flock(held, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
    try:
        return (yield)
    finally:
        fcntl.flock(held, fcntl.LOCK_UN)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End a server after the last test of its group: idle it costs the other processes a tenth of a processor."""
    yield
    groups = item.config.stash.get(_grouped, None)
    if groups is None or nextitem is None:
        return
    kind, following = (groups[each.nodeid].split()[0] for each in (item, nextitem))
    if kind in _SHARED and kind != following:
        # another test that needs it makes it again
        for fixture, request in item.config.stash.setdefault(_made, {}).pop(_SHARED[kind], []):
            fixture.finish(request)


class _Made:
    """Remembers the servers that the session has made.

    A plugin: pytest asks no conftest.py below the root about what belongs to the session.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: Any) -> Iterator[None]:
        if fixturedef.scope == "session" and fixturedef.argname in _SHARED.values():
            made = request.config.stash.setdefault(_made, {})
            made.setdefault(fixturedef.argname, []).append((fixturedef, request))
        return (yield)


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _needs_server(item: pytest.Item) -> bool:
    """Whether the test runs on the session's server; one with a server of its own goes with its file."""
    return item.get_closest_marker("server") is not None and "own_server" not in getattr(item, "fixturenames", ())


def _lanes(items: list[pytest.Item]) -> dict[str, str]:
    """The lane of each file that needs the server: the longest first, each into the emptiest lane."""
    sizes: Counter[str] = Counter()
    for item in items:
        if _needs_server(item):
            sizes[_file(item)] += _SECONDS.get(_file(item), 3)
    filled = [0] * LANES
    lanes = {}
    for file, size in sorted(sizes.items(), key=lambda each: (-each[1], each[0])):
        lane = filled.index(min(filled))
        filled[lane] += size
        lanes[file] = f"server {lane + 1}"
    return lanes


def _group(item: pytest.Item, lanes: dict[str, str]) -> str:
    """What `item` must run together with."""
    for name in ("alone", "container", "cluster"):
        if item.get_closest_marker(name):
            return name
    return lanes[_file(item)] if _needs_server(item) else _file(item)


def _place(item: pytest.Item) -> int:
    if item.get_closest_marker("alone"):
        return len(_FIRST) + 1
    for place, what in enumerate(_FIRST):
        if item.nodeid.startswith(what) or item.get_closest_marker(what):
            return place
    return len(_FIRST)
