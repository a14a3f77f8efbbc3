"""A function as a collection's encoder: given by hand, and by an entry point's prefix."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgvec import CallableEncoder, ImageCollection
from imgvec.encoders import EncoderKind, registry
from imgvec.errors import DefinitionError, EncoderMismatch, EncoderUnavailable

DEFINITION = {"encoder": {"model": "layout:rough"}}


def layout(pixels: Any) -> Any:
    """A picture's colours in a grid of 4 by 4, around their mean."""
    grid = pixels.reshape(len(pixels), 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(len(pixels), -1)
    return grid - grid.mean(axis=1, keepdims=True) + 0.1


def made(name: str = "layout", version: str = "1", **options: Any) -> CallableEncoder:
    return CallableEncoder(layout, name=name, version=version, image_size=32, **options)


KIND = EncoderKind(load=lambda request: made(request.spec.model))


def test_a_function_given_by_hand(backend_uri: str, pictures: Path) -> None:
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=made()) as photos:
        assert photos.ingest(pictures).written == 20
        assert photos.binding.model == "callable:layout"
    query = pictures / "album0" / "00.jpg"
    with ImageCollection.open("trip", uri=backend_uri, encoder=made()) as photos:
        best = photos.search(query, limit=1, consistency_level="Strong")[0]
        assert best.uri == str(query)
        assert best.score == pytest.approx(1, abs=1e-3)
        assert photos.ingest(pictures).unchanged == 20
    for other in (made(version="2"), made("other"), made(fit="squash")):
        with pytest.raises(EncoderMismatch, match="callable:layout, but callable:"):
            ImageCollection.open("trip", uri=backend_uri, encoder=other)
    with ImageCollection.open("trip", uri=backend_uri) as photos:
        assert photos.count() == 20
        stored = next(iter(photos.store.scan(["id"])))[0]["id"]
        assert photos.search(f"id:{stored}", limit=1, consistency_level="Strong")[0].id == stored
        with pytest.raises(EncoderUnavailable, match="encoder=CallableEncoder"):
            photos.search(query)


def test_a_function_by_an_entry_point(backend_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("layout", f"{__name__}:KIND", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group, name="layout": [point] if name == "layout" else [])
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri) as photos:
        photos.ingest(pictures)
    with ImageCollection.open("trip", uri=backend_uri) as photos:
        assert photos.binding.model == "layout:rough"
        query = pictures / "album0" / "00.jpg"
        assert photos.search(query, limit=1, consistency_level="Strong")[0].uri == str(query)
    with pytest.raises(EncoderMismatch):
        ImageCollection.open("trip", uri=backend_uri, encoder=made())


def test_the_metric_says_whether_vectors_are_unit_vectors(backend_uri: str, pictures: Path) -> None:
    long = made(normalize=False)
    with pytest.raises(DefinitionError, match="COSINE needs unit vectors"):
        ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=long)
    definition = {**DEFINITION, "vector": {"metric_type": "L2"}}
    with ImageCollection.create("trip", definition=definition, uri=backend_uri, encoder=long) as photos:
        photos.ingest(pictures)
        ids = [row["id"] for rows in photos.store.scan(["id"]) for row in rows]
        stored = np.stack([row["vector"] for row in photos.get(ids, with_vector=True).values()])
    assert np.linalg.norm(stored, axis=1).min() > 10
