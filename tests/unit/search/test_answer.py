"""An answer is a sequence of hits that says what was asked and what the hits are worth."""

from __future__ import annotations

import base64
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture
from PIL import Image
from typing_extensions import Unpack

from imgvec import Answer, Hit, Pixels, StoredId, Text, VectorQuery, field
from imgvec.errors import BackendError, SourceError, UnreadableImage
from imgvec.filters import FieldType
from imgvec.images.edits import thumbnail
from imgvec.options import settled
from imgvec.search import shown
from imgvec.search.answer import Group, Shortfall, Verdict
from imgvec.search.encoding import Reopen
from imgvec.search.request import Request, SearchOptions
from imgvec.search.searcher import Searcher
from imgvec.store import NearestOf
from imgvec.stored import Nearest, Reach
from imgvec.vectors import Vectors


def filled(rows: int = 6) -> FakeStore:
    store = FakeStore()
    vectors = np.zeros((rows, 16), np.float32)
    for i in range(rows):
        vectors[i, :2] = np.cos(i / 10), np.sin(i / 10)
    store.upsert([{"id": f"{i}", "uri": f"/there/{i}.jpg", "album": f"a{i % 2}"} for i in range(rows)], vectors)
    return store


def searcher(store: FakeStore, reopen: Reopen | None = None, **options: Any) -> Searcher:
    return Searcher(store, lambda _: FakeEncoder(), max_pixels=10**7, max_bytes=10**7, reopen=reopen, **options)


def ask(store: FakeStore, reopen: Reopen | None = None, **options: Any) -> Answer:
    return searcher(store, reopen).search([StoredId("0")], **options)[0]


class Changing(FakeStore):
    """Does not vouch for the second of its answers."""

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> list[Nearest]:
        found = super().search(vectors, **asked)
        return [Nearest(each, complete=i != 1) for i, each in enumerate(found)]


@pytest.mark.parametrize("most_views", [None, 3])
def test_an_answer_that_may_lack_rows_says_so(most_views: int | None) -> None:
    store = filled()
    place = {"view": "whole", "box": [], "at_ms": 0}
    changing = Changing(rows={id_: {**row, "image_id": id_, **place} for id_, row in store.rows.items()})
    changing.most_views = most_views
    changing.fields = {**store.fields, **dict.fromkeys(("image_id", *place), FieldType("VARCHAR"))}
    one, two, three = searcher(changing).search([StoredId(each) for each in "012"], limit=2)
    assert (one.complete, two.complete, three.complete) == (True, False, True)
    assert (one.to_dict()["complete"], two.to_dict()["complete"]) == (True, False)
    assert "rows may be missing" in shown.html(two)
    assert "rows may be missing" not in shown.html(one)


def test_it_is_a_sequence_of_hits() -> None:
    answer = ask(filled(), limit=3)
    assert isinstance(answer, Sequence)
    assert len(answer) == 3
    assert [hit.id for hit in answer] == ["0", "1", "2"]
    assert answer[0] is answer.hits[0]
    assert answer[-1].id == "2"
    assert answer[1:] == answer.hits[1:]
    assert answer[0] in answer
    assert answer == ask(filled(), limit=3)
    assert answer != ask(filled(), limit=2)
    assert bool(ask(filled(), min_score=2)) is False
    assert repr(answer) == "<Answer: 3 hits, best 1.0000, for StoredId(id='0')>"


def test_a_hit_of_a_whole_picture() -> None:
    hit = ask(filled(), limit=1)[0]
    assert (hit.image_id, hit.view, hit.box, hit.probability) == ("0", "whole", None, None)
    assert hit.to_dict() == {
        "id": "0", "score": 1.0, "distance": 1.0, "uri": "/there/0.jpg", "image_id": "0", "view": "whole", "box": None,
        "at_ms": None, "probability": None, "p_value": None, "fields": {"album": "a0"},
    }  # fmt: skip
    face = Hit("v", 0.5, "u", {}, 0.5, image_id="p", view="face", box=(1, 2, 3, 4), probability=0.25).to_dict()
    assert (face["image_id"], face["view"], face["box"], face["probability"]) == ("p", "face", [1, 2, 3, 4], 0.25)


def test_it_carries_what_was_asked() -> None:
    store = filled()
    form = Text("x")
    engine = Searcher(
        store, lambda _: FakeEncoder(text=True), max_pixels=1, max_bytes=1, defaults=lambda _: {"ef": 64, "seed": 1}
    )
    [answer] = engine.search([form], limit=2, where=field("album") == "a0", params={"ef": 128})
    assert answer.request.form is form
    assert answer.request.options["limit"] == 2
    assert answer.request.options["offset"] == 0
    assert answer.request.options["params"] == {"ef": 128, "seed": 1}
    assert answer.request.expression == 'album == "a0"'
    assert answer.request.to_dict() == {
        "query": {"text": "x"}, "limit": 2, "offset": 0, "params": {"ef": 128, "seed": 1}, "where": 'album == "a0"',
        "vector": "vector", "views": False, "group_size": 1, "strict_group_size": False, "candidates": 200,
        "false_match_rate": 0.01, "only_matches": False,
    }  # fmt: skip


def test_the_store_is_asked_with_the_params_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = filled(), list[dict[str, Any]]()
    search = store.search

    def watched(vectors: Any, **given: Any) -> Any:
        asked.append(given)
        return search(vectors, **given)

    monkeypatch.setattr(store, "search", watched)
    engine = Searcher(store, lambda _: FakeEncoder(), max_pixels=1, max_bytes=1, defaults=lambda _: {"ef": 64})
    engine.search([StoredId("0")], params={"nprobe": 8}, consistency_level="Strong", limit=3, offset=2)
    assert asked[0]["params"] == {"ef": 64, "nprobe": 8}
    # one more than is needed: it tells whether the last score goes on
    assert (asked[0]["consistency_level"], asked[0]["limit"]) == ("Strong", 6)


class TestShortfall:
    def test_none_where_there_are_as_many_hits_as_asked_for(self) -> None:
        assert ask(filled(), limit=6).shortfall is None
        assert ask(filled(), limit=2, offset=4).shortfall is None

    def test_no_more_rows(self) -> None:
        assert ask(filled(), limit=10).shortfall == Shortfall(4, "rows")
        assert ask(filled(), limit=3, offset=5).shortfall == Shortfall(2, "rows")
        assert ask(filled(), limit=3, offset=50).shortfall == Shortfall(3, "rows")

    def test_cut_by_min_score(self) -> None:
        answer = ask(filled(), limit=6, min_score=0.97)
        assert answer.shortfall == Shortfall(6 - len(answer), "min_score")
        # nothing was cut, there was no more
        assert ask(filled(), limit=10, min_score=0.0).shortfall == Shortfall(4, "rows")

    def test_an_index_that_did_not_look_at_enough_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = filled()
        search = store.search
        monkeypatch.setattr(store, "search", lambda vectors, **given: [hits[:2] for hits in search(vectors, **given)])
        short = ask(store, limit=5).shortfall
        assert short == Shortfall(3, "index")
        assert "3 fewer than asked for: more rows match, but the index did not reach them" in str(short)

    def test_rows_are_counted_when_it_is_asked_for_and_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store, counted = filled(), list[str]()

        def count(expression: str) -> int:
            counted.append(expression)
            return 6

        monkeypatch.setattr(store, "count", count)
        first, second = searcher(store).search([StoredId("0"), StoredId("1")], limit=9, where="album == 'x'")
        assert counted == []
        assert first.shortfall == second.shortfall == first.shortfall == Shortfall(3, "rows")
        assert counted == ["album == 'x'"]

    def test_a_backend_that_cannot_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = filled()

        def fail(expression: str) -> int:
            raise BackendError("away")

        monkeypatch.setattr(store, "count", fail)
        short = ask(store, limit=9).shortfall
        assert short == Shortfall(3, None)
        assert "is unknown" in str(short)


def test_seconds_by_stage() -> None:
    engine = searcher(filled())
    first, second = engine.search([StoredId("0"), Pixels(picture(1))])
    assert list(first.seconds) == ["lookup", "load", "decode", "encode", "search", "total"]
    assert first.seconds == second.seconds
    assert 0 < sum(value for stage, value in first.seconds.items() if stage != "total") <= first.seconds["total"]
    assert list(engine.search([VectorQuery(np.ones(16))])[0].seconds) == ["search", "total"]


def test_as_json() -> None:
    answer = ask(filled(2), limit=3)
    data = json.loads(json.dumps(answer.to_dict()))
    assert data["request"] == {
        "query": {"id": "0"},
        "limit": 3,
        "offset": 0,
        "params": {},
        "vector": "vector",
        "views": False,
        "group_size": 1,
        "strict_group_size": False,
        "candidates": 200,
        "false_match_rate": 0.01,
        "only_matches": False,
    }
    assert [hit["id"] for hit in data["hits"]] == ["0", "1"]
    assert data["shortfall"] == {"missing": 1, "reason": "rows", "wider": False}
    assert (data["groups"], data["verdict"]) == ([], None)
    assert data["seconds"].keys() == {"lookup", "search", "total"}
    whole = Answer(answer.request, answer.hits, (Group("a0", answer.hits[:1]),), Verdict(False, 0.01)).to_dict()
    assert whole["groups"] == [{"value": "a0", "hits": ["0"]}]
    assert whole["verdict"] == {
        "verdict": "no match", "match": False, "false_match_rate": 0.01, "p_value": None, "note": "",
    }  # fmt: skip


def test_hits_with_their_vectors() -> None:
    answer = ask(filled(2), output_fields=["vector"])
    assert answer[0].fields["vector"].shape == (16,)
    assert json.loads(json.dumps(answer.to_dict()))["hits"][0]["fields"]["vector"][0] == pytest.approx(1)
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer
    assert again[0] in answer
    assert again != ask(filled(1), output_fields=["vector"])
    assert len({*answer, *again}) == 2


def test_as_a_data_frame() -> None:
    pytest.importorskip("pandas")
    store = filled(3)
    store.rows["1"]["score"] = "mine"
    frame = ask(store, output_fields=["album", "score"]).to_pandas()
    assert list(frame.columns) == [
        "id", "score", "distance", "uri", "image_id", "view", "box", "at_ms", "probability", "p_value", "album",
        "fields.score",
    ]  # fmt: skip
    assert frame["id"].tolist() == ["0", "1", "2"]
    assert frame["score"].tolist()[0] == 1.0
    assert frame["fields.score"].tolist()[1] == "mine"
    assert frame["album"].tolist() == ["a0", "a1", "a0"]
    assert len(ask(store, min_score=2).to_pandas()) == 0


def test_it_travels_between_processes() -> None:
    answer = ask(filled(), reopen=lambda uri, *, hashed: b"")
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer
    assert again.shortfall == Shortfall(4, None)  # nobody to ask there
    assert "<img" not in again._repr_html_()
    assert answer.shortfall == Shortfall(4, "rows")
    assert pickle.loads(pickle.dumps(answer)).shortfall == Shortfall(4, "rows")


def pictures(seen: list[str]) -> Reopen:
    def reopen(uri: str, *, hashed: str | None) -> bytes:
        seen.append(uri)
        return thumbnail(picture(len(seen), (300, 200)), 300)

    return reopen


class TestNotebook:
    def test_pictures_are_inline(self) -> None:
        seen: list[str] = []
        html = ask(filled(3), pictures(seen))._repr_html_()
        assert html.count("<img ") == html.count("data:image/jpeg;base64,") == 3
        assert seen == ["/there/0.jpg", "/there/1.jpg", "/there/2.jpg"]
        assert 'title="/there/0.jpg"' in html
        assert "1.0000 0.jpg" in html
        assert "3 hits for id 0" in html
        assert "7 fewer than asked for" in html

    @pytest.mark.parametrize("error", [UnreadableImage("u", "missing"), SourceError("not kept"), OSError("gone")])
    def test_a_picture_that_cannot_be_opened_is_its_uri(self, error: Exception) -> None:
        def reopen(uri: str, *, hashed: str | None) -> bytes:
            raise error

        html = ask(filled(2), reopen)._repr_html_()
        assert "<img" not in html
        assert "/there/1.jpg" in html

    def test_without_a_way_to_open_pictures(self) -> None:
        html = ask(filled(2))._repr_html_()
        assert "<img" not in html
        assert "/there/1.jpg" in html

    def test_bytes_that_are_no_image(self) -> None:
        assert "<img" not in ask(filled(2), lambda uri, *, hashed: b"nothing")._repr_html_()

    def test_its_bytes_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shown, "MAX_BYTES", 20_000)
        html = ask(filled(40), pictures([]), limit=40)._repr_html_()
        assert 0 < html.count("<img") < shown.SHOWN
        assert len(html) < 20_000 + 10_000
        assert html.count("<figure") == shown.SHOWN
        assert f"showing the first {shown.SHOWN}" in html

    def test_so_is_the_time_for_opening_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shown, "SECONDS", -1.0)
        seen: list[str] = []
        assert "<img" not in ask(filled(2), pictures(seen))._repr_html_()
        assert seen == []

    def test_what_strangers_named_is_text(self) -> None:
        store = filled(1)
        store.rows["0"]["uri"] = '/<script>alert("x")</script>.jpg'
        html = ask(store)._repr_html_()
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
        hit = Hit("a", 0.5, "u", {}, 0.5)
        shy = Answer(Request(Text("<b>&"), settled(SearchOptions, {"limit": 1})), (hit,))._repr_html_()
        assert "<b>" not in shy

    def test_a_view_is_marked_in_its_picture(self) -> None:
        sizes = []

        def opened(row: Mapping[str, Any], side: int | None) -> Any:
            sizes.append(side)
            return Image.new("RGB", (320, 200))

        hit = Hit("a", 0.5, "u", {}, 0.5, view="face", box=(10, 10, 40, 50), probability=0.5)
        answer = Answer(Request(Text("x"), settled(SearchOptions, {"limit": 1})), (hit,), picture=opened)
        html = answer._repr_html_()
        assert sizes == [None]  # the box is in pixels of the whole picture
        shown = base64.b64decode(html.partition("base64,")[2].partition('"')[0])
        with Image.open(io.BytesIO(shown)) as small:
            red = np.asarray(small)[:, :, 0] > 128
        assert small.size == (160, 100)
        assert (red.any(0).nonzero()[0][[0, -1]].tolist(), red.any(1).nonzero()[0][[0, -1]].tolist()) == (
            [5, 19],
            [5, 24],
        )
        assert not red[9:21, 9:16].any()
        assert "0.5000, 50% u" in html
        assert html.count("<img") == 1


def test_options_are_keywords_of_the_methods(pictures: Path) -> None:
    import inspect

    from imgvec import ImageCollection

    for method in (ImageCollection.search, ImageCollection.search_many):
        assert {"limit", "offset", "where", "min_score", "params"} <= set(inspect.signature(method).parameters)
        assert "min_score: Leave out hits with a lower score" in (method.__doc__ or "")
    with pytest.raises(TypeError, match="did you mean 'limit'"):
        ask(filled(), limt=3)


def test_a_hit_that_is_not_there() -> None:
    [answer] = searcher(filled(0)).search([VectorQuery(np.ones(16))])
    with pytest.raises(IndexError, match=r"^there is no hit 0: the answer has 0 hits, and its shortfall says why$"):
        answer[0]
    assert list(answer) == []
    assert answer[:5] == ()


def test_the_profile_says_what_was_done_where() -> None:
    answer = ask(filled(), limit=2, offset=1, group_by="album", min_score=0.5, where="album != 'x'", order_by="album")
    profile = answer.profile
    assert profile.pushed == ("nearest rows", "where")
    assert profile.client == ("min_score", "group_by", "order_by", "offset")
    assert (profile.calls, profile.rows) == (1, 201)
    assert profile.seconds.keys() == {"lookup", "search", "after", "total"}
    assert profile.to_dict()["client"] == [*profile.client]
    assert str(profile).splitlines()[:3] == [
        "by Milvus: nearest rows, where",
        "by imgvec: min_score, group_by, order_by, offset",
        "asked for: 201 rows in 1 call",
    ]
    assert str(profile).splitlines()[3] == "looked at: what the index led to"
    assert ask(filled(), limit=2).profile.client == ()
    assert "by imgvec: nothing" in str(ask(filled(), limit=2).profile)


@pytest.mark.parametrize(
    ("reach", "said"),
    [
        (Reach(500, "every row", {"nprobe": 64}), "each of 500 matching rows, by nprobe=64"),
        (Reach(None, "every row", {"nprobe": 64}), "each matching row, by nprobe=64"),
        (Reach(1, "every row, here"), "each of 1 matching row, read and compared by imgvec"),
        (Reach(20_000), "what the index led to, of 20,000 matching rows"),
        (
            Reach(20_000, "index", {"ef": 4096}, before=1),
            "what the index led to, of 20,000 matching rows, by ef=4096; at first 1 row came, so it was searched wider",
        ),
    ],
)
def test_the_profile_says_what_was_looked_at(reach: Reach, said: str) -> None:
    class Reaching(FakeStore):
        def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> list[Nearest]:
            assert asked.get("thorough")
            return [Nearest(each, reach=reach) for each in super().search(vectors, **asked)]

    answer = ask(Reaching(rows=filled().rows), limit=2)
    assert answer.profile.reach == reach
    assert ("nearest rows" in answer.profile.client) is (reach.by == "every row, here")
    assert ("nearest rows" in answer.profile.pushed) is (reach.by != "every row, here")
    assert f"looked at: {said}" in str(answer.profile).splitlines()
    assert answer.profile.to_dict()["reach"] == {
        "matched": reach.matched, "by": reach.by, "params": reach.params, "before": reach.before
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "where", "said"),
    [
        (None, field("album") == "cats", None),
        ("album", field("album") == "cats", "those of the filter's album"),
        ("album", field("album") > "cats", "all, since no filter fixes album"),
        ("album", None, "all, since no filter fixes album"),
    ],
)
def test_the_profile_says_which_partitions_were_looked_at(key: str | None, where: Any, said: str | None) -> None:
    class Partitioned(FakeStore):
        def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> list[Nearest]:
            return [Nearest(each, reach=Reach(partitioned_by=key)) for each in super().search(vectors, **asked)]

    profile = ask(Partitioned(rows=filled().rows), limit=2, where=where).profile
    assert profile.partitions == profile.to_dict()["partitions"] == said
    assert (f"partition: {said}" in str(profile).splitlines()) is (said is not None)


def test_what_was_not_reached_even_by_a_wider_search_is_said() -> None:
    class Short(FakeStore):
        def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> list[Nearest]:
            reach = Reach(6, "index", {"ef": 4096}, before=1)
            return [Nearest(each[:2], reach=reach) for each in super().search(vectors, **asked)]

    short = ask(Short(rows=filled().rows), limit=5).shortfall
    assert short == Shortfall(3, "index", wider=True)
    assert str(short).startswith(
        "3 fewer than asked for: more rows match, but the index did not reach them, even by a "
    )
    assert short.to_dict() == {"missing": 3, "reason": "index", "wider": True}


def test_what_milvus_left_out_itself_is_below_min_score_and_not_missed_by_the_index() -> None:
    class Ranged(FakeStore):
        def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> list[Nearest]:
            least = asked.get("min_score")
            assert least is not None
            found = super().search(vectors, **asked)
            return [Nearest([row for row in each if row.score >= least], cut=True) for each in found]

    store = Ranged(rows=filled().rows)
    answer = ask(store, limit=6, min_score=0.97)
    assert answer.shortfall == Shortfall(6 - len(answer), "min_score")
    assert answer.profile.pushed == ("nearest rows", "min_score")
    assert answer.profile.client == ()
    assert ask(store, limit=7, min_score=-1).shortfall == Shortfall(1, "rows")
