"""Copies of the tree, and tests that run in one, in a fork of this process."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

# What imgvec and its tests import, and takes long. Whatever is missing costs time alone.
_HEAVY = (
    "numpy", "PIL.Image", "pydantic", "pydantic_settings", "yaml", "click.testing", "rich.progress", "torch",
    "transformers", "pyarrow.parquet", "pyarrow.dataset", "fsspec", "pymilvus", "pymilvus.bulk_writer",
    "milvus_lite.server_manager", "hypothesis.strategies", "hypothesis.extra.numpy", "sklearn.metrics", "pytrec_eval",
    "skimage", "pandas", "coverage", "pytest_timeout", "_hypothesis_pytestplugin", "anyio._backends._asyncio",
)  # fmt: skip


def preload() -> None:
    """Import the heavy libraries, and nothing of imgvec: what a fork then need not do."""
    # CI: Hypothesis draws the same each time, and keeps nothing
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", CI="1")
    for name in _HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # a fork's collections need not look through all of that again
    sys.dont_write_bytecode = False
    assert not any(name.partition(".")[0] == "imgvec" for name in sys.modules)


class Tree:
    """A copy of the working tree, for one child at a time."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path
        self._sound: dict[str, bytes] = {}
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout.decode()
        for name in filter(None, names.split("\0")):
            if (root / name).is_file():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, path / name)
        self._written = 0

    def write(self, file: str, text: str) -> None:
        self._sound.setdefault(file, (self.path / file).read_bytes())
        self._put(file, text.encode())

    def restore(self, file: str) -> None:
        if file in self._sound:
            self._put(file, self._sound[file])

    def _put(self, file: str, data: bytes) -> None:
        target = self.path / file
        target.write_bytes(data)
        # Python tells a stale .pyc by whole seconds and size: each text gets a time of its own
        self._written += 1
        os.utime(target, (2_000_000_000 + self._written,) * 2)


class Child:
    """The tests of one fault, under way."""

    def __init__(
        self, tree: Tree, tests: Sequence[str], seconds: Mapping[str, float], patience: int, limit: float
    ) -> None:
        self.tree = tree
        self._start, self._limit = time.monotonic(), limit
        self._seen = tree.path.with_suffix(".seen")
        self._seen.unlink(missing_ok=True)
        self._pid = fork(tree, lambda: _run(tests, seconds, patience, self._seen))
        self.seconds = 0.0

    def finished(self) -> str | None:
        """What became of the fault; None while the tests run."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        self.seconds = time.monotonic() - self._start
        if pid:
            end(self._pid)
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                return "crashed"
            if code == pytest.ExitCode.OK:
                return "survived"
            if code == pytest.ExitCode.NO_TESTS_COLLECTED:
                raise RuntimeError(f"no tests ran in {self.tree.path}")
            return "hung" if "Timeout" in str(self.seen().get("said")) else "noticed"
        if self.seconds > self._limit:
            end(self._pid)
            os.waitpid(self._pid, 0)
            return "hung"
        return None

    def seen(self) -> dict[str, Any]:
        """The test that failed, and what it said."""
        try:
            return dict(json.loads(self._seen.read_text()))
        except (OSError, ValueError):
            return {}


_alive: set[int] = set()


@atexit.register
def end_all() -> None:
    """Whatever ends this process, what it started ends too."""
    for pid in list(_alive):
        end(pid)


def end(pid: int) -> None:
    """Kill what a child's group still runs."""
    _alive.discard(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def fork(tree: Tree, job: Callable[[], int]) -> int:
    """`job` in a fork, in a process group of its own, with the tree as working directory and first on the path."""
    pid = os.fork()
    if pid:
        _alive.add(pid)
        return pid
    _alive.clear()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 99
    try:
        os.setpgid(0, 0)
        log = os.open(tree.path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(tree.path)
        os.environ["PYTHONPATH"] = str(tree.path)
        # processes that a test starts would import the file that was called: this one's, which is none of theirs
        sys.modules["__main__"] = types.ModuleType("__main__")
        sys.path[:] = [str(tree.path), *(each for each in sys.path if each != str(Path(__file__).parent))]
        code = job()
    except BaseException:  # noqa: BLE001 - a fork must never run on as its parent
        traceback.print_exc()
    finally:
        os._exit(code)


def pytest_main(tree_tests: Sequence[str], *plugins: object, options: Sequence[str] = ()) -> int:
    """Run tests in this process, which is a fork."""
    quiet = ["-q", "--no-header", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    base = ["--basetemp", str(Path.cwd().with_suffix(".tmp"))]
    return int(pytest.main([*quiet, *base, *options, *tree_tests], plugins=list(plugins)))


def _run(tests: Sequence[str], seconds: Mapping[str, float], patience: int, seen: Path) -> int:
    return pytest_main(tests, _FastestFirst(seconds, patience, seen), options=["-x", "--tb=short"])


class _FastestFirst:
    def __init__(self, seconds: Mapping[str, float], patience: int, seen: Path) -> None:
        self._seconds, self._patience, self._seen = seconds, patience, seen

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: (self._seconds.get(item.nodeid, 0.0), item.nodeid))
        for item in items:
            limit = self._patience * (15 + 10 * self._seconds.get(item.nodeid, 0.0))
            item.add_marker(pytest.mark.timeout(limit), append=False)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._note(report.nodeid, str(report.longrepr))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._note(report.nodeid, crash.message if crash else str(report.longrepr))

    def _note(self, test: str, said: str) -> None:
        if not self._seen.exists():
            self._seen.write_text(json.dumps({"test": test, "said": said[:400]}))
