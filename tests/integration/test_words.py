"""Words of a text field, ranked by BM25 and fused with vectors: against exact NumPy on Milvus Lite."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from pictures import picture
from rows import id_of, numbered

import imgvec
from imgvec import Hybrid, ImageCollection, Part, StoredId, Words, field
from imgvec.cli import main
from imgvec.errors import FilterError, QueryError, UnsupportedByBackend
from imgvec.indexes.scores import true_scores
from imgvec.vectors import Vectors

ROWS = 240
WORDS = [f"w{i}" for i in range(30)]
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {
        "caption": {"type": "VARCHAR", "max_length": 500, "default": "", "bm25": True, "match": True},
        "album": {"type": "VARCHAR", "default": ""},
    },
    "index": {"cpu": {"type": "FLAT"}},
}


@cache
def captions() -> Mapping[str, str]:
    """By id; some are empty, and every third is its predecessor's, so that scores are equal."""
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(WORDS, rng.integers(0, 9))) for _ in range(ROWS)]
    texts[2::3] = texts[1::3]
    return {id_of(i): text for i, text in enumerate(texts)}


@cache
def vectors() -> Vectors:
    made = np.random.default_rng(4).standard_normal((ROWS, 16)).astype(np.float32)
    unit: Vectors = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def bm25(texts: Mapping[str, str], words: str) -> dict[str, float]:
    """By id, above 0: the formula with Milvus Lite's constants, and Lucene's idf."""
    k1, b = 1.5, 0.75
    tokens = {id_: text.lower().split() for id_, text in texts.items()}
    mean = sum(map(len, tokens.values())) / len(tokens)
    scores = dict.fromkeys(tokens, 0.0)
    for word in words.lower().split():
        having = sum(word in each for each in tokens.values())
        idf = math.log(1 + (len(tokens) - having + 0.5) / (having + 0.5))
        for id_, each in tokens.items():
            often = each.count(word)
            scores[id_] += idf * often * (k1 + 1) / (often + k1 * (1 - b + b * len(each) / mean))
    return {id_: score for id_, score in scores.items() if score > 0}


def ranked(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda id_: (-round(scores[id_], 5), id_))


def made(folder: Path) -> ImageCollection:
    uri = str(folder / "photos.db")
    collection = ImageCollection.create("photos", definition=DEFINITION, uri=uri, encoder=FakeEncoder())
    rows = [numbered(i, caption=captions()[id_of(i)], album="sea" if i % 4 else "hills") for i in range(ROWS)]
    collection.store.upsert(rows, vectors())
    return collection


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    """Which no test changes."""
    with made(tmp_path_factory.mktemp("words")) as collection:
        yield collection


def by_words(photos: ImageCollection, words: str, **options: Any) -> dict[str, float]:
    answer = photos.search(Hybrid([Words(words, "caption")], "weights"), limit=200, **options)
    assert [hit.id for hit in answer] == [each.id for each in sorted(answer, key=lambda hit: (-hit.score, hit.id))]
    return {hit.id: hit.score for hit in answer}


def test_scores_are_bm25s(photos: ImageCollection) -> None:
    for words in ("w1", "W1 w2 w29", "w3 nothing", "nothing at all"):
        assert by_words(photos, words) == pytest.approx(bm25(captions(), words), abs=1e-4)


def test_words_filter(photos: ImageCollection) -> None:
    """Without regard to case, and no part of a word is one."""
    texts = {id_: set(text.split()) for id_, text in captions().items()}
    caption = field("caption")
    for where, holds in (
        (caption.has_any_word("W1 w29 nothing"), lambda had: bool(had & {"w1", "w29"})),
        (caption.has_all_words(" w1  W2"), lambda had: {"w1", "w2"} <= had),
        (caption.has_all_words("w1-w2 &"), lambda had: {"w1", "w2"} <= had),
        (~caption.has_any_word("w1 w2"), lambda had: not had & {"w1", "w2"}),
        (caption.has_any_word("w"), lambda had: False),
        (
            (caption.has_any_word("w3") | caption.has_all_words("w4")) & ~caption.has_any_word("w5"),
            lambda had: bool(had & {"w3", "w4"}) and "w5" not in had,
        ),
    ):
        assert photos.count(where) == sum(map(holds, texts.values())), where
    with pytest.raises(UnsupportedByBackend, match=r"no phrase_match .*, which Milvus has from 2\.5\.17"):
        photos.count(caption.has_phrase("w1 w2"))
    with pytest.raises(FilterError, match="declared with match: true"):
        photos.count(field("album").has_any_word("hills"))


def test_a_filter_changes_which_rows_come_and_not_their_scores(photos: ImageCollection) -> None:
    """Milvus Lite itself takes a word's rarity from the rows that match."""
    every = bm25(captions(), "w1 w2")
    found = by_words(photos, "w1 w2", where=field("album") == "hills")
    assert found == pytest.approx({id_: s for id_, s in every.items() if int(id_, 16) % 4 == 0}, abs=1e-4)
    answer = photos.search(
        Hybrid([Words("w1 w2", "caption")]), where="album == 'hills'", limit=3, output_fields=["caption"]
    )
    assert [hit.fields["caption"] for hit in answer] == [captions()[hit.id] for hit in answer]


def test_words_follow_what_is_written_and_deleted_and_stay(tmp_path: Path) -> None:
    photos = made(tmp_path)
    photos.delete([id_of(i) for i in range(0, ROWS, 5)])
    changed = {id_of(1): "w1 w1 new", id_of(2): ""}
    rows = [numbered(i, caption=changed[id_of(i)], album="sea") for i in (1, 2)]
    photos.store.upsert(rows, vectors()[[1, 2]])
    texts = {id_: changed.get(id_, text) for id_, text in captions().items() if int(id_, 16) % 5}
    wanted = bm25(texts, "w1 new")
    assert by_words(photos, "w1 new") == pytest.approx(wanted, abs=1e-4)
    imgvec.build_index(photos, "HNSW", {"M": 8, "efConstruction": 40})
    photos.close()
    with ImageCollection.open("photos", uri=str(tmp_path / "photos.db"), encoder=FakeEncoder()) as opened:
        assert by_words(opened, "w1 new") == pytest.approx(wanted, abs=1e-4)
        assert "caption_bm25" not in next(iter(opened.get([id_of(1)]).values()))


def fused(fusion: str, words: str, row: int, depth: int, where: Callable[[int], bool]) -> dict[str, float]:
    """0.5 by the vector of a row and 2 by words, of the rows that match."""
    dense = {id_of(i): float(s) for i, s in enumerate(true_scores("COSINE", vectors()[row], vectors())) if where(i)}
    sparse = {id_: score for id_, score in bm25(captions(), words).items() if where(int(id_, 16))}
    first, second = (ranked(each)[:depth] for each in (dense, sparse))
    scores = dict.fromkeys([*first, *second], 0.0)
    if fusion == "weights":
        return {id_: 0.5 * dense[id_] + 2 * sparse.get(id_, 0.0) for id_ in scores}
    if fusion == "calibrated":
        least, most = min(dense[id_] for id_ in scores), max(dense[id_] for id_ in scores)
        best = max(sparse.get(id_, 0.0) for id_ in scores)
        return {id_: 0.5 * (dense[id_] - least) / (most - least) + 2 * sparse.get(id_, 0.0) / best for id_ in scores}
    for weight, ids, by in ((0.5, first, dense), (2.0, second, sparse)):
        for id_ in ids:
            scores[id_] += weight / (60 + 1 + sum(by[other] > by[id_] + 1e-5 for other in ids))
    return scores


@pytest.mark.parametrize("fusion", ["rrf", "weights", "calibrated"])
@pytest.mark.parametrize("depth", [30, 200])
def test_words_and_a_vector_are_fused(photos: ImageCollection, fusion: str, depth: int) -> None:
    question = Hybrid([Part(StoredId(id_of(7)), weight=0.5), Words("w1 w2", "caption", 2)], fusion)  # type: ignore[arg-type]
    for where, matches in ((None, lambda _: True), (field("album") == "sea", lambda i: i % 4 != 0)):
        answer = photos.search(question, where=where, limit=25, candidates=depth)
        wanted = fused(fusion, "w1 w2", 7, depth, matches)
        expected = sorted(wanted.values(), reverse=True)[:25]
        np.testing.assert_allclose([hit.score for hit in answer], expected, atol=1e-6 if fusion == "rrf" else 2e-4)
        for hit in answer:
            assert hit.score == pytest.approx(wanted[hit.id], abs=2e-4)
    standing = answer.standings[answer[0].id][1]
    assert standing is not None
    assert standing.score == pytest.approx(bm25(captions(), "w1 w2")[answer[0].id], abs=1e-4)


def test_captions_come_with_the_metadata_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    said = ["a red dress", "a blue dress, Dresses", "the beach at night"]
    for seed in range(len(said)):
        picture(seed).save(folder / f"{seed}.png")
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "caption"], *([f"pictures/{i}.png", text] for i, text in enumerate(said))])
    uri = str(tmp_path / "photos.db")
    with ImageCollection.create("photos", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as photos:
        assert photos.ingest(folder, metadata=tmp_path / "captions.csv").written == 3
        answer = photos.search(Hybrid([Words("DRESS", "caption")]))
        assert [Path(hit.uri).name for hit in answer] == ["0.png", "1.png"]
        assert answer.shortfall is not None
        assert (answer.seconds.get("encode"), answer.shortfall.missing) == (None, 8)


def test_what_is_refused(photos: ImageCollection) -> None:
    with pytest.raises(
        QueryError, match=r"no words of 'album' to search by \(fields declared with bm25: true: caption"
    ):
        photos.search(Hybrid([Words("w1", "album")]))
    with pytest.raises(QueryError, match="no words of 'nowhere'"):
        photos.store.search_words(["w1"], "nowhere", limit=1)


def test_the_command(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.cli.search.opened", lambda *_: nullcontext(photos))

    def shown(*words: str) -> list[str]:
        done = CliRunner().invoke(main, ["search", "-c", "photos", "-o", "json", *words])
        assert done.exit_code == 0, done.output
        return [hit["id"] for hit in json.loads(done.stdout)]

    assert shown("--words", "caption=w1 w2") == list(by_words(photos, "w1 w2"))[:10]
    both = Hybrid([Part(StoredId(id_of(7))), Words("w1 w2", "caption", 2)])
    assert shown(f"id:{id_of(7)}", "--words", "caption:2=w1 w2") == [hit.id for hit in photos.search(both)]
    for words, said in (
        (["--words", "red"], "is not FIELD=WORDS"),
        (["--by", "vector", "--words", "caption=w1"], "Give QUERY"),
    ):
        done = CliRunner().invoke(main, ["search", "-c", "photos", *words])
        assert (done.exit_code, said in done.stderr) == (2, True)
