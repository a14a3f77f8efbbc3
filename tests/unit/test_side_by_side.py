"""How the run is spread over processes, tried on runs of their own; and what runs by day, by night, before a commit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

PLUGIN = """
    import sys
    sys.path.insert(0, {tests!r})
    from side_by_side import *
"""

TESTS = """
    import pathlib, time
    import pytest

    HERE = pathlib.Path(__file__).parent

    def running(name):
        began = time.time()
        time.sleep(0.2)
        (HERE / f"{{name}}.ran").write_text(f"{{began}} {{time.time()}}")

    @pytest.mark.parametrize("n", range(4))
    def test_other(n):
        running(f"{file}-{{n}}")
"""

ALONE = """
    @pytest.mark.alone
    def test_measured():
        running("measured")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n'
        'addopts = "-n auto --dist loadscope --no-loadscope-reorder"\n'
        'markers = ["alone", "server", "container", "cluster"]\n'
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text(_dedented(PLUGIN.format(tests=str(ROOT / "tests"))))
    for file in ("a", "b", "c"):
        text = TESTS.format(file=file) + (ALONE if file == "a" else "")
        (tmp_path / "tests" / f"test_{file}.py").write_text(_dedented(text))
    return tmp_path


def _dedented(text: str) -> str:
    return re.sub(r"^ {4}", "", text, flags=re.MULTILINE)


def _ran(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments],
        cwd=project, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_without_paths_several_processes_run_and_what_measures_runs_alone(project: Path) -> None:
    said = _ran(project)
    assert "13 passed" in said
    workers = re.findall(r"\[(gw\d+)\].* PASSED tests/test_(\w)\.py::test_other", said)
    assert len({worker for worker, _ in workers}) > 1
    assert len(set(workers)) == 3  # a file stays in one process
    times = {path.stem: tuple(map(float, path.read_text().split())) for path in project.glob("tests/*.ran")}
    began, ended = times.pop("measured")
    assert len(times) == 12
    assert all(end <= began or start >= ended for start, end in times.values())


@pytest.mark.slow
def test_what_needs_the_cluster_shares_a_process(project: Path) -> None:
    for file in ("d", "e"):
        text = TESTS.format(file=file).replace("@pytest.mark", "@pytest.mark.cluster\n    @pytest.mark", 1)
        (project / "tests" / f"test_{file}.py").write_text(_dedented(text))
    workers = re.findall(r"\[(gw\d+)\].* PASSED tests/test_[de]\.py", _ran(project))
    assert len(workers) == 8
    assert len(set(workers)) == 1


CLUSTER = """
    import pathlib, time
    import pytest

    @pytest.fixture(scope="session")
    def cluster():
        log = pathlib.Path(__file__).with_name("cluster.log")
        with log.open("a") as file:
            file.write(f"{time.time()}\\n")
        yield
        with log.open("a") as file:
            file.write(f"{time.time()}\\n")
"""


@pytest.mark.slow
def test_a_server_ends_after_the_last_test_of_its_group(project: Path) -> None:
    """And is made again, should another test want it."""
    with (project / "tests" / "conftest.py").open("a") as file:
        file.write(_dedented(CLUSTER))
    marked = TESTS.replace("@pytest.mark", "@pytest.mark.cluster\n    @pytest.mark", 1)
    wanting = marked.replace("(n)", "(cluster, n)") + ALONE.replace("measured()", "measured(cluster)", 1)
    (project / "tests" / "test_d.py").write_text(_dedented(wanting.format(file="d")))
    (project / "tests" / "test_a.py").write_text(_dedented(TESTS.format(file="a")))
    _ran(project, "-n", "1")
    began, ended, again, last = map(float, (project / "tests" / "cluster.log").read_text().split())
    times = {path.stem: tuple(map(float, path.read_text().split())) for path in project.glob("tests/*.ran")}
    assert len(times) == 17
    for name, (start, end) in times.items():
        if name.startswith("d-"):
            assert began <= start < end <= ended
        elif name == "measured":
            assert again <= start < end <= last
        else:
            assert ended <= start < end <= again


@pytest.mark.slow
def test_with_a_path_the_run_stays_in_this_process(project: Path) -> None:
    said = _ran(project, "tests/test_a.py")
    assert "5 passed" in said
    assert not re.search(r"\[gw\d+\]", said)


def test_the_parts_of_the_night_are_those_of_its_workflow() -> None:
    listed = subprocess.run(
        ["bash", str(ROOT / ".ci" / "nightly"), "--list"], check=True, capture_output=True, text=True
    ).stdout
    parts = [line.split()[0] for line in listed.splitlines()]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yaml").read_text())
    assert workflow["jobs"]["part"]["strategy"]["matrix"]["part"] == parts
    cases = re.findall(r"^    ([a-z-]+)\)", (ROOT / ".ci" / "nightly").read_text(), re.MULTILINE)
    assert cases == parts
    wrong = subprocess.run(["bash", str(ROOT / ".ci" / "nightly"), "fuzz"], check=False, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "--list" in wrong.stderr


@pytest.mark.parametrize(
    ("part", "server", "runs"),
    [
        ("bench-search", "MilvusServer", "tests/benchmarks/search.py"),
        ("on-cluster", "MilvusCluster", "server and not nightly"),
    ],
)
def test_the_night_starts_what_its_commands_need(tmp_path: Path, part: str, server: str, runs: str) -> None:
    """A program on standard input would be lost: the commands have none."""
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\nprintf '%s ' \"$@\" >>{tmp_path}/called\ncat >>{tmp_path}/called\necho ';' >>{tmp_path}/called\n"
    )
    python.chmod(0o755)
    environment = os.environ | {"IMGVEC_NIGHTLY_PYTHON": str(python)}
    subprocess.run(["bash", str(ROOT / ".ci" / "nightly"), part], check=True, capture_output=True, env=environment)
    called = (tmp_path / "called").read_text().split(";\n")
    assert any(server in command and runs in command for command in called), called


def test_every_test_by_night_has_a_part() -> None:
    script = (ROOT / ".ci" / "nightly").read_text()
    parts = re.findall(r"^    [a-z-]+\)(.*?);;", script, re.MULTILINE | re.DOTALL)
    parts = [part for part in parts if re.search(r"by_night|-m nightly", part)]  # the other tests of a path are by day
    named = [path for part in parts for path in re.findall(r"tests/(?:fuzz|integration|unit|e2e)[\w./]*", part)]
    by_night = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"pytest\.mark\.nightly|BY_NIGHT|fuzz: Fuzz", path.read_text())
    ]
    assert len(by_night) > 8
    own = Path(__file__).relative_to(ROOT).as_posix()
    assert [path for path in by_night if path != own and not path.startswith(tuple(named))] == []


def test_every_benchmark_has_a_part() -> None:
    script = (ROOT / ".ci" / "nightly").read_text()
    for path in (ROOT / "tests" / "benchmarks").glob("*.py"):
        if "__main__" in path.read_text():
            assert re.search(rf"bench {path.stem}\b|benchmarks/{path.stem}\.py", script), path.name


def test_what_ci_and_the_hooks_run_is_here() -> None:
    for workflow in (ROOT / ".github" / "workflows").glob("*.yaml"):
        for script in re.findall(r"bash (\.ci/\w+)", workflow.read_text()):
            assert (ROOT / script).exists()
    pinned = (ROOT / "constraints.txt").read_text()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]  # no version but that of constraints.txt
    for hook in hooks[0]["hooks"]:
        tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert re.search(rf"^{tool}==", pinned, re.MULTILINE)
