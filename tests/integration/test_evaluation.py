"""Evaluating real collections, on Milvus Lite and a server; with the fake encoder, and once with the real one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from pictures import picture

from imgvec import ImageCollection, field
from imgvec.cli import main
from imgvec.quality import Evaluation, compare, evaluate
from imgvec.quality.labels import Labels, labels_of

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
        "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 16, "default": []},
        "rating": {"type": "INT8", "default": -1},
    },
}


def metadata(pictures: Path) -> dict[str, dict[str, Any]]:
    tags = (["red", "big"], ["big"], ["red"], [], ["old"])
    return {
        str(path): {"album": "" if i == 3 else f"a{i % 3}", "tags": tags[i % 5], "rating": i % 2, "place": f"p{i % 4}"}
        for i, path in enumerate(sorted(pictures.rglob("*.jpg")))
    }


@pytest.fixture
def photos(backend_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as made:
        made.ingest(pictures, metadata=metadata(pictures))
        yield made


def by_hand(photos: ImageCollection, label: str, where: str = "") -> dict[str, tuple[float, float]]:
    """Precision@5 and average precision of every labelled row that has another to find, by uri."""
    rows = [row for batch in photos.store.scan(["uri", "vector", label], where) for row in batch]
    labels: list[Labels] = [labels_of(row.get(label)) for row in rows]
    vectors = np.stack([row["vector"] for row in rows])
    values = {}
    for i, scores in enumerate(vectors @ vectors.T):
        order = [int(j) for j in np.argsort(-scores, kind="stable") if j != i]
        shares = np.array([not labels[j].isdisjoint(labels[i]) for j in order])
        if shares.any():
            precision = shares.cumsum() / np.arange(1, len(order) + 1)
            values[rows[i]["uri"]] = (float(shares[:5].sum() / 5), float(precision[shares].mean()))
    return values


def seen(found: Evaluation, *measures: str) -> dict[str, tuple[float, ...]]:
    places = [found.measures.index(measure) for measure in measures]
    return {name: tuple(row[places].tolist()) for name, row in zip(found.names, found.values, strict=True)}


@pytest.mark.parametrize("label", ["album", "tags", "rating", "place"])
def test_rows_as_by_hand(photos: ImageCollection, label: str) -> None:
    expected = by_hand(photos, label)
    whole = evaluate(photos, label=label, k=(5,), exact=True)
    assert set(whole.names) == set(expected)
    for name, values in seen(whole, "precision@5", "map").items():
        assert values == pytest.approx(expected[name])
    by_search = evaluate(photos, label=label, k=(5, 19))
    for name, values in seen(by_search, "precision@5", "map@19").items():
        assert values == pytest.approx(expected[name])
    assert whole.unlabelled == {"album": 1, "tags": 4}.get(label, 0)


def test_a_filter_narrows_rows_and_queries(photos: ImageCollection) -> None:
    expected = by_hand(photos, "album", "rating == 1")
    for exact in (False, True):
        found = evaluate(photos, label="album", k=(5,), where=field("rating") == 1, exact=exact)
        assert found.rows == 10
        assert {name: value for name, (value,) in seen(found, "precision@5").items()} == pytest.approx(
            {name: value for name, (value, _) in expected.items()}
        )


def test_two_collections_on_the_rows_that_both_have(photos: ImageCollection, backend_uri: str, pictures: Path) -> None:
    with ImageCollection.create(
        "other", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder(dim=4, seed=7)
    ) as other:
        other.ingest(pictures / "album1", metadata=metadata(pictures))
        found = compare(photos, other, label="rating", k=(1, 5), exact=True)
        ours, theirs = by_hand(photos, "rating"), by_hand(other, "rating")
    assert len(found.first.names) == 10
    assert (found.first.rows, found.second.rows) == (20, 10)
    gains = [theirs[name][1] - ours[name][1] for name in found.first.names]
    assert found.micro[-1].measure == "map"
    assert found.micro[-1].difference == pytest.approx(np.mean(gains))


def imgvec(*words: str | Path, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == status, result.output + str(result.exception)
    return result


@pytest.fixture
def filled(lite_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("IMGVEC_URI", lite_uri)
    monkeypatch.setattr("imgvec.loading.loaded_encoder", lambda *_: FakeEncoder())
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as made:
        made.ingest(pictures, metadata=metadata(pictures))
    return lite_uri


def test_the_command_prints_what_was_measured(filled: str) -> None:
    with ImageCollection.open("trip", uri=filled) as photos:
        expected = evaluate(photos, label="album", k=(1, 5), exact=True)
    words = ["evaluate", "-c", "trip", "--label", "album", "-k", "5,1", "--exact"]
    printed = imgvec(*words, "-o", "json")
    assert json.loads(printed.stdout) == expected.to_dict()
    assert "trip: 1 of 20 rows without album" in printed.stderr
    rows = list(csv.DictReader(io.StringIO(imgvec(*words, "-o", "csv").stdout)))
    assert [row["over"] for row in rows] == ["queries", "classes", "class", "class", "class"]
    assert float(rows[0]["map"]) == expected.micro["map"]
    assert float(rows[3]["precision@5"]) == expected.classes[1].values["precision@5"]
    table = imgvec(*words).stdout
    assert "mAP@5" in table
    assert f"{expected.macro['map']:.4f}" in table
    some = json.loads(imgvec(*words, "--sample", "6", "--eq", "rating=1", "-o", "json").stdout)
    assert (some["queries"], some["rows"], some["where"]) == (6, 10, "rating == 1")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_the_command_asks_with_images_of_a_folder(filled: str, tmp_path: Path, suffix: str) -> None:
    folder, file = tmp_path / "queries", tmp_path / f"labels.{suffix}"
    folder.mkdir()
    for i in range(100, 104):
        picture(i).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "bare.png").write_bytes(b"nobody asks with it")
    labels = {f"{i}.png": f"a{i % 3}" for i in range(100, 104)} | {"broken.png": "a0", "gone.png": "a1"}
    if suffix == "jsonl":
        file.write_text("".join(json.dumps({"path": path, "label": label}) + "\n" for path, label in labels.items()))
    else:
        tab = "\t" if suffix == "tsv" else ","
        file.write_text(f"path{tab}label\n" + "".join(f"{path}{tab}{label}\n" for path, label in labels.items()))
    words = ["evaluate", "-c", "trip", "--label", "album", "--queries", folder, "--query-labels", file]
    printed = imgvec(*words, "-o", "json")
    found = json.loads(printed.stdout)
    with ImageCollection.open("trip", uri=filled, encoder=FakeEncoder()) as photos:
        given = {str(folder / path): label for path, label in labels.items() if path[0] == "1"}
        assert found["micro"] == evaluate(photos, label="album", queries=given).micro
    assert found["queries"] == 4
    assert found["unreadable"] == [{"uri": str(folder / "broken.png"), "reason": "not an image"}]
    assert "Note: 1 image in " in printed.stderr  # without a label
    assert "Note: 1 row of " in printed.stderr  # without an image
    assert "broken.png: not an image" in printed.stderr
    narrowed = json.loads(imgvec(*words, "--where", 'album == "a1"', "-o", "json").stdout)
    assert (narrowed["queries"], narrowed["without_relevant"]) == (2, {"a0": 2, "a2": 1})
    file.write_text("path,label\n100.png,nowhere\n" if suffix == "csv" else file.read_text().replace("a2", "nowhere"))
    assert "no row has the album nowhere; existing: a0, a1, a2" in imgvec(*words, status=1).stderr


def test_the_command_compares(filled: str, tmp_path: Path, pictures: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere.db")
    encoder = FakeEncoder(dim=4, seed=7)
    with (
        ImageCollection.create("other", definition=DEFINITION, uri=elsewhere, encoder=encoder) as other,
        ImageCollection.open("trip", uri=filled) as photos,
    ):
        other.ingest(pictures, metadata=metadata(pictures))
        expected = compare(photos, other, label="rating").to_dict()
    words = ["evaluate", "-c", "trip", "--label", "rating", "--compare", "other", "--compare-uri", elsewhere]
    assert json.loads(imgvec(*words, "-o", "json").stdout) == expected
    rows = list(csv.DictReader(io.StringIO(imgvec(*words, "-o", "csv").stdout)))
    assert len(rows) == (2 + 2) * 12
    assert float(rows[0]["difference"]) == expected["micro"][0]["difference"]
    assert "second: other: 20 queries, 20 rows" in imgvec(*words).stdout
    same = json.loads(imgvec(*words[:5], "--compare", "trip", "-o", "json").stdout)
    assert {each["high"] for each in same["micro"]} == {0}


@pytest.mark.parametrize(
    ("words", "says", "status"),
    [
        (["--label", "albun"], "20 without albun", 1),
        (["--label", "album", "-k", "1,x"], "1,x", 2),
        (["--label", "album", "-k", "0"], "0", 2),
        (["--label", "album", "--queries", "x"], "--query-labels", 2),
        (["--label", "album", "--compare-uri", "x"], "--compare", 2),
        (["--label", "album", "-k", "20000"], "limit must be from 1 to 16384, not 20001", 1),
    ],
)
def test_the_command_says_what_is_wrong(filled: str, words: list[str], says: str, status: int) -> None:
    assert says in imgvec("evaluate", "-c", "trip", *words, status=status).stderr


@pytest.mark.weights
def test_real_photos(lite_uri: str, test_data: Path) -> None:
    """Photos of ten classes of clothes, 112 px wide; scikit-learn on the stored vectors is the reference."""
    sklearn = pytest.importorskip("sklearn.metrics", exc_type=ImportError)
    folder = test_data / "clothing"
    lines = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()[1:]]
    given = {str(folder / path): {"label": label} for path, label, _ in lines[::10]}
    definition = {
        "encoder": {"model": "pypi:dinov2-small-11", "image_size": 112},
        "fields": {"label": {"type": "VARCHAR", "max_length": 32, "default": ""}},
    }
    with ImageCollection.create("clothes", definition=definition, uri=lite_uri) as clothes:
        clothes.ingest(list(given), metadata=given)
        found = evaluate(clothes, label="label", exact=True)
        by_search = evaluate(clothes, label="label")
        rows = [row for batch in clothes.store.scan(["uri", "vector", "label"]) for row in batch]
    labels, vectors = np.array([row["label"] for row in rows]), np.stack([row["vector"] for row in rows])
    expected = {}
    for i, scores in enumerate(vectors @ vectors.T):
        others = np.arange(len(rows)) != i
        expected[rows[i]["uri"]] = sklearn.average_precision_score(labels[others] == labels[i], scores[others])
    assert {name: value for name, (value,) in seen(found, "map").items()} == pytest.approx(expected, abs=1e-6)
    assert by_search.micro["precision@10"] == pytest.approx(found.micro["precision@10"])
    # far better than chance, which is at most the largest class's share
    chance = max(np.mean(labels == each) for each in set(labels))
    assert found.micro["precision@1"] > 2 * chance
