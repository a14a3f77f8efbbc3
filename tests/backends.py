"""The four backends that the integration tests run against, as addresses that `ImageCollection` takes.

    lite        Milvus Lite, a fresh file for every test
    server      a real Milvus server, from the `milvus` wheel; or the running one that IMGVEC_TEST_SERVER_URI names
    cluster     a real Milvus cluster of ten processes, from the `milvus` wheel and Debian's etcd
    container   a real Milvus server in a container; the image is IMGVEC_TEST_MILVUS_IMAGE or the pinned official one

A backend that cannot be had here skips its tests and says why; with IMGVEC_REQUIRE_ALL=1 (as in CI) it fails them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from milvus_cluster import MilvusCluster, why_no_cluster
from milvus_server import MilvusServer, why_unavailable

COMPOSE_FILE = Path(__file__).parents[1] / "docker" / "compose.standalone.yaml"

_servers = pytest.StashKey[list[MilvusServer | MilvusCluster]]()


def without(backend: str, reason: str) -> NoReturn:
    """Skip the test, or fail it where everything is required."""
    if os.environ.get("IMGVEC_REQUIRE_ALL") == "1":
        pytest.fail(f"{backend}: {reason} (IMGVEC_REQUIRE_ALL=1)", pytrace=False)
    pytest.skip(f"{backend}: {reason}")


@pytest.fixture
def lite_uri(tmp_path: Path) -> str:
    """A Milvus Lite file that does not exist yet."""
    return str(tmp_path / "lite.db")


@pytest.fixture(scope="session")
def server_uri(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the session's Milvus server. Its collections are shared: see `backend_uri`."""
    if running := os.environ.get("IMGVEC_TEST_SERVER_URI"):
        yield running
        return
    with _started_server(tmp_path_factory.mktemp("milvus"), request.config) as server:
        yield server.uri


@pytest.fixture
def own_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MilvusServer]:
    """A started server for this test alone, which may pause, kill and restart it.

    Parametrised indirectly, it is made with those options of `MilvusServer`.
    """
    with _started_server(tmp_path / "milvus", request.config, **getattr(request, "param", {})) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[MilvusCluster]:
    """The session's Milvus cluster with two query nodes. Its collections are shared: a test drops its own."""
    with _started_cluster(tmp_path_factory.mktemp("cluster"), request.config) as cluster:
        yield cluster


@pytest.fixture
def own_cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MilvusCluster]:
    """A started cluster for this test alone, whose roles it may kill and respawn.

    Parametrised indirectly, it is made with those options of `MilvusCluster`.
    """
    with _started_cluster(tmp_path / "cluster", request.config, **getattr(request, "param", {})) as cluster:
        yield cluster


@pytest.fixture
def cluster_uri(cluster: MilvusCluster) -> Iterator[str]:
    """The address of the session's cluster. What a test creates is dropped after it."""
    yield from _without_leftovers(cluster.uri)


@pytest.fixture(scope="session")
def container_image() -> str:
    """The Milvus image of the container tests; the compose file is the one place that names the official one."""
    if named := os.environ.get("IMGVEC_TEST_MILVUS_IMAGE"):
        return named
    return str(yaml.safe_load(COMPOSE_FILE.read_text())["services"]["milvus"]["image"])


@pytest.fixture(scope="session")
def container_uri(container_image: str) -> Iterator[str]:
    """The address of a Milvus container, started as testcontainers starts the official image."""
    _have_image(container_image)
    from testcontainers.community.milvus import MilvusContainer
    from testcontainers.core.config import testcontainers_config

    # The reaper is one more image from a registry; the `with` block removes the container without it.
    testcontainers_config.ryuk_disabled = True
    with MilvusContainer(container_image) as container:
        yield container.get_connection_url()


@pytest.fixture(scope="session")
def app_image() -> str:
    """imgvec's own image, which docker/imgvec-offline/build.sh makes anywhere; nothing here builds it."""
    named = os.environ.get("IMGVEC_TEST_IMGVEC_IMAGE")
    if not named:
        without("container", "IMGVEC_TEST_IMGVEC_IMAGE names no image; docker/imgvec-offline/build.sh makes one")
    _have_image(named)
    return named


@pytest.fixture(params=["lite", pytest.param("server", marks=pytest.mark.server)])
def backend_uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """Milvus Lite and the server in turn. What a test creates is dropped after it, so each starts with no leftovers."""
    yield from _without_leftovers(request.getfixturevalue(f"{request.param}_uri"))


BY_NIGHT = [pytest.mark.server, pytest.mark.nightly]
"""Marks of a server's turn at a test that takes long, where other tests see by day how the server answers the same."""

SERVER_BY_NIGHT = pytest.mark.parametrize(
    "backend_uri", ["lite", pytest.param("server", marks=BY_NIGHT)], indirect=True
)


@pytest.fixture(
    params=[
        "lite",
        pytest.param("server", marks=pytest.mark.server),
        pytest.param("container", marks=pytest.mark.container),
        pytest.param("cluster", marks=pytest.mark.cluster),
    ]
)
def any_backend_uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """Like `backend_uri`, and the container and the cluster too."""
    uri = request.getfixturevalue(f"{request.param}_uri")
    yield from [uri] if request.param == "cluster" else _without_leftovers(uri)  # `cluster_uri` drops them itself


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the end of the log of every server that runs."""
    report = yield
    if report.failed:
        for server in item.config.stash.get(_servers, []):
            report.sections.append((f"log of Milvus at {server.uri}", server.log_tail()))
    return report


@contextmanager
def _started_server(directory: Path, config: pytest.Config, **options: Any) -> Iterator[MilvusServer]:
    """A running server that the failure report knows of."""
    if reason := why_unavailable():
        without("server", reason)
    known = config.stash.setdefault(_servers, [])
    with MilvusServer(directory, **options) as server:
        known.append(server)
        try:
            yield server
        finally:
            known.remove(server)


@contextmanager
def _started_cluster(directory: Path, config: pytest.Config, **options: Any) -> Iterator[MilvusCluster]:
    """A running cluster that the failure report knows of."""
    if reason := why_no_cluster():
        without("cluster", reason)
    known = config.stash.setdefault(_servers, [])
    with MilvusCluster(directory, **options) as cluster:
        known.append(cluster)
        try:
            yield cluster
        finally:
            known.remove(cluster)


def _have_image(image: str) -> None:
    """Skip, or fail where everything is required, unless a Docker engine answers and has `image` or can pull it."""
    if problem := _docker("version"):
        without("container", f"no Docker engine answers: {problem}")
    if _docker("image", "inspect", image) and (problem := _docker("pull", "--quiet", image, patience=240)):
        without("container", f"no image {image}: {problem}")


def _docker(*arguments: str, patience: float = 20) -> str | None:
    """Run the docker command, at most `patience` seconds; None if it went well, otherwise what it said last.

    The command and not docker's Python package, which leaks its socket where no engine answers.
    """
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=patience)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]


def _without_leftovers(uri: str) -> Iterator[str]:
    """Yield `uri`, then drop the collections that came since; a Milvus Lite file goes with its folder."""
    if "://" not in uri:
        yield uri
        return
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    try:
        before = set(client.list_collections())
        yield uri
        for name in set(client.list_collections()) - before:
            client.drop_collection(name)
    finally:
        client.close()
