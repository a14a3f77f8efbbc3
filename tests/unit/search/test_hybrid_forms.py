"""Hybrid questions as values: what they are, and what they refuse."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from imgvec.errors import QueryError
from imgvec.search.forms import StoredId, Text
from imgvec.search.hybrid import Hybrid, Part, Words

ONE = StoredId("one")


def test_a_question_is_a_value() -> None:
    question = Hybrid([Part(ONE), Part(Text("at night"), "texture", 2)])
    assert question == Hybrid(
        (Part(ONE, "vector", 1.0), Part(Text("at night"), vector="texture", weight=2.0)), "rrf", 60
    )
    assert hash(question) == hash(pickle.loads(pickle.dumps(question)))
    assert question.to_dict() == {
        "hybrid": [
            {"id": "one", "vector": "vector", "weight": 1.0},
            {"text": "at night", "vector": "texture", "weight": 2.0},
        ],
        "fusion": "rrf",
        "k": 60.0,
    }
    assert Hybrid([Part(ONE)], "weights").to_dict()["fusion"] == "weights"
    assert "k" not in Hybrid([Part(ONE)], "weights").to_dict()


@pytest.mark.parametrize(
    ("parts", "options", "said"),
    [
        ([], {}, "at least one part"),
        (Part(ONE), {}, "a list of at least one part"),
        ([ONE], {}, "a StoredId is not a part of a Hybrid"),
        ("parts", {}, "a str is not a part"),
        ([Part(ONE)] * 17, {}, "at most 16 parts, not 17"),
        ([Part(ONE)], {"fusion": "sum"}, "fusion must be one of rrf, weights, calibrated, not 'sum'"),
        ([Part(ONE)], {"fusion": ["rrf"]}, "fusion must be one of"),
        ([Part(ONE)], {"k": 0}, "k must be from 1e-9 to 1e9, not 0"),
        ([Part(ONE)], {"k": "60"}, "k must be a number above 0, not '60'"),
    ],
)
def test_what_is_no_question(parts: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        Hybrid(parts, **options)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), 10**400, True, None, "2"])
def test_a_weight_is_a_number_above_0(weight: Any) -> None:
    with pytest.raises(QueryError, match="the weight of a part must be"):
        Part(ONE, weight=weight)


def test_a_part_is_a_form_by_a_vector() -> None:
    with pytest.raises(QueryError, match="a str is not a query form"):
        Part("query.jpg")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="takes the name of a vector"):
        Part(ONE, vector="")


def test_words_are_a_part_without_a_form() -> None:
    question = Hybrid([Words("red dress", "caption", 2), Part(ONE)])
    assert question.to_dict()["hybrid"][0] == {"words": "red dress", "field": "caption", "weight": 2.0}
    assert question.forms == [ONE]
    for words in ("", " ", None, "\ud800"):
        with pytest.raises(QueryError, match="Text takes"):
            Words(words, "caption")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="takes the name of a field"):
        Words("red", "")
    with pytest.raises(QueryError, match="the weight of words must be"):
        Words("red", "caption", 0)
