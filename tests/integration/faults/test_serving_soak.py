"""An hour of `imgvec serve` on a server that is killed three times: its memory is flat, and its answers are whole.

It begins with a burst and the first kill, as a thread that has never worked, a pass of a size that there never was and
the errors of a first outage take memory that they keep: what comes again is not to take more. All the time a few
requests a second come, by stored id, vector and uploaded picture, and thumbnails, while the library ingests changed
pictures. Two collections are served: one of the pretrained DINOv2 small, one of a tiny random ViT, whose vectors mean
nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import transformers
from milvus_server import MilvusServer
from pictures import picture
from served import Client, Got, started

from imgvec import ImageCollection
from imgvec.errors import BackendError

SECONDS = int(os.environ.get("IMGVEC_SOAK_SECONDS", "3600"))
A_SECOND = 6
"""Requests."""
KEPT, CHANGED = 200, 20
"""Pictures that stay, which are asked for, and those that the library ingests again and again, changed."""
EVERY = min(60.0, SECONDS / 20)
"""Seconds between ingests; memory is looked at twelve times as often."""
KILLED = (0.05, 0.45, 0.65)
"""When, as shares of the time: in the first fifth, which does not count, and between the quarters that are compared."""
BURSTS, AT_ONCE = 6, 32
"""Of each kind of request, as many at once as `serve` works on by default."""
DOWN = 30.0
RECOVERED = 60.0
"""Seconds after the server calls itself healthy again, from which everything has to be answered."""
GROWN = 20.0
"""MiB that the last quarter of the samples may lie above the first."""
TAKEN = 200.0
"""MiB that the last quarter may lie above what it was before anybody asked."""
LIMIT = 5
REAL, RANDOM = "soak_real", "soak_random"
TURN = (
    ("id", RANDOM), ("vector", REAL), ("picture", RANDOM), ("thumbnail", REAL), ("id", REAL), ("vector", RANDOM),
    ("id", RANDOM), ("picture", REAL), ("thumbnail", RANDOM), ("vector", REAL), ("id", REAL), ("picture", RANDOM),
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A request: when it began and ended, and what it `became`, "whole" where nothing was wrong."""

    what: str
    began: float
    ended: float
    became: str


@dataclass(frozen=True)
class Stored:
    """The ids of what stays in a collection, and the length of its vectors."""

    ids: Sequence[str]
    dim: int


@dataclass(frozen=True)
class Sample:
    """The serving process at a time: MiB, resident and, of that, what no other process shares; others come and go."""

    at: float
    rss: float
    uss: float
    files: int
    threads: int


@dataclass(frozen=True)
class Outage:
    """When Milvus was killed, started again, and healthy."""

    killed: float
    restarted: float
    healthy: float

    @property
    def over(self) -> float:
        return self.healthy + RECOVERED


@pytest.mark.nightly
@pytest.mark.server
@pytest.mark.timeout(SECONDS + 900)
def test_an_hour_of_requests(own_server: MilvusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGVEC_URI", own_server.uri)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(KEPT + CHANGED):
        picture(number, (320, 240)).save(folder / f"{number:03}.jpg")
    stored = {
        REAL: ingested(REAL, "pypi:dinov2-small-11", folder),
        RANDOM: ingested(RANDOM, str(random_vit(tmp_path / "vit")), folder),
    }
    words = ["-c", REAL, "-c", RANDOM, "--root", str(folder)]
    with (tmp_path / "serve.log").open("w") as log, started(*words, stderr=log) as (process, client):
        asking = Asking(client, stored, folder)
        idle = sample(process.pid)
        asking.bursts()
        busy, began = sample(process.pid), time.monotonic()
        samples: list[Sample] = []
        outages: list[Outage] = []
        with ThreadPoolExecutor(2) as beside:
            requests = beside.submit(asking.some, began + SECONDS)
            changes = beside.submit(changing, folder, began + SECONDS)
            for share in KILLED:
                samples += sampled(process.pid, until=began + share * SECONDS)
                killed = time.monotonic()
                own_server.kill()
                samples += sampled(process.pid, until=killed + DOWN)
                restarted = time.monotonic()
                own_server.start()
                outages.append(Outage(killed, restarted, time.monotonic()))
            samples += sampled(process.pid, until=began + SECONDS)
        requests.result()
        written, failed = changes.result()
        assert process.poll() is None
    (tmp_path / "samples.json").write_text(json.dumps([vars(each) for each in samples]))
    said = phases(asking.asked, outages)
    print(
        f"\n{idle.rss:.0f} MiB before the burst, {busy.rss:.0f} after it; threads {idle.threads} to {busy.threads}",
        end="",
    )
    print(f"\n{len(asking.asked)} requests in {SECONDS} s, {written} pictures changed, {failed} ingests failed")
    for outage in outages:
        late = [
            each.ended for each in asking.asked if outage.killed < each.ended < outage.over and each.became != "whole"
        ]
        print(
            f"down for {outage.restarted - outage.killed:.0f} s, healthy {outage.healthy - outage.restarted:.0f} s "
            f"after the restart; the last that was not whole ended {max(late) - outage.healthy:+.1f} s from then"
        )
    for phase, counts in said.items():
        print(f"{phase}: {dict(sorted(counts.items()))}")
    settled = [each for each in samples if each.at > began + SECONDS / 5]  # allocators and caches fill first
    first, last = settled[0], settled[-1]
    print(f"open files {first.files} to {last.files}, threads {first.threads} to {last.threads}")
    grown = {name: growth(name, settled) for name in ("rss", "uss")}
    assert set(said["before"]) == {"whole"}
    assert set(said["down"]) == {"503 backend-unavailable"}
    assert all(each in ("whole", "short") or each.startswith("503 ") for each in said["between"])
    assert set(said["after"]) == {"whole"}
    assert written > 0
    assert max(grown.values()) < GROWN
    assert np.mean([each.rss for each in settled[-len(settled) // 4 :]]) < idle.rss + TAKEN
    assert last.files - first.files < 20
    assert last.threads - first.threads < 20


def random_vit(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    model = transformers.ViTModel(config)
    with torch.no_grad():
        for weight in model.parameters():  # as they come they are so small that all pictures look alike
            weight.add_(torch.randn_like(weight) * 0.15)
    model.save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def ingested(name: str, model: str, folder: Path) -> Stored:
    with ImageCollection.create(name, definition={"encoder": {"model": model}}) as made:
        made.ingest(folder)
        assert made.count() == KEPT + CHANGED
        found = {row["uri"]: row["id"] for rows in made.store.scan(["id", "uri"]) for row in rows}
        dim = made.binding.dim
    return Stored([found[str(folder / f"{number:03}.jpg")] for number in range(KEPT)], dim)


class Asking:
    """Asks, so many times a second, whether or not others have been answered."""

    def __init__(self, client: Client, stored: Mapping[str, Stored], folder: Path) -> None:
        self._client, self._stored = client, stored
        self._pictures = [(folder / f"{number:03}.jpg").read_bytes() for number in range(KEPT)]
        self.asked: list[Asked] = []

    def bursts(self) -> None:
        """Every kind at once, as often as a busy minute has it."""
        with ThreadPoolExecutor(3 * AT_ONCE) as threads:
            for _ in range(BURSTS):
                list(threads.map(self._one, range(3 * AT_ONCE)))
                time.sleep(1.0)  # the rate of one client is limited

    def some(self, until: float) -> None:
        began, number = time.monotonic(), 0
        with ThreadPoolExecutor(16) as threads:
            while (due := began + number / A_SECOND) < until:
                time.sleep(max(0.0, due - time.monotonic()))
                threads.submit(self._one, number)
                number += 1

    def _one(self, number: int) -> None:
        what, name = TURN[number % len(TURN)]
        began = time.monotonic()
        try:
            became = self._became(what, name, number % KEPT)
        except (OSError, HTTPException) as exc:
            became = type(exc).__name__
        except Exception as exc:  # noqa: BLE001  a thread's error would not be seen
            became = repr(exc)
        self.asked.append(Asked(f"{what} {name}", began, time.monotonic(), became))

    def _became(self, what: str, name: str, number: int) -> str:
        at, id = f"/v1/collections/{name}", self._stored[name].ids[number]
        if what == "thumbnail":
            got = self._client.get(f"{at}/images/{id}/thumbnail?size=128")
            return "whole" if got.status == 200 and got.body.startswith(b"\xff\xd8") else refusal(got)
        if what == "picture":
            options = json.dumps({"limit": LIMIT}).encode()
            parts = [("image", "a.jpg", self._pictures[number]), ("options", None, options)]
            got = self._client.upload(f"{at}/search", parts)
        else:
            dim = self._stored[name].dim
            query: dict[str, Any] = {"id": id}
            if what == "vector":
                query = {"vector": np.random.default_rng(number).standard_normal(dim).tolist()}
            got = self._client.post(f"{at}/search", {"query": query, "limit": LIMIT})
        if got.status != 200:
            return refusal(got)
        hits = got.json["hits"]
        if what == "picture" and hits and hits[0]["id"] != id:
            return "another first"
        return "whole" if len(hits) == LIMIT else "short"


def refusal(got: Got) -> str:
    """The status, and the kind of the problem document; every 503 says when to ask again."""
    waits = " without Retry-After" if got.status == 503 and "retry-after" not in got.headers else ""
    return f"{got.status} {got.kind}{waits}"


def changing(folder: Path, until: float) -> tuple[int, int]:
    """Ingest changed pictures every minute: how many were written, and how many ingests failed, as Milvus was down."""
    version = written = failed = 0
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(EVERY, left))
        version += 1
        for number in range(KEPT, KEPT + CHANGED):
            picture(1000 * version + number, (320, 240)).save(folder / f"{number:03}.jpg")
        try:
            with ImageCollection.open(RANDOM) as photos:
                written += photos.ingest(folder).written
        except BackendError:
            failed += 1
    return written, failed


def sampled(pid: int, until: float) -> list[Sample]:
    found = []
    while (left := until - time.monotonic()) > 0:
        found.append(sample(pid))
        time.sleep(min(EVERY / 12, left))
    return found


def sample(pid: int) -> Sample:
    process = psutil.Process(pid)
    memory = process.memory_full_info()
    sizes = (memory.rss / 2**20, memory.uss / 2**20)
    return Sample(time.monotonic(), *sizes, process.num_fds(), process.num_threads())


def phases(asked: Sequence[Asked], outages: Sequence[Outage]) -> dict[str, Counter[str]]:
    """What became of requests that were over before a kill, that fell into a time without a server, and so on."""
    found: dict[str, Counter[str]] = {name: Counter() for name in ("before", "down", "between", "after")}
    for each in asked:
        if each.ended < outages[0].killed:
            phase = "before"
        elif any(outage.killed < each.began and each.ended < outage.restarted for outage in outages):
            phase = "down"
        else:
            near = any(each.ended >= outage.killed and each.began <= outage.over for outage in outages)
            phase = "between" if near else "after"
        found[phase][each.became] += 1
    return found


def growth(name: str, samples: Sequence[Sample]) -> float:
    """MiB by which the last quarter lies above the first; the slope is printed."""
    hours = np.array([each.at / 3600 for each in samples])
    sizes = np.array([getattr(each, name) for each in samples])
    slope, low, high = slope_of(hours, sizes)
    quarter = len(sizes) // 4
    grown = float(sizes[-quarter:].mean() - sizes[:quarter].mean())
    print(
        f"{name}: {sizes[:quarter].mean():.1f} to {sizes[-quarter:].mean():.1f} MiB ({grown:+.1f}) by quarters, "
        f"{slope:+.1f} MiB an hour, 95 %: {low:+.1f} to {high:+.1f}"
    )
    return grown


def slope_of(times: Any, sizes: Any) -> tuple[float, float, float]:
    """The slope by least squares, and its interval by a bootstrap of blocks of residuals, which hang together.

    Künsch, Annals of Statistics 17, 1989; a block is a tenth of the samples.
    """
    slope, start = np.polyfit(times, sizes, 1)
    fitted = slope * times + start
    residuals, length = sizes - fitted, max(1, len(times) // 10)
    draw = np.random.default_rng(0)
    slopes = []
    for _ in range(2000):
        starts = draw.integers(0, len(times) - length + 1, -(-len(times) // length))
        drawn = np.concatenate([residuals[each : each + length] for each in starts])[: len(times)]
        slopes.append(np.polyfit(times, fitted + drawn, 1)[0])
    low, high = np.quantile(slopes, (0.025, 0.975))
    return float(slope), float(low), float(high)
