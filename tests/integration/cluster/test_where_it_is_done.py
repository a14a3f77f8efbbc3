"""Where each form of question and each option is seen to on each backend, as tests/benchmarks/README.md tells it.

Each is asked once. `Milvus` is said where the requests that pymilvus was given carry it, `imgvec` where the profile of
the answer names it, or its rows come from no further request; `refused` where that was said before any request. Each
answer is held against exact NumPy, on real vectors where IMGVEC_TEST_DATA has them.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answer_oracle import answered, check_up_to_ties, mixed, reciprocal_ranks, recommended, similarity
from fakes import FakeEncoder
from pictures import picture
from PIL import Image
from replicated import ON_A_CLUSTER
from rows import id_of, numbered

import imgvec
from imgvec import (
    Answer,
    Crop,
    Hybrid,
    ImageCollection,
    ImageFile,
    Like,
    Part,
    StoredId,
    Text,
    VectorQuery,
    Words,
    dynamic,
)
from imgvec import field as column
from imgvec.errors import UnsupportedByBackend
from imgvec.filters import Filter
from imgvec.search.feedback import ALPHA, BETA, GAMMA
from imgvec.search.recommending import Recommendation
from imgvec.vectors import Vectors

README = Path(__file__).parents[2] / "benchmarks" / "README.md"
COLUMNS = {"lite": 0, "server": 1, "container": 1, "cluster": 2}
ROWS, DIM = 300, 384
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
        "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 16, "default": []},
        "rating": {"type": "INT32", "default": 0},
        "level": {"type": "INT32", "default": 0},
        "exif": {"type": "JSON", "default": {}},
    },
    "index": {"cpu": {"type": "FLAT"}},
}
SEVERAL = {"texture": {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}}}
CAPTIONS = {"caption": {"type": "VARCHAR", "max_length": 100, "default": "", "bm25": True}}


def _made() -> Vectors:
    file = Path(os.environ.get("IMGVEC_TEST_DATA", "/nowhere")) / "vectors_cifar10.npy"
    real = file.exists()
    some = np.load(file, mmap_mode="r")[:ROWS] if real else np.random.default_rng(0).standard_normal((ROWS, DIM))
    wide = np.asarray(some, np.float64)
    vectors: Vectors = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    return vectors


VECTORS = _made()
LIKES = VECTORS.astype(np.float64) @ VECTORS.T.astype(np.float64)
FIELDS: list[dict[str, Any]] = [
    {
        "album": f"album{i % 7}/{i % 3}",
        "tags": [f"t{i % 3}", f"u{i % 11}"],
        "rating": i * 37 % 101,
        "level": i * 53 % 101,
        "exif": {"iso": 100 * (i % 5)},
        "colour": f"c{i % 4}",
    }
    for i in range(ROWS)
]
FILTERS: dict[str, tuple[Filter | str, Callable[[Mapping[str, Any]], bool]]] = {
    "filter: comparisons, `in`, `between`": (
        column("album").in_(["album1/0", "album2/1"]) | column("rating").between(20, 40),
        lambda row: row["album"] in ("album1/0", "album2/1") or 20 <= row["rating"] <= 40,
    ),
    "filter: the beginning of a text": (
        column("album").has_prefix("album1/"),
        lambda row: row["album"].startswith("album1/"),
    ),
    "filter: the middle or end of a text": (column("album").has_infix("1/"), lambda row: "1/" in row["album"]),
    "filter: lists": (
        column("tags").contains_any(["t1", "u5"]) & (column("tags").length() == 2),
        lambda row: bool({"t1", "u5"} & set(row["tags"])),
    ),
    "filter: JSON, keys that are not declared": (
        (column("exif")["iso"] >= 300) & (dynamic("colour") != "c1"),
        lambda row: row["exif"]["iso"] >= 300 and row["colour"] != "c1",
    ),
    "filter: two fields": (column("rating") < column("level"), lambda row: row["rating"] < row["level"]),
    "filter: arithmetic": (column("rating") * 2 + 1 < 50, lambda row: row["rating"] * 2 + 1 < 50),
    "filter: remainders": (column("rating") % 4 == 1, lambda row: row["rating"] % 4 == 1),
    "filter: a Milvus expression": ("rating > 50 and not (rating > 90)", lambda row: 50 < row["rating"] <= 90),
}


@dataclass
class Requests:
    """What pymilvus was asked for."""

    searches: list[dict[str, Any]] = field(default_factory=list)
    queries: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Asked:
    """A collection, and what it is asked."""

    photos: ImageCollection
    requests: Requests
    where: dict[str, str] = field(default_factory=dict)
    """What was seen so far: by form or option."""

    def see(
        self,
        name: str,
        ask: Callable[[], Sequence[Answer]],
        sent: Callable[[dict[str, Any]], bool],
        scores: Sequence[Any] = (),
        *,
        option: str | None = None,
        among: Sequence[int] | None = None,
        **asked: Any,
    ) -> Sequence[Answer]:
        """Ask, check the answers by the score of each row, and note who saw to it.

        `sent` says of a search whether the question was in it, and `option` is what the profile calls it.
        """
        try:
            answers = self._whole(ask)
        except UnsupportedByBackend:
            assert self.requests.searches + self.requests.queries == []
            self.where[name] = "refused"
            return []
        rows = [{"id": id_of(i), **fields} for i, fields in enumerate(FIELDS)]
        for answer, each in zip(answers, scores, strict=True):
            expected = answered(rows, each, LIKES, among=among, **asked)
            assert expected
            check_up_to_ties(answer, expected, dict(zip(map(id_of, range(ROWS)), each, strict=True)), asked)
        here = any(
            option in answer.profile.client or (isinstance(answer, Recommendation) and answer.compared is not None)
            for answer in answers
        )
        by = [who for who, does in (("Milvus", any(map(sent, self.requests.searches))), ("imgvec", here)) if does]
        self.where[name] = ", ".join(by)
        return answers

    def _whole(self, ask: Callable[[], Sequence[Answer]]) -> Sequence[Answer]:
        """Answers that no change of a server's query nodes can have taken rows from."""
        for _ in range(60):
            self.requests.searches.clear()
            self.requests.queries.clear()
            answers = ask()
            if all(answer.complete for answer in answers):
                return answers
            time.sleep(2)
        raise AssertionError("no answer is complete")


def _carries(*vectors: Any) -> Callable[[dict[str, Any]], bool]:
    """Whether a search is by these vectors."""

    def carries(request: dict[str, Any]) -> bool:
        data = [np.frombuffer(each, np.float32) if isinstance(each, bytes) else each for each in request["data"]]
        return len(data) == len(vectors) and bool(np.allclose(np.stack(data), np.stack(vectors), atol=1e-6))

    return carries


def _params(request: dict[str, Any]) -> dict[str, Any]:
    return {**request.get("search_params", {}), **request.get("search_params", {}).get("params", {})}


def _forms(asked: Asked, folder: Path) -> None:
    photos, encoder = asked.photos, FakeEncoder(dim=DIM, text=True)
    file = folder / "query.png"
    picture(5).save(file)
    with Image.open(file) as opened:
        whole, part = encoder.encode_images([opened.convert("RGB"), opened.convert("RGB").crop((8, 8, 40, 40))])
    [words] = encoder.encode_texts(["a red shoe"])
    one, other = VECTORS[7], VECTORS[9]

    def form(name: str, form: Any, vector: Any) -> None:
        scores = [similarity("COSINE", VECTORS, vector)]
        asked.see(name, lambda: [photos.search(form)], _carries(vector), scores, option="fusion")

    form("image", ImageFile(file), whole)
    form("crop", Crop(ImageFile(file), (8, 8, 40, 40)), part)
    form("text", Text("a red shoe"), words)
    form("stored row", StoredId(id_of(7)), one)
    form("vector", VectorQuery(other), other)
    mix = mixed([(one, 1), (other, -0.5), (words, 0.25)])
    parts = [(StoredId(id_of(7)), 1), (VectorQuery(other), -0.5), (Text("a red shoe"), 0.25)]
    form("mix: like, unlike, text and image", Like(parts), mix)
    several = VECTORS[20:30]
    asked.see(
        "several queries",
        lambda: photos.search_many([VectorQuery(each) for each in several]),
        _carries(*several),
        [similarity("COSINE", VECTORS, each) for each in several],
    )
    pairs = [[(VECTORS[i], 1.0) for i in some] for some in ((7, 9), (12,))]
    for strategy in ("average", "sum", "best"):
        # the mean of two times two, less one, has the direction of their sum less that one
        mean = mixed([(one + other - VECTORS[12], 1)])
        liked, disliked = [StoredId(id_of(7)), VectorQuery(other)], [StoredId(id_of(12))]
        recommend = partial(imgvec.recommend, photos, liked, disliked, strategy=strategy)
        asked.see(
            f"recommend: {strategy}",
            lambda recommend=recommend: [recommend()],
            _carries(one, other) if strategy == "best" else _carries(mean),
            [recommended("COSINE", strategy, VECTORS, *pairs)],
            among=[i for i in range(ROWS) if i not in (7, 12)],
        )
    first = photos.search(VectorQuery(other))
    moved = mixed([(other, ALPHA), (one, BETA), (VECTORS[12], -GAMMA)])
    asked.see(
        "feedback",
        lambda: [imgvec.refine(photos, first, id_of(7), id_of(12))],
        _carries(moved),
        [similarity("COSINE", VECTORS, moved)],
        among=[i for i in range(ROWS) if i != 12],
    )
    asked.see(
        "hybrid: several questions",
        lambda: [photos.search(Hybrid([Part(VectorQuery(one)), Part(VectorQuery(other))]))],
        lambda request: _carries(one)(request) or _carries(other)(request),
        [_fused([similarity("COSINE", VECTORS, each) for each in (one, other)])],
        option="fusion",
    )


def _fused(every: Sequence[Any]) -> Any:
    """(n,) by reciprocal ranks among the 200 best of each."""
    best = [sorted(range(ROWS), key=lambda i, scores=scores: (-scores[i], i))[:200] for scores in every]
    lists = [{id_of(i): scores[i] for i in some if scores[i]} for scores, some in zip(every, best, strict=True)]
    fused = reciprocal_ranks(lists, [1.0] * len(lists))
    return np.array([fused.get(id_of(i), 0.0) for i in range(ROWS)])


def _options(asked: Asked) -> None:
    photos, query = asked.photos, VECTORS[11]
    scores = similarity("COSINE", VECTORS, query)

    def option(
        name: str, sent: Callable[[dict[str, Any]], bool], *, called: str | None = None, **options: Any
    ) -> Sequence[Answer]:
        ask = partial(photos.search, VectorQuery(query), **options)
        return asked.see(name, lambda: [ask()], sent, [scores], option=called, **options)

    option("`limit`", lambda request: request["limit"] == 8, limit=7)  # one more
    option("`offset`", lambda request: bool(request.get("offset")), called="offset", offset=5)
    middle = float(np.mean(np.sort(scores)[-9:-7]))
    for name, limit in (("`min_score`", 30), ("`min_score`, from a `limit` of 1,000", 1000)):
        option(name, lambda request: "radius" in _params(request), called="min_score", min_score=middle, limit=limit)

    def grouped(request: dict[str, Any]) -> bool:
        return any("group" in key for key in request)

    option("`group_by`", grouped, called="group_by", group_by=["album"], limit=4)
    option("`group_by` several", grouped, called="group_by", group_by=["album", "colour"], limit=4)
    option("`group_size`, `strict_group_size`", grouped, called="group_by", group_by=["album"], group_size=3,
           strict_group_size=True, limit=4)  # fmt: skip
    option("`diversity`", lambda _: False, called="diversity", diversity=0.6)
    option("`collapse`", lambda _: False, called="collapse", collapse=0.6)
    option("`order_by`", lambda request: any("order" in key for key in request), called="order_by", order_by="rating",
           candidates=30)  # fmt: skip
    [answer] = option("`facet`", lambda request: any("aggregation" in key for key in request), called="facet",
                      facet=["album", "colour"])  # fmt: skip
    for name, facet in answer.facets.items():
        assert (facet.counts, facet.over) == (Counter(row[name] for row in FIELDS), "rows")
    [answer] = option("`output_fields`", lambda request: "rating" in request["output_fields"], output_fields=["rating"])
    assert [hit.fields for hit in answer] == [{"rating": FIELDS[int(hit.id, 16)]["rating"]} for hit in answer]
    option("`consistency_level`", lambda request: request["consistency_level"] == "Strong", consistency_level="Strong")
    for name, (where, matches) in FILTERS.items():
        among = [i for i, row in enumerate(FIELDS) if matches(row)]
        asked.see(
            name,
            lambda where=where: [photos.search(VectorQuery(query), where=where)],
            lambda request: bool(request["filter"]),
            [scores],
            among=among,
        )
    asked.requests.searches.clear()
    pages = photos.pages(VectorQuery(query), size=30)
    ranked = len(asked.requests.searches)
    hits = [hit for page in pages for hit in page]
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    assert len({hit.id for hit in hits}) == ROWS
    assert ranked == len(asked.requests.searches) > 0
    assert not any(request.get("offset") for request in asked.requests.queries)
    asked.where["pages"] = "imgvec"


def _of_its_own(asked: Asked, uri: str) -> Iterator[tuple[str, ImageCollection]]:
    """What wants a collection of its own: several vectors, and words; refused before anything is made."""
    before = asked.photos.handle.connection.collections()
    for name, vectors, fields in (("hybrid: several vectors", SEVERAL, {}), ("hybrid: words", {}, CAPTIONS)):
        definition = {**DEFINITION, "fields": {**DEFINITION["fields"], **fields}}
        encoders = {"texture": FakeEncoder(dim=DIM, seed=1)} if vectors else {}
        if vectors:
            definition["vectors"] = vectors
        try:
            made = ImageCollection.create(
                "further", definition=definition, uri=uri, encoder=FakeEncoder(dim=DIM), encoders=encoders
            )
        except UnsupportedByBackend:
            assert asked.photos.handle.connection.collections() == before
            asked.where[name] = "refused"
            continue
        with made:
            captions = [{"caption": "sea" if i == 3 else "hills"} if fields else {} for i in range(ROWS)]
            rows = [numbered(i, **FIELDS[i], **captions[i]) for i in range(ROWS)]
            made.store.upsert(rows, VECTORS, dict.fromkeys(encoders, VECTORS[::-1].copy()))
            yield name, made
            made.drop()


def _hybrids(asked: Asked, uri: str) -> None:
    query = VECTORS[7]
    first, second = (similarity("COSINE", vectors, query) for vectors in (VECTORS, VECTORS[::-1]))
    worded = np.array([float(i == 3) for i in range(ROWS)])
    for name, made in _of_its_own(asked, uri):
        part = Part(VectorQuery(query))
        by_words = "words" in name
        other = Words("sea", "caption") if by_words else Part(VectorQuery(query), vector="texture")
        asked.see(
            name,
            lambda made=made, parts=(part, other): [made.search(Hybrid(parts))],
            # as vectors the rows are in another field, and as words the question is one
            lambda request: request["anns_field"] != "vector",
            [_fused([first, worded if by_words else second])],
            option="fusion",
        )


def _table() -> dict[str, list[str]]:
    """By form or option, what README says of each backend."""
    section = README.read_text(encoding="utf-8").split("\n## Where each question is answered\n")[1].split("\n## ")[0]
    lines = [re.split(r" *\| *", line.strip("| ")) for line in section.splitlines() if line.startswith("| ")]
    return {name: cells for name, *cells in lines[1:] if not name.startswith("-")}


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    from pymilvus import MilvusClient

    noted = Requests()
    search, query = MilvusClient.search, MilvusClient.query

    def searching(client: Any, name: str, *given: Any, **asked: Any) -> Any:
        noted.searches.append(asked)
        return search(client, name, *given, **asked)

    def querying(client: Any, name: str, *given: Any, **asked: Any) -> Any:
        noted.queries.append(asked)
        return query(client, name, *given, **asked)

    monkeypatch.setattr(MilvusClient, "search", searching)
    monkeypatch.setattr(MilvusClient, "query", querying)
    return noted


def test_each_is_done_where_the_table_says(
    any_backend_uri: str, tmp_path: Path, requests: Requests, request: pytest.FixtureRequest
) -> None:
    backend = next((name for name in COLUMNS if name != "lite" and request.node.get_closest_marker(name)), "lite")
    definition = DEFINITION | (ON_A_CLUSTER if backend == "cluster" else {})
    encoder = FakeEncoder(dim=DIM, text=True)
    with ImageCollection.create("done", definition=definition, uri=any_backend_uri, encoder=encoder) as photos:
        photos.store.upsert([numbered(i, **fields) for i, fields in enumerate(FIELDS)], VECTORS)
        asked = Asked(photos, requests)
        _forms(asked, tmp_path)
        _options(asked)
        _hybrids(asked, any_backend_uri)
    table = _table()
    assert asked.where == {name: cells[COLUMNS[backend]] for name, cells in table.items()}
