"""`imgvec serve` explains its hits: the library's numbers, bounded, and its drawing."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture
from PIL import Image
from served import Client, serving

import imgvec
from imgvec import Crop, ImageBytes, ImageCollection, Settings, StoredId
from imgvec.explanation import Explanation, Side
from imgvec.serving.reasons import MOST_CELLS, shown
from imgvec.serving.tokens import new_token

V1 = "/v1/collections/trip"


@pytest.fixture
def photos(lite_uri: str, tmp_path: Path) -> Iterator[ImageCollection]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        picture(number, (80, 60)).save(folder / f"{number}.png")
    definition, encoder = {"encoder": {"model": "fake"}}, FakeEncoder(text=True)
    with ImageCollection.create("trip", definition=definition, uri=lite_uri, encoder=encoder) as made:
        made.ingest(folder)
        yield ImageCollection.open("trip", settings=Settings(uri=lite_uri, roots=(folder,)), encoder=encoder)


@pytest.fixture
def client(photos: ImageCollection) -> Iterator[Client]:
    with serving({"trip": photos}) as client:
        yield client


def test_the_numbers_and_the_drawing_are_the_librarys(photos: ImageCollection, tmp_path: Path) -> None:
    file = (tmp_path / "photos" / "1.png").read_bytes()
    sent = {"image": base64.b64encode(file).decode()}
    with (
        ImageCollection.open("trip", settings=photos.settings, encoder=FakeEncoder()) as ours,
        serving({"trip": photos}) as client,
    ):
        first, hit = (each.id for each in ours.search(ImageBytes(file), limit=2))
        cut = {"crop": sent, "box": [0, 0, 64, 48]}
        asked: list[tuple[Any, Any]] = [
            (sent, ImageBytes(file)),
            ({"id": first}, StoredId(first)),
            (cut, Crop(ImageBytes(file), (0, 0, 64, 48))),
        ]
        for query, form in asked:
            wanted = imgvec.explain(ours, form, hit)
            got = client.post(f"{V1}/explain", {"query": query, "id": hit})
            assert got.status == 200, got.body
            assert got.json == json.loads(json.dumps(shown(wanted, 50)))
            assert got.json["score"] == pytest.approx(wanted.score)
            np.testing.assert_allclose(got.json["hit"]["heat"], wanted.hit.heat, atol=1e-6)
            regions = got.json["query"]["regions"]
            assert [each["share"] for each in regions] == pytest.approx(wanted.query.shares.ravel(), abs=1e-6)
            assert regions[0]["box"] == pytest.approx(wanted.query.box(0, 0, wanted.query.shares.shape), abs=0.01)
            drawn = client.post(f"{V1}/explain", {"query": query, "id": hit}, Accept="image/png")
            assert drawn.headers["content-type"] == "image/png"
            with Image.open(io.BytesIO(drawn.body)) as image, wanted.image() as ours_drawn:
                np.testing.assert_array_equal(np.asarray(image), np.asarray(ours_drawn))
        parts = [("image", "x.png", file), ("box", None, b"[0, 0, 64, 48]")]
        options = json.dumps({"id": hit, "pairs": 3}).encode()
        by_form = client.upload(f"{V1}/explain?format=json", [*parts, ("options", None, options)])
        assert by_form.json == client.post(f"{V1}/explain", {"query": cut, "id": hit, "pairs": 3}).json


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("application/json;q=0.5, IMAGE/PNG", "image/png"),
        ("image/png;q=0.9, */*;q=0.8", "image/png"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png, application/json", "application/json"),
        ("image/png;q=0", "application/json"),
        ("image/png;q=much, text/html", "application/json"),
    ],
)
def test_what_a_client_prefers(client: Client, photos: ImageCollection, accept: str, kind: str) -> None:
    id_ = next(iter(photos.store.scan([])))[0]["id"]
    body = {"query": {"id": id_}, "id": id_}
    got = client.post(f"{V1}/explain", body, Accept=accept)
    assert (got.status, got.headers["content-type"], got.headers["vary"]) == (200, kind, "Accept")
    assert client.post(f"{V1}/explain?format=png", body, Accept=accept).headers["content-type"] == "image/png"
    assert client.post(f"{V1}/explain?format=json", body, Accept=accept).headers["content-type"] == "application/json"


def test_what_cannot_be_explained_is_said(client: Client, photos: ImageCollection, tmp_path: Path) -> None:
    id_ = next(iter(photos.store.scan([])))[0]["id"]
    for query in ({"text": "a dress"}, {"vector": [1.0] * 16}, {"like": [{"query": {"id": id_}}]}):
        got = client.post(f"{V1}/explain", {"query": query, "id": id_})
        assert got.kind == "query-error"
        assert "is not one picture" in got.json["detail"]
    assert client.post(f"{V1}/explain", {"query": {"id": id_}, "id": "nobody"}).json["detail"] == (
        "no row with id 'nobody'"
    )
    for body in (
        {"query": {"id": id_}},
        {"query": {"hybrid": [{"query": {"id": id_}}]}, "id": id_},
        {"query": {"id": id_}, "id": id_, "pairs": 5000},
        {"query": {"id": id_}, "id": id_, "limit": 3},
    ):
        assert client.post(f"{V1}/explain", body).kind == "invalid"
    assert client.post(f"{V1}/explain?format=gif", {"query": {"id": id_}, "id": id_}).kind == "invalid"
    assert client.post(f"{V1}/explain", {"query": {"id": id_}, "id": id_, "vector": "other"}).status == 422
    file = (tmp_path / "photos" / "0.png").read_bytes()
    assert client.upload(f"{V1}/explain", [("image", "a", file)]).kind == "invalid"  # of what?
    options = json.dumps({"id": id_}).encode()
    assert client.upload(f"{V1}/explain", [("image", "a", file)] * 2 + [("options", None, options)]).kind == "invalid"
    broken = client.upload(f"{V1}/explain", [("image", "a", b"GIF89a"), ("options", None, options)])
    assert broken.kind == "unreadable-image"
    for each in (tmp_path / "photos").iterdir():
        each.unlink()
    gone = client.post(f"{V1}/explain", {"query": {"image": base64.b64encode(file).decode()}, "id": id_})
    assert (gone.status, gone.kind) == (404, "picture-not-there")
    assert str(tmp_path) not in gone.body.decode()


def test_a_token_that_may_read_may_ask_why(photos: ImageCollection, tmp_path: Path) -> None:
    token = new_token(tmp_path / "tokens", "page", ["read"])
    id_ = next(iter(photos.store.scan([])))[0]["id"]
    with serving({"trip": photos}, token_file=str(tmp_path / "tokens")) as client:
        body = {"query": {"id": id_}, "id": id_}
        assert client.post(f"{V1}/explain", body).kind == "token"
        assert client.post(f"{V1}/explain", body, Authorization=f"Bearer {token}").status == 200


def test_the_finest_grid_is_sent_in_bounds_and_loses_nothing() -> None:
    rng = np.random.default_rng(3)
    heat = rng.random((150, 90)).astype(np.float32)
    side = Side("a", picture(1, (300, 200)), (0.0, 0.0, 300.0, 200.0), heat / heat.sum(), heat - 0.5)
    pairs = np.stack([np.arange(500), np.arange(500)], axis=1)
    found = Explanation(
        query=side, hit=side, score=0.5, method="tokens", additive=True, mirrored=False, pairs=pairs,
        similarities=np.linspace(1, 0, 500).astype(np.float32),
    )  # fmt: skip
    said = shown(found, 7)
    sent = np.array(said["query"]["heat"])
    assert sent.shape == (MOST_CELLS, MOST_CELLS)
    assert sent.sum() == pytest.approx(1, abs=0.005)
    regions = said["hit"]["regions"]
    assert len(regions) == MOST_CELLS**2
    assert sum(each["share"] for each in regions) == pytest.approx(float(side.shares.sum()), abs=0.01)
    # a cell lies where its share of the heat is
    place = 20 * MOST_CELLS + 31
    assert sent[20, 31] == pytest.approx(side.share_of_heat(tuple(regions[place]["box"])), abs=1e-6)
    assert [each["similarity"] for each in said["pairs"]] == pytest.approx(np.linspace(1, 0, 500)[:7])
