"""Which lines each test runs, and how long it takes: the tests once, without a fault."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pytest
from children import Tree, fork, pytest_main

TESTS = ("tests/unit", "tests/integration")
LEFT_OUT = (
    # Ray's workers and killed ones are processes of their own, whose lines are not seen, and take long
    "tests/integration/engines/test_ray.py", "tests/integration/faults/test_kills.py",
    # these are about code that no faults are planted in, and take long
    "tests/unit/encoders", "tests/unit/exchange", "tests/unit/indexes", "tests/integration/encoders",
    "tests/integration/milvus/test_lite_index_files.py", "tests/integration/test_containers.py",
    "tests/integration/test_index.py", "tests/integration/test_index_tune.py",
    "tests/integration/test_index_types.py", "tests/integration/test_index_verify.py",
)  # fmt: skip
_MODULE = "module "
"""Before a module's name: what ran while its tests were collected."""
MARKS = "not nightly and not server and not cluster and not container and not weights and not gpu"


@dataclass(frozen=True)
class Baseline:
    seconds: Mapping[str, float]
    """Of each test that passed."""
    lines: Mapping[str, Mapping[int, Sequence[str]]]
    """By file and line, the tests that run it."""
    texts: Mapping[str, str]
    """Every file of the package."""
    failed: Sequence[str]

    def __str__(self) -> str:
        tests = f"{len(self.seconds)} tests in {sum(self.seconds.values()):.0f} s"
        return tests + (
            f"; left out, since they failed without a fault: {', '.join(self.failed)}" if self.failed else ""
        )

    def save(self, path: Path, root: Path) -> None:
        path.write_text(json.dumps({"digest": digest(root), **vars(self)}))

    @classmethod
    def load(cls, path: Path, root: Path) -> Baseline:
        data = json.loads(path.read_text())
        if data.pop("digest") != digest(root):
            raise SystemExit(f"{path} belongs to another state of the code or its tests")
        data["lines"] = {file: {int(n): tests for n, tests in by.items()} for file, by in data["lines"].items()}
        return cls(**data)

    def tests_of(self, file: str, lines: range, *, at_import: bool, binds: str) -> list[str]:
        """The tests that run one of the lines; of what runs at import, those of every file that uses the name.

        Of lines that no test runs in its own process, perhaps in another, those of every file that names this one.
        """
        if not at_import:
            found = sorted({test for line in lines for test in self.lines[file].get(line, ())})
            if found:
                return found
            binds = Path(file).stem
        word = re.compile(rf"\b{re.escape(binds)}\b") if binds else None
        users = [file, *(f for f, text in self.texts.items() if word and f in self.lines and word.search(text))]
        return sorted({test for user in users for tests in self.lines[user].values() for test in tests})


def digest(root: Path) -> str:
    """Of the package and its tests, to which a baseline belongs."""
    files = sorted(path for folder in ("imgvec", "tests") for path in (root / folder).rglob("*.py"))
    return blake2b(b"\0".join(path.read_bytes() for path in files if "mutation" not in path.parts)).hexdigest()


def learn(trees: Sequence[Tree], files: Sequence[str], tests: Sequence[str]) -> Baseline:
    """Run the tests, shared out among the trees, under coverage of `files`."""
    modules = sorted(
        str(path.relative_to(trees[0].path))
        for folder in tests
        for path in _test_files(trees[0].path / folder)
        if not any(path.is_relative_to(trees[0].path / one) for one in LEFT_OUT)
    )
    pids = []
    for number, tree in enumerate(trees):
        share = modules[number :: len(trees)]
        target = tree.path.with_suffix(".baseline")
        pids.append(fork(tree, lambda share=share, target=target: _measured(share, files, target)))  # type: ignore[misc]
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) not in (0, 1):
            raise RuntimeError(f"the tests cannot be run: see the log beside {trees[0].path}")
    seconds: dict[str, float] = {}
    failed: list[str] = []
    lines: dict[str, dict[int, list[str]]] = {file: defaultdict(list) for file in files}
    for tree in trees:
        measured = json.loads(tree.path.with_suffix(".baseline").read_text())
        seconds |= measured["seconds"]
        failed += measured["failed"]
        of_module: dict[str, list[str]] = defaultdict(list)
        for test in measured["seconds"]:
            of_module[_MODULE + test.partition("::")[0]].append(test)
        for file, by_line in measured["lines"].items():
            for line, contexts in by_line.items():
                tests = {test for context in contexts for test in of_module.get(context, [context])}
                lines[file][int(line)] += (test for test in tests if test in measured["seconds"])
    package = trees[0].path / "imgvec"
    texts = {str(path.relative_to(trees[0].path)): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    return Baseline(seconds, lines, texts, failed)


def _test_files(named: Path) -> list[Path]:
    return [named] if named.is_file() else sorted(named.rglob("test_*.py"))


def _measured(modules: Sequence[str], files: Sequence[str], target: Path) -> int:
    from coverage import Coverage

    coverage = Coverage(
        data_file=str(target.with_suffix(".coverage")), include=[str(Path.cwd() / f) for f in files], config_file=False
    )
    watch = _Watch(coverage)
    coverage.start()
    code = pytest_main(modules, watch, options=["-m", MARKS])
    coverage.stop()
    data = coverage.get_data()
    lines = {
        file: {
            line: sorted(filter(None, tests)) for line, tests in data.contexts_by_lineno(str(Path.cwd() / file)).items()
        }
        for file in files
    }
    passed = {test: s for test, s in watch.seconds.items() if test not in watch.failed and test not in watch.skipped}
    target.write_text(json.dumps({"seconds": passed, "failed": sorted(watch.failed), "lines": lines}))
    return code


class _Watch:
    def __init__(self, coverage: object) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        self.skipped: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)  # type: ignore[attr-defined]
        result = yield
        self._coverage.switch_context("")  # type: ignore[attr-defined]
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        # what parameters are made of runs now, and for every test of the module
        if isinstance(collector, pytest.Module):
            self._coverage.switch_context(f"{_MODULE}{collector.nodeid}")  # type: ignore[attr-defined]
        result = yield
        self._coverage.switch_context("")  # type: ignore[attr-defined]
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.add(report.nodeid)
        if report.skipped:
            self.skipped.add(report.nodeid)
