"""Many queries at once: each has the answer that it has alone, or its error. Proved against exact NumPy."""

from __future__ import annotations

import itertools
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from pictures import picture
from PIL import Image

from imgvec import Answer, ImageCollection, ImageFile, Like, Source, StoredId, VectorQuery, field
from imgvec.cli import main
from imgvec.errors import FilterError, OptionError, QueryError, SourceError, UnreadableImage
from imgvec.search import batches, encoding, many
from imgvec.vectors import Vectors

DEFINITION = {"encoder": {"model": "fake"}, "fields": {"album": {"type": "VARCHAR", "default": ""}}}


@pytest.fixture
def photos(backend_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageCollection]:
    """A collection `asked` of twenty pictures at IMGVEC_URI, which the command opens with the same encoder."""
    monkeypatch.setenv("IMGVEC_URI", backend_uri)
    encoder = FakeEncoder()
    opened = ImageCollection.open.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(
        ImageCollection, "open", classmethod(lambda cls, name, **given: opened(cls, name, encoder=encoder, **given))
    )
    with ImageCollection.create("asked", definition=DEFINITION, uri=backend_uri, encoder=encoder) as collection:
        collection.ingest(pictures, metadata={str(path): {"album": path.parent.name} for path in pictures.rglob("*")})
        assert collection.count() == 20  # a server's searches see them from now on
        yield collection


def imgvec(*words: str | Path, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def exact(photos: ImageCollection, vector: Vectors, limit: int, album: str | None = None) -> list[tuple[str, Any]]:
    """The best ids with their cosines, by NumPy."""
    rows = [row for some in photos.store.scan(["id", "vector", "album"]) for row in some]
    rows = [row for row in rows if album in (None, row["album"])]
    wide = vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))
    ranked = sorted((-float(row["vector"].astype(np.float64) @ wide), row["id"]) for row in rows)
    return [(id_, pytest.approx(-less, abs=1e-5)) for less, id_ in ranked[:limit]]


def scored(answer: Answer) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in answer]


def test_each_query_has_its_answer_or_its_error(photos: ImageCollection, pictures: Path) -> None:
    paths = sorted(pictures.rglob("*.jpg"))
    row = next(photos.store.scan(["id", "vector"]))[0]
    vector = np.random.default_rng(1).standard_normal(16).astype(np.float32)
    mix = Like([(ImageFile(paths[0]), 1), (StoredId(row["id"]), -0.5)])
    good: dict[int, Any] = {0: paths[3], 2: vector, 5: f"id:{row['id']}", 8: mix, 12: paths[4].read_bytes()}
    bad: dict[int, tuple[Any, type[Exception], str]] = {
        1: (b"not an image", UnreadableImage, "<bytes>: not an image"),
        3: ("missing.jpg", UnreadableImage, "missing"),
        4: (VectorQuery(np.ones(3)), QueryError, "the vector has dim 3, but the collection has dim 16"),
        6: ("id:nobody", QueryError, "no row with id 'nobody'"),
        7: (Like([(StoredId(row["id"]), 1), (StoredId(row["id"]), -1)]), QueryError, "the mix cancels out"),
        9: (np.full(16, np.nan), QueryError, "the vector is not finite"),
        10: ("a red dress", QueryError, "'a red dress' is not a file, and fake has no text side"),
        11: ("https://example.org/cat.jpg", QueryError, "queries are not fetched"),
        13: (Like([(StoredId(row["id"]), 1), (ImageFile("gone.png"), 1)]), UnreadableImage, "gone.png: missing"),
        14: (np.zeros(16), QueryError, "the vector has length zero"),
        15: (np.full(16, 1e30), QueryError, "the vector has length 4e+30, which Milvus cannot square"),
    }
    queries = {**good, **{place: query for place, (query, _, _) in bad.items()}}
    answers = list(photos.search_each((queries[i] for i in range(16)), limit=4, where=field("album") == "album0"))
    assert len(answers) == 16
    for place, query in good.items():
        [vector] = photos.vectors([query])
        assert scored(answers[place]) == exact(photos, vector, 4, "album0")
        alone = photos.search(query, limit=4, where=field("album") == "album0")
        assert [hit.id for hit in alone] == [hit.id for hit in answers[place]]
        assert answers[place].error is None
        assert answers[place].request.to_dict() == alone.request.to_dict()
    for place, (_, kind, says) in bad.items():
        answer = answers[place]
        assert type(answer.error) is kind
        assert says in str(answer.error)
        assert (answer.hits, answer.shortfall, answer.request.options["limit"]) == ((), None, 4)
        assert says in answer.to_dict()["error"]


def test_what_concerns_all_queries_is_raised(photos: ImageCollection) -> None:
    with pytest.raises(OptionError, match="limit"):
        photos.search_each(["id:x"], limit=0)  # at once, before anything is read
    with pytest.raises(QueryError, match="search_each takes a sequence of queries"):
        photos.search_each("cat.jpg")
    with pytest.raises(QueryError, match="a dict is not a query"):
        list(photos.search_each([{}]))  # type: ignore[list-item]
    id_ = next(photos.store.scan(["id"]))[0]["id"]
    with pytest.raises(FilterError):
        list(photos.search_each([StoredId(id_)], where="no_such_field_ == "))


def test_queries_are_asked_in_batches_of_one_call_each(
    photos: ImageCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    search = photos.store.search

    def counting(vectors: Vectors, **options: Any) -> Any:
        asked.append(len(vectors))
        return search(vectors, **options)

    monkeypatch.setattr(photos.store, "search", counting)
    monkeypatch.setattr(many, "AT_ONCE", 8)
    rng = np.random.default_rng(2)
    endless = (VectorQuery(rng.standard_normal(16)) for _ in itertools.count())
    answers = list(itertools.islice(photos.search_each(endless, limit=2), 19))
    assert [len(answer) for answer in answers] == [2] * 19
    assert asked == [8, 8, 8]
    photos.search_many([VectorQuery(rng.standard_normal(16)) for _ in range(100)])
    assert asked[3:] == [100]


def test_few_pictures_are_held_at_once(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    encode: Callable[..., Vectors] = photos.encoder.encode_images
    monkeypatch.setattr(photos.encoder, "encode_images", lambda images: (held.append(len(images)), encode(images))[1])
    monkeypatch.setattr(batches, "PIXELS_AT_ONCE", 3 * 64 * 64)
    queries = [Image.new("RGB", (64, 64), (i, 0, 0)) for i in range(8)]
    whole = photos.search_many(queries, limit=3)
    assert held == [1, 3, 3, 1]
    for vector, answer in zip(photos.vectors(queries), whole, strict=True):
        assert scored(answer) == exact(photos, vector, 3)
    monkeypatch.setattr(many, "BYTES_AT_ONCE", 1)
    assert len(list(many._batches([many.ImageBytes(b"12"), many.ImageBytes(b"3")]))) == 2


def test_files_are_decoded_in_threads_and_stay_in_order(
    photos: ImageCollection, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for another one, so that one thread alone would wait in vain."""
    both = threading.Barrier(2)
    decode, where = encoding.decode, set[str]()

    def together(*given: Any, **options: Any) -> Any:
        both.wait(20)
        where.add(threading.current_thread().name)
        return decode(*given, **options)

    monkeypatch.setattr(photos.handle.target.searcher._forms, "_threads", 2)
    monkeypatch.setattr(encoding, "decode", together)
    paths = sorted(pictures.rglob("*.jpg"))
    vectors = photos.vectors(paths)
    assert all(name.startswith("imgvec-decode") for name in where)
    assert len(where) == 2
    monkeypatch.setattr(encoding, "decode", decode)
    np.testing.assert_allclose(vectors, np.concatenate([photos.vectors([path]) for path in paths]), atol=1e-6)
    paths[5].write_bytes(b"broken")
    with pytest.raises(UnreadableImage, match=paths[5].name):
        photos.vectors(paths)
    twice = Image.open(paths[0])  # not read yet
    assert len(photos.search_many([twice, twice])) == 2


def test_a_source_of_queries(photos: ImageCollection, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "queries"
    folder.mkdir()
    for i in range(3):
        picture(i).save(folder / f"{i}.jpg", quality=95)
    (folder / "1b.jpg").write_bytes(b"broken")
    answers = list(photos.search_each(Source(folder), limit=1))
    assert [type(answer.error) for answer in answers] == [type(None), type(None), UnreadableImage, type(None)]
    stored = [str(pictures / f"album{i % 2}" / f"{i:02}.jpg") for i in range(3)]
    assert [answer[0].uri for answer in answers if answer] == stored
    assert [answer.request.form.to_dict()["image"] for answer in answers] == [
        str(folder / name) for name in ("0.jpg", "1.jpg", "1b.jpg", "2.jpg")
    ]
    with zipfile.ZipFile(tmp_path / "queries.zip", "w") as packed:
        packed.write(folder / "1.jpg", "one.jpg")
        packed.write(folder / "1b.jpg", "broken.jpg")
    other, one = photos.search_each(Source(tmp_path / "queries.zip"), limit=1)
    assert (one[0].uri, one.request.form.to_dict()["name"]) == (stored[1], f"{tmp_path}/queries.zip!one.jpg")
    assert str(other.error).startswith(f"{tmp_path}/queries.zip!broken.jpg: not an image")
    # what comes before the end of a source that breaks off is answered
    whole = (tmp_path / "queries.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    with pytest.raises(SourceError):
        list(photos.search_each(Source(tmp_path / "cut.zip")))


def test_the_command_asks_by_each_picture_of_a_folder(photos: ImageCollection, tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / "queries").mkdir(exist_ok=True)
        picture(i).save(tmp_path / "queries" / f"{i}.jpg", quality=95)
    (tmp_path / "queries" / "0b.jpg").write_bytes(b"broken")
    words = ("search", "-c", "asked", "--queries", tmp_path / "queries", "-k", "2")
    said = imgvec(*words, "-o", "json")
    first, broken, second = json.loads(said.stdout)
    for i, each in enumerate((first, second)):
        [vector] = photos.vectors([ImageFile(tmp_path / "queries" / f"{i}.jpg")])
        assert each["query"] == str(tmp_path / "queries" / f"{i}.jpg")
        assert [(hit["id"], hit["score"]) for hit in each["hits"]] == exact(photos, vector, 2)
    assert (broken["query"], broken["hits"]) == (str(tmp_path / "queries" / "0b.jpg"), [])
    assert "not an image" in broken["error"]
    assert said.stderr.splitlines() == [f"Note: {broken['error']}", "Note: 1 of 3 queries could not be asked"]
    table = imgvec(*words).stdout
    assert [hit["uri"] in table for hit in first["hits"] + second["hits"]] == [True] * 4
    assert table.startswith(f"{tmp_path}/queries/0.jpg\n")
    lines = imgvec(*words, "-o", "csv").stdout.splitlines()
    assert lines[0].startswith("query,id,score,distance,uri,")
    assert [line.split(",")[0].removeprefix(f"{tmp_path}/queries/") for line in lines[1:]] == [
        "0.jpg", "0.jpg", "1.jpg", "1.jpg",
    ]  # fmt: skip
    assert imgvec(*words, "-o", "paths").stdout.splitlines() == [hit["uri"] for hit in first["hits"] + second["hits"]]
    assert json.loads(imgvec("search", "-c", "asked", "--queries", tmp_path / "queries" / "*.png", "-o", "json",
                             status=1).stdout or "[]") == []  # fmt: skip
    said = imgvec(*words, "--like", "id:x", status=2)
    assert "--queries takes the place of the other queries" in said.stderr
