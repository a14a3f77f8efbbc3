"""What every kind of test shares: test data, pictures made on the spot, a fake encoder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from backends import (  # noqa: F401  fixtures, and the hook that shows a server's log
    any_backend_uri,
    app_image,
    backend_uri,
    cluster,
    cluster_uri,
    container_image,
    container_uri,
    lite_uri,
    own_cluster,
    own_server,
    pytest_runtest_makereport,
    server_uri,
)
from dlib_once import dlib_once  # noqa: F401  a fixture
from fakes import FakeEncoder, FakeStore
from hypothesis import settings
from pictures import picture
from side_by_side import (  # noqa: F401  hooks
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_configure_node,
    pytest_runtest_protocol,
    pytest_runtest_teardown,
    pytest_unconfigure,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)

# An example may take as long as it does on a busy machine: what is slow has a test of its own.
settings.register_profile("imgvec", deadline=None)
settings.load_profile("imgvec")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real photos, hostile files and vectors that IMGVEC_TEST_DATA names."""
    folder = os.environ.get("IMGVEC_TEST_DATA")
    if not folder:
        pytest.skip("IMGVEC_TEST_DATA is not set: no real test data")
    path = Path(folder).resolve()
    assert path.is_dir(), f"IMGVEC_TEST_DATA={folder} is not a folder"
    return path


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """Children can be interrupted, where a shell runs pytest in its background, too: that ignores SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of twenty different JPEG files, two folders deep."""
    folder = tmp_path / "pictures"
    for i in range(20):
        path = folder / f"album{i % 2}" / f"{i:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path, quality=95)
    return folder
