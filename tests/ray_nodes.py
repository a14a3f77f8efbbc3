"""Ray on this machine, for tests: one node or several, whose workers find the tests' modules."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@contextmanager
def ray_nodes(number: int, *modules: Path) -> Iterator[None]:
    """A Ray cluster of `number` nodes of two processors, to which this process is connected.

    `modules` are folders that its workers import from, besides those of the tests and of the package.
    """
    import ray
    from ray.cluster_utils import Cluster

    # Ray's sockets lie in its temporary folder, and a socket's path holds 107 bytes: $TMPDIR may be too long for it.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
    ):
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TESTS, TESTS.parent, *modules))))
        warnings.simplefilter("ignore")  # Ray's own, of sockets and processes that it leaves open
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_gcs_server_port_wait_time_s", "120")
        for last in (False, False, True):
            made = Cluster()
            try:
                made.add_node(num_cpus=2, include_dashboard=False)
                for _ in range(number - 1):
                    made.add_node(num_cpus=2)
                break
            except Exception:  # Ray gives its processes 30 s to start, which a machine at work may not keep
                made.shutdown()
                if last:
                    raise
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()
            made.shutdown()
