"""The intervals of a comparison against a bootstrap that is written out, and the defaults of an evaluation."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from test_evaluate import Collection, at, results

from imgvec.errors import FilterError
from imgvec.filters import FieldType
from imgvec.quality import compare, evaluate, paired
from imgvec.quality.comparison import RESAMPLES
from imgvec.quality.labels import LabelSets, label_type


def test_the_intervals_are_percentiles_of_resampled_means() -> None:
    rng = np.random.default_rng(5)
    labels = "aaaaaabbbbcc"
    before, after = rng.random(len(labels)), rng.random(len(labels))
    found = paired(results(list(before), labels), results(list(after), labels))
    gains = after - before
    draws = np.random.default_rng(0).integers(len(labels), size=(RESAMPLES, len(labels)))
    micro, macro = [], []
    for drawn in draws:
        micro.append(gains[drawn].mean())
        classes = np.array(list(labels))[drawn]
        macro.append(np.mean([gains[drawn][classes == each].mean() for each in sorted(set(classes))]))
    [over_queries], [over_classes] = found.micro, found.macro
    assert [over_queries.low, over_queries.high] == pytest.approx(list(np.percentile(micro, [2.5, 97.5])))
    assert [over_classes.low, over_classes.high] == pytest.approx(list(np.percentile(macro, [2.5, 97.5])))


@pytest.mark.parametrize("function", [evaluate, compare])
def test_measures_are_of_1_5_and_10_hits_by_default(function: object) -> None:
    assert inspect.signature(function).parameters["k"].default == (1, 5, 10)  # type: ignore[arg-type]
    one = Collection(at(0, 1, 2), [{"label": "a"}] * 3)
    assert {name.rpartition("@")[2] for name in evaluate(one, label="label").measures} == {"1", "5", "10"}


def test_rows_that_share_a_label_are_booleans() -> None:
    sets = LabelSets()
    for labels in ("a", "b", ""):
        sets.add(frozenset(labels))
    assert sets.rows(frozenset("a")).dtype == bool
    assert (~sets.rows(frozenset("a"))).tolist() == [False, True, True]


def test_what_an_evaluation_prints_is_no_longer_for_more_queries() -> None:
    shown = repr(evaluate(Collection(at(0, 1, 2), [{"label": "a"}] * 3), label="label"))
    assert "rows=3" in shown
    assert not any(f"{name}=" in shown for name in ("names", "labels", "values"))


@pytest.mark.parametrize("kind", ["VARCHAR", "INT8", "INT16", "INT32", "INT64", "BOOL"])
def test_what_labels_can_be(kind: str) -> None:
    for declared in (FieldType(kind), FieldType("ARRAY", element=kind)):
        assert label_type("a", {"a": declared}, dynamic=False) == declared


@pytest.mark.parametrize("declared", [FieldType("FLOAT"), FieldType("JSON"), FieldType("ARRAY", element="DOUBLE")])
def test_what_labels_cannot_be(declared: FieldType) -> None:
    with pytest.raises(FilterError, match="labels must be VARCHAR, INT8, INT16, INT32, INT64, BOOL, or an ARRAY of"):
        label_type("a", {"a": declared}, dynamic=True)
