"""What an evaluation and a comparison hold, what they ask of a collection, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_evaluate import Collection, at, noisy, results
from typing_extensions import Unpack

from imgvec.errors import FilterError, OptionError, QueryError
from imgvec.filters import FieldType, field
from imgvec.progress import Progress
from imgvec.quality import compare, evaluate, paired
from imgvec.quality.labels import LabelSets, given_labels, label_type, labels_of
from imgvec.search.answer import Answer
from imgvec.search.forms import Form
from imgvec.search.request import SearchOptions


class Watched(Collection):
    """Remembers how it was searched."""

    searched: list[dict[str, Any]]

    def search_many(self, queries: Iterable[Form], **options: Unpack[SearchOptions]) -> list[Answer]:
        given = list(queries)
        self.__dict__.setdefault("searched", []).append({"queries": len(given), **options})
        return super().search_many(given, **options)


def three(name: str = "photos") -> Watched:
    return Watched(at(0, 10, 30, 50), [{"label": each} for each in ("a", "a", "b", "")], name)


def test_an_evaluation_as_data() -> None:
    found = evaluate(three(), label="label", k=(1,), where=field("number") > 0)
    assert json.loads(json.dumps(found.to_dict())) == {
        "collection": "photos", "label": "label", "where": "number > 0", "ranking": "index", "rows": 4, "unlabelled": 1,
        "ranked": "rows", "vector": "vector",
        "queries": 2, "left_out": 1, "without_relevant": {"b": 1}, "unreadable": [],
        "micro": {"precision@1": 1.0, "recall@1": 1.0, "map@1": 1.0, "ndcg@1": 1.0},
        "macro": {"precision@1": 1.0, "recall@1": 1.0, "map@1": 1.0, "ndcg@1": 1.0},
        "classes": [
            {"label": "a", "queries": 2, "precision@1": 1.0, "recall@1": 1.0, "map@1": 1.0, "ndcg@1": 1.0},
        ],
    }  # fmt: skip
    assert evaluate(three(), label="label", k=(1,), exact=True).to_dict()["ranking"] == "exact"


def test_classes_come_by_label() -> None:
    found = evaluate(noisy(40, 7), label="label", k=(1,))
    assert [each.label for each in found.classes] == [f"c{n}" for n in range(7)]
    several = Collection(at(0, 1, 2), [{"tags": ["z", "b", "m", "a"]}, {"tags": ["q", "z", "a"]}, {"tags": ["m"]}])
    assert [each.label for each in evaluate(several, label="tags", k=(1,)).classes] == ["a", "b", "m", "q", "z"]


def test_unreadable_images_as_data(tmp_path: Path) -> None:
    collection = noisy(20, 2)
    with pytest.raises(QueryError, match=r"^no queries left to measure: 20 rows, 0 without label; 0 queries without a "
                       r"relevant row, 1 unreadable$"):  # fmt: skip
        evaluate(collection, label="label", queries={str(tmp_path / "gone.png"): "c0"})


def test_what_is_asked_of_the_collection() -> None:
    collection = three()
    where, params = field("number") > 0, {"ef": 77}
    evaluate(collection, label="label", k=(3, 1), where=where, params=params)
    [asked] = collection.searched
    # as deep as the largest k, and one more for the query's own row
    assert asked == {
        "queries": 2, "limit": 4, "where": where, "output_fields": ["label"], "params": params, "vector": "vector"
    }  # fmt: skip


def test_a_large_k_asks_for_fewer_queries_at_once() -> None:
    collection = Watched(at(*range(60)), [{"label": "a"}] * 60)
    told: list[Progress] = []
    found = evaluate(collection, label="label", k=(4000,), on_progress=told.append)
    assert [asked["queries"] for asked in collection.searched] == [25, 25, 10]
    assert [(event.done, event.total) for event in told] == [(25, 60), (50, 60), (60, 60)]
    assert found.micro["recall@4000"] == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"k": ()}, "k is empty: give the numbers of hits to score"),
        ({"k": (0, 1)}, r"k must be a sequence of whole numbers, each at least 1, not \(0, 1\)"),
        ({"k": (-1,)}, "k must be .*, each at least 1, not"),
        ({"sample": 0}, "sample must be a whole number or None, at least 1, not 0"),
        ({"k": (1,), "sample": -3}, "sample must be .* at least 1, not -3"),
        ({"seed": -1}, "seed must be a whole number, at least 0, not -1"),
    ],
)  # fmt: skip
def test_impossible_numbers_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says) as refused:
        evaluate(three(), label="label", **wrong)
    assert isinstance(refused.value, QueryError)  # as 0.1.0 raised
    with pytest.raises(OptionError, match=says):
        compare(three(), three(), label="label", **wrong)


def test_the_label_has_to_be_given() -> None:
    for work in (lambda: evaluate(three()), lambda: compare(three(), three())):
        with pytest.raises(TypeError, match="the option 'label' must be given"):
            work()


def test_only_some_queries() -> None:
    found = evaluate(three(), label="label", k=(1,), among={"/0001", "/0002", "elsewhere"})
    assert (found.names, found.left_out) == (("/0001",), 1)
    assert evaluate(three(), label="label", k=(1,), sample=1).names in {("/0000",), ("/0001",)}
    assert len(evaluate(three(), label="label", k=(1,), sample=2).names) == 2


def test_a_sample_is_the_same_each_time_and_in_the_order_of_the_rows() -> None:
    collection = noisy(60, 3)
    some = evaluate(collection, label="label", sample=20)
    assert list(some.names) == sorted(some.names)
    assert some.names == evaluate(collection, label="label", sample=20, seed=0).names
    assert len(set(some.names)) == 20


def test_rows_of_one_uri_are_one_query_and_both_hits() -> None:
    collection = Watched(at(0, 1, 5, 9), [{"label": "a"}, {"label": "b"}, {"label": "a"}, {"label": ""}])
    for id_ in ("0000", "0001", "0003"):
        collection.store.rows[id_]["uri"] = "/same"
    found = evaluate(collection, label="label", k=(1,))
    assert found.names == ("/same", "/0002")
    assert found.labels == (frozenset("a"), frozenset("a"))


@pytest.mark.parametrize("exact", [False, True])
def test_a_row_deleted_meanwhile_is_no_query(exact: bool) -> None:
    collection = noisy(20, 2)

    class Losing(type(collection.store)):  # type: ignore[misc]
        def get(self, ids: Sequence[str], **options: Any) -> dict[str, dict[str, Any]]:
            return super().get([id_ for id_ in ids if id_ != "0003"], **options)

    collection.store.__class__ = Losing
    found = evaluate(collection, label="label", k=(1,), exact=exact)
    # an exact ranking has the vectors of when it read the rows
    assert ("/0003" in found.names) is exact
    assert len(found.names) == (20 if exact else 19)


def test_the_labels_there_are() -> None:
    collection = Collection(at(*range(23)), [{"label": f"l{i:02}", "number": i} for i in range(23)])
    twenty = ", ".join(f"l{i:02}" for i in range(20))
    with pytest.raises(QueryError, match=rf"^no row has the label x, y; existing: {twenty} and 3 more$"):
        evaluate(collection, label="label", queries={"1.png": "x", "2.png": "y", "3.png": "l00"})
    for id_ in ("0020", "0021", "0022"):
        del collection.store.rows[id_]
    with pytest.raises(QueryError, match=rf"^no row has the label x; existing: {twenty}$"):
        evaluate(collection, label="label", queries={"1.png": "x"})
    collection.store.rows.clear()
    with pytest.raises(QueryError, match=r"^no row has the label x; existing: none$"):
        evaluate(collection, label="label", queries={"1.png": "x"})
    with pytest.raises(QueryError, match=r"^2 queries without a label, starting with 2\.png: label all of them$"):
        evaluate(collection, label="label", queries={"1.png": "x", "2.png": "", "3.png": []})


def test_a_label_that_the_filter_leaves_out_is_known_and_has_nothing_to_find() -> None:
    collection = Collection(at(0, 1, 2), [{"label": "a"}, {"label": "a"}, {"label": "b"}])
    whole = collection.store.scan

    def filtered(output_fields: Sequence[str], filter: str = "") -> Any:
        for batch in whole(output_fields):
            yield [row for row in batch if not filter or row["label"] == "a"]

    collection.store.scan = filtered  # type: ignore[method-assign, assignment]
    with pytest.raises(QueryError, match=r"^no queries left .*; 1 query without a relevant row, 0 unreadable$"):
        evaluate(collection, label="label", where='label == "a"', queries={"1.png": "b"})
    with pytest.raises(QueryError, match=r"^no row has the label c; existing: a, b$"):
        evaluate(collection, label="label", where='label == "a"', queries={"1.png": "c"})


def test_a_comparison_as_data() -> None:
    found = paired(results([0.5], "a", "one"), results([0.75], "a", "two"))
    data = json.loads(json.dumps(found.to_dict()))
    whole = {"measure": "map", "first": 0.5, "second": 0.75, "difference": 0.25, "low": None, "high": None}
    assert {key: data[key] for key in data if key not in ("first", "second")} == {
        "queries": 1, "dropped": 0, "relabelled": 0, "micro": [whole], "macro": [whole], "classes": {"a": [whole]},
    }  # fmt: skip
    assert (data["first"]["collection"], data["second"]["collection"]) == ("one", "two")
    assert (data["first"]["micro"], data["second"]["micro"]) == ({"map": 0.5}, {"map": 0.75})


def test_queries_are_paired_by_name() -> None:
    first, second = results([0.1, 0.2, 0.3], "aab"), results([0.9, 0.7, 0.6, 0.5], "bbaa")
    object.__setattr__(second, "names", ("q2", "q1", "elsewhere", "else"))
    found = paired(first, second)
    assert found.first.names == found.second.names == ("q1", "q2")
    assert found.first.values.ravel().tolist() == [0.2, 0.3]
    assert found.second.values.ravel().tolist() == [0.7, 0.9]
    assert (found.dropped, found.relabelled) == (3, 1)
    assert found.first.labels == (frozenset("a"), frozenset("b"))
    assert {label: [each.to_dict()["second"] for each in found.classes[label]] for label in found.classes} == {
        "a": [0.7], "b": [0.9],
    }  # fmt: skip
    assert (found.micro[0].first, found.micro[0].second) == pytest.approx((0.25, 0.8))


def test_only_the_same_measures_can_be_paired() -> None:
    first, second = results([0.1], "a", "one"), results([0.2], "a", "two")
    object.__setattr__(second, "measures", ("map@5",))
    with pytest.raises(QueryError, match=r"^one and two have no queries or no measures in common$"):
        paired(first, second)


def test_an_interval_is_the_same_each_time_and_another_for_another_seed() -> None:
    rng = np.random.default_rng(3)
    first = results([0.5] * 60, "ab" * 30)
    second = results(rng.normal(0.52, 0.1, 60).tolist(), "ab" * 30)
    once, again, other = paired(first, second), paired(first, second, seed=0), paired(first, second, seed=1)
    assert once.micro == again.micro
    assert once.macro == again.macro
    assert once.micro[0].low != other.micro[0].low
    # 2000 samples: the ends lie within some hundredths of the interval's width
    assert other.micro[0].low == pytest.approx(once.micro[0].low, abs=0.1 * 0.05)


def test_a_class_that_a_sample_lacks_is_not_in_its_mean() -> None:
    # one query of four has a class of its own: a third of the samples lack it, and their mean is the other class's
    found = paired(results([0, 0, 0, 0], "aaab"), results([1, 1, 1, 0], "aaab"))
    [macro] = found.macro
    assert (macro.first, macro.second) == (0, 0.5)
    assert (macro.low, macro.high) == (0.5, 1.0)


def test_both_are_asked_alike_on_what_both_have() -> None:
    one, two = three("one"), three("two")
    del two.store.rows["0001"]
    two.store.upsert([{"id": "n", "uri": "/new", "label": "a"}], at(12))
    told: list[Progress] = []
    where = field("number") > 0
    found = compare(one, two, label="label", k=(2,), where=where, on_progress=told.append)
    assert found.first.names == ("/0000",)
    assert (found.first.collection, found.second.collection) == ("one", "two")
    assert found.first.where == found.second.where == "number > 0"
    assert [asked["where"] for asked in (*one.searched, *two.searched)] == [where, where]
    assert [(event.done, event.total) for event in told] == [(1, 1), (1, 1)]
    assert [each.measure for each in found.micro] == ["precision@2", "recall@2", "map@2", "ndcg@2"]
    assert found.first.ranking == "index"
    assert compare(one, two, label="label", exact=True).second.ranking == "exact"


def test_a_sample_is_drawn_once_and_asked_of_both() -> None:
    one, two = noisy(60, 3, name="one"), noisy(60, 3, seed=1, name="two")
    found = compare(one, two, label="label", sample=10, seed=4)
    assert found.first.names == evaluate(one, label="label", sample=10, seed=4).names
    assert found.second.names == found.first.names
    two.store.dynamic = False
    with pytest.raises(FilterError, match="no field 'colour'"):
        compare(one, two, label="label", where=field("colour") == "red")


def test_label_types() -> None:
    fields = {"id": FieldType("VARCHAR"), "size": FieldType("DOUBLE"), "sizes": FieldType("ARRAY", "FLOAT"),
              "counts": FieldType("ARRAY", "INT8"), "meta": FieldType("JSON")}  # fmt: skip
    assert label_type("counts", fields, dynamic=False) == fields["counts"]
    assert label_type("any", fields, dynamic=True) is None
    with pytest.raises(FilterError, match=r"^no field 'any' to take labels from \(fields: id, size, sizes, "):
        label_type("any", fields, dynamic=False)
    for name, told in (("size", "DOUBLE"), ("sizes", "ARRAY<FLOAT>"), ("meta", "JSON")):
        with pytest.raises(
            FilterError, match=rf"^{name} holds {told}, but labels must be VARCHAR, INT8, .*, BOOL, or an ARRAY"
        ):
            label_type(name, fields, dynamic=True)


@pytest.mark.parametrize(
    ("value", "type_", "labels"),
    [
        ("1", "BOOL", {"true"}), ("yes", "BOOL", {"true"}), (" TRUE ", "BOOL", {"true"}),
        ("0", "BOOL", {"false"}), ("No", "BOOL", {"false"}), ("false", "BOOL", {"false"}), ("maybe", "BOOL", {"maybe"}),
        ("-07", "INT8", {"-7"}), ("many", "INT32", {"many"}), ("07", "VARCHAR", {"07"}), ("", "INT64", set()),
    ],
)  # fmt: skip
def test_text_that_a_person_gives_as_a_label(value: str, type_: str, labels: set[str]) -> None:
    assert given_labels(value, FieldType(type_)) == labels
    in_array = given_labels(f" {value} ;;", FieldType("ARRAY", type_))
    assert in_array == labels


def test_labels_that_are_given_as_values() -> None:
    tags = FieldType("ARRAY", "VARCHAR")
    assert given_labels(["a;b", "c"], tags) == {"a;b", "c"}
    assert given_labels(' ["a", true, 3] ', tags) == {"a", "true", "3"}
    assert given_labels("a;b", None) == {"a;b"}
    assert labels_of(False) == {"false"}
    assert labels_of([1, 1.5, None, "", True]) == {"1", "true"}
    with pytest.raises(QueryError, match=r"^the labels '\[x' are not a JSON list: "):
        given_labels("[x", tags)


def test_label_sets() -> None:
    sets = LabelSets()
    for labels in (("a", "b"), ("b",), (), ("b", "a"), ("c",)):
        sets.add(frozenset(labels))
    assert len(sets) == 5
    assert [set(sets[row]) for row in range(5)] == [{"a", "b"}, {"b"}, set(), {"a", "b"}, {"c"}]
    assert sets.known == {"a", "b", "c"}
    assert [sets.count(frozenset(each)) for each in ("a", "b", "ab", "ac", "x", "")] == [2, 3, 3, 3, 0, 0]
    assert sets.rows(frozenset("ac")).tolist() == [True, False, False, True, True]
