"""What Prometheus reads of `imgvec serve`: numbers of known requests, and names as it wants them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from served import PATIENCE, Client, serving

import imgvec
from imgvec import CallableEncoder, ImageCollection, Settings

V1 = "/v1/collections/trip"


@pytest.fixture
def client(lite_uri: str, pictures: Path) -> Iterator[Client]:
    def encode(pixels: np.ndarray) -> np.ndarray:
        return pixels.reshape(len(pixels), 3, 64, -1).mean(axis=3).reshape(len(pixels), -1).astype(np.float32)

    encoder = CallableEncoder(encode, name="rows", version="1", dim=192, image_size=64, batch_size=8)
    with ImageCollection.create(
        "trip", definition={"encoder": {"model": "rows"}}, uri=lite_uri, encoder=encoder
    ) as made:
        made.ingest(pictures)
        imgvec.watch_index(made)
        own = CallableEncoder(encode, name="rows", version="1", dim=192, image_size=64, batch_size=8)
        photos = ImageCollection.open("trip", settings=Settings(uri=lite_uri, roots=(pictures,)), encoder=own)
        with serving({"trip": photos}) as client:
            yield client


def scraped(client: Client) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(client.get("/metrics").body.decode())}


def value(found: dict[str, Metric], family: str, name: str, **labels: str) -> float:
    (sample,) = [each for each in found[family].samples if each.name == name and labels.items() <= each.labels.items()]
    return sample.value


def settled(client: Client) -> dict[str, Metric]:
    """The metrics, once the encoder is warm and the probes were asked."""
    until = time.monotonic() + PATIENCE
    while True:
        found = scraped(client)
        if client.get("/readyz").status == 200 and found["imgvec_probe_recall_ratio"].samples:
            return scraped(client)
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_numbers_are_those_of_the_requests(client: Client, pictures: Path) -> None:
    before = settled(client)
    files = [("image", "x", path.read_bytes()) for path in sorted(pictures.rglob("*.jpg"))[:3]]
    began = time.monotonic()
    for file in files:
        assert client.upload(f"{V1}/search", [file]).status == 200
    assert client.upload(f"{V1}/search_many", files).status == 200
    id_ = client.upload(f"{V1}/search", [files[0]]).json["hits"][0]["id"]
    client.post(f"{V1}/search", {"query": {"id": id_}})
    client.post(f"{V1}/search", {"query": {"id": "nobody"}})
    client.upload(f"{V1}/search", [("image", "x", b"GIF89a")])
    after, took = scraped(client), time.monotonic() - began

    def more(family: str, name: str, **labels: str) -> float:
        def now(found: dict[str, Metric]) -> float:
            try:
                return value(found, family, name, **labels)
            except ValueError:  # nothing of these labels was counted yet
                return 0.0

        return now(after) - now(before)

    batches = "imgvec_encoder_batch_items"
    assert more(batches, f"{batches}_count") == 5
    assert more(batches, f"{batches}_sum") == 7
    assert more(batches, f"{batches}_bucket", le="1.0") == 4
    assert more(batches, f"{batches}_bucket", le="4.0") == 5
    idle = more("imgvec_encoder_idle_seconds", "imgvec_encoder_idle_seconds_total")
    assert 0 < idle <= took + 1
    assert {"rows" in sample.labels["encoder"] for sample in after[batches].samples} == {True}
    stages = "imgvec_search_stage_seconds"
    assert more(stages, f"{stages}_count", stage="total") == 6
    assert more(stages, f"{stages}_count", stage="search") == 6
    route = "/v1/collections/{collection}/search"
    requests = ("imgvec_http_requests", "imgvec_http_requests_total")
    assert more(*requests, route=route, method="POST", status="200") == 5
    assert more("imgvec_refused", "imgvec_refused_total", reason="query-error") == 1
    assert more("imgvec_refused", "imgvec_refused_total", reason="unreadable-image") == 1
    for lane in ("stored", "encoding", "opening"):
        assert value(after, "imgvec_queue_requests", "imgvec_queue_requests", lane=lane) == 0
    for limit in ("10", "100"):
        recall = value(after, "imgvec_probe_recall_ratio", "imgvec_probe_recall_ratio", collection="trip", limit=limit)
        assert 0.9 < recall <= 1


def test_names_and_units_are_as_prometheus_wants_them(client: Client) -> None:
    """As `promtool check metrics` does, for what can be told without it."""
    client.get("/no/such/route")
    found = settled(client)
    assert len(found) >= 12
    for name, family in found.items():
        assert re.fullmatch(r"imgvec_[a-z_]+", name)
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert not re.search(r"milli|micro|minutes|percent|_(count|sum|bucket|total|info)$", name)
        labels = {tuple(sorted(set(each.labels) - {"le"})) for each in family.samples}
        assert len(labels) <= 1
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith(("_total", "_created"))
            assert sample.value >= 0
            assert "nobody" not in str(sample.labels)
        if family.type == "histogram":
            sizes: dict[tuple[str, ...], list[float]] = {}
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    own = tuple(sample.labels[label] for label in sorted(sample.labels) if label != "le")
                    sizes.setdefault(own, []).append(sample.value)
            assert bool(sizes) == bool(family.samples)
            assert all(each == sorted(each) for each in sizes.values())
