"""Old rows that answer the new model before their pictures are encoded again, by the command and from Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import viewed
from changing_models import DEFINITION, encoder_of, looking_encoder_of, new_encoder, old_encoder
from click.testing import CliRunner
from pictures import picture

import imgvec
from imgvec import ImageCollection
from imgvec.cli import main
from imgvec.errors import CollectionExists, UsageError

N, SAMPLE = 60, 40


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.loading.loaded_encoder", encoder_of)


@pytest.fixture
def photos(lite_uri: str, tmp_path: Path) -> Iterator[ImageCollection]:
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(N):
        picture(seed).save(folder / f"{seed:02}.png")
    with ImageCollection.create("photos", definition=DEFINITION, uri=lite_uri, encoder=old_encoder()) as photos:
        photos.ingest(folder, metadata={str(folder / f"{i:02}.png"): {"album": f"a{i % 2}"} for i in range(N)})
        yield photos


def test_all_rows_answer_the_new_model_and_the_rest_is_gone_on_with(
    photos: ImageCollection, lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgvec.opening.first_encoder", lambda *_, **__: new_encoder(12))

    def run(*words: str) -> Any:
        return CliRunner().invoke(main, ["--uri", lite_uri, "reembed", "-c", "photos", *words])

    assert run("--bridge", "soon").exit_code == 2
    assert run("--model", "other", "--bridge", "soon", "--no-swap").exit_code == 2
    done = run("--model", "other", "--bridge", "soon", "--sample", str(SAMPLE), "--label", "album")
    assert done.exit_code == 0, done.output
    assert f"soon: {N} rows of fake; {SAMPLE} pictures encoded, the other rows by a linear map" in done.stdout
    assert "% of the final quality: map@10 0." in done.stdout
    assert f"({SAMPLE} queries of {SAMPLE} pictures" in done.stdout
    with ImageCollection.open("soon", uri=lite_uri) as soon, ImageCollection.open("photos_2", uri=lite_uri) as begun:
        assert (soon.count(), begun.count(), photos.name, soon.binding.dim) == (N, SAMPLE, "photos", 12)
        true, found = (
            {row["id"]: row for rows in each.store.scan(["vector", "uri", "album"]) for row in rows}
            for each in (begun, soon)
        )
        for id_, row in found.items():
            if id_ in true:
                np.testing.assert_allclose(row["vector"], true[id_]["vector"], atol=1e-5)
        # asked by the new model, those that it has encoded come first, and none is missing
        assert len(found.keys() - true.keys()) == N - SAMPLE
        for id_ in list(true)[:5]:
            answer = soon.search(Path(true[id_]["uri"]), limit=N)
            assert (answer[0].id, len(answer)) == (id_, N)
    refused = run("--model", "other", "--bridge", "soon")
    assert refused.exit_code == 1
    assert "already" in refused.stderr
    again = run("--model", "other", "--bridge", "soon_2", "--sample", "10", "-o", "json")
    told = json.loads(again.stdout)
    assert (told["encoded"], told["bridge"]["pairs"], told["worth"]["measure"]) == (0, SAMPLE, "recall@10")
    whole = json.loads(run("--model", "other", "-o", "json").stdout)
    assert (whole["swapped"], whole["encoded"], whole["rows"]) == (True, N - SAMPLE, N)


def test_what_is_refused(photos: ImageCollection) -> None:
    with pytest.raises(CollectionExists, match="'photos' already"):
        imgvec.bridge_reembedding(photos, new_encoder(), "photos")
    with pytest.raises(UsageError, match="20 pictures or more"):
        imgvec.bridge_reembedding(photos, new_encoder(), "soon", sample=10)
    assert not photos.handle.connection.has("soon")
    few = imgvec.bridge_reembedding(photos, new_encoder(), "soon", sample=24)
    assert few is not None
    assert (few.worth, few.encoded, few.rows) == (None, 14, N)


@pytest.mark.parametrize("views", [{"grid": [2]}, {"regions": 3}], ids=["grid", "regions"])
def test_rows_of_views_are_bridged_where_they_show_the_same(
    lite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: dict[str, Any]
) -> None:
    monkeypatch.setattr("imgvec.loading.loaded_encoder", looking_encoder_of)
    folder = viewed.some_pictures(tmp_path / "views", 30)
    definition = {**viewed.DEFINITION, "views": views}
    with ImageCollection.create("parts", definition=definition, uri=lite_uri, encoder=viewed.old()) as parts:
        parts.ingest(folder)
        found = imgvec.bridge_reembedding(parts, viewed.new(), "soon", sample=25)
        assert found is not None
        assert found.encoded == 25
        assert found.worth is not None
        assert found.worth.pictures == 25, "pictures, and not their rows"
        with (
            ImageCollection.open("soon", uri=lite_uri) as soon,
            ImageCollection.open(found.target, uri=lite_uri) as new,
        ):
            old, rows, true = (viewed.rows_of(each) for each in (parts, soon, new))
            assert rows.keys() == old.keys()
            same = 0
            for id_, row in rows.items():
                assert row["box"] == old[id_]["box"]
                if id_ in true and true[id_]["box"] == row["box"]:
                    np.testing.assert_allclose(row["vector"], true[id_]["vector"], atol=1e-5)
                    same += 1
                else:
                    assert id_ not in true or np.abs(row["vector"] - true[id_]["vector"]).max() > 1e-3
            assert found.bridge.pairs == same >= 25
            assert (same == len(true)) is ("grid" in views)
