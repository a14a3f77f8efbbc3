"""An hour of ingesting: memory does not grow."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from fakes import FakeEncoder
from pictures import picture

from imgvec import ImageCollection

SECONDS = int(os.environ.get("IMGVEC_SOAK_SECONDS", "3600"))


@pytest.mark.nightly
@pytest.mark.server
@pytest.mark.timeout(SECONDS + 600)
def test_memory_is_flat(server_uri: str, tmp_path: Path) -> None:
    """Against a server, so that it is imgvec's memory and not Milvus Lite's; every round changes every picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    process = psutil.Process()
    samples: list[tuple[float, float]] = []
    started = time.monotonic()
    rounds = 0
    with ImageCollection.create(
        "soak", definition={"encoder": {"model": "f"}}, uri=server_uri, encoder=FakeEncoder()
    ) as c:
        while time.monotonic() - started < SECONDS:
            for i in range(200):
                picture(rounds * 200 + i).save(folder / f"{i:03}.jpg")
            report = c.ingest(folder)
            assert report.written == 200
            assert c.ingest(folder).unchanged == 200
            rounds += 1
            samples.append((time.monotonic() - started, process.memory_info().rss / 2**20))
        assert c.count() == 200
        c.drop()
    settled = np.array(samples[len(samples) // 5 :])  # allocators and caches fill first
    slope, _ = np.polyfit(settled[:, 0] / 3600, settled[:, 1], 1)
    print(f"{rounds} rounds, {SECONDS} s: {settled[0, 1]:.0f} to {settled[-1, 1]:.0f} MiB, {slope:+.1f} MiB an hour")
    grown = settled[-len(settled) // 4 :, 1].mean() - settled[: len(settled) // 4, 1].mean()
    assert grown < 20, f"{grown:.0f} MiB more in the last quarter than in the first"
