"""Rendered filters against plain Python, on Milvus Lite and on a real server."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable
from typing import Any

import filter_rows
import pytest
from filter_oracle import CASES, CONDITIONS, Case, infixes, lengths_in_json, remainders
from filter_rows import Backend
from hypothesis import HealthCheck, given, settings
from pymilvus.exceptions import MilvusException

from imgvec.errors import FilterError, UnsupportedByBackend
from imgvec.filters import Field, Filter, Raw, dynamic, equals_text, field

BATCH = 50
_PLACES: dict[str, Callable[[], Any]] = {
    "VARCHAR": lambda: field("text"),
    "JSON": lambda: field("meta")["text"],
    "dynamic": lambda: dynamic("colour"),
    "dynamic key that needs quoting": lambda: dynamic('key "\\\n é'),
}
_HOLDS: dict[str, Callable[[filter_rows.Row], str | None]] = {
    "VARCHAR": lambda row: row["text"],
    "JSON": lambda row: row["meta"].get("text"),
    "dynamic": lambda row: row.get("colour"),
    "dynamic key that needs quoting": lambda row: row.get('key "\\\n é'),
}


def _any_of(filters: list[Filter]) -> Filter:
    return functools.reduce(operator.or_, filters)


@pytest.mark.parametrize("place", _PLACES)
def test_each_nasty_string_finds_its_own_row_and_no_other(backend: Backend, place: str) -> None:
    value = _PLACES[place]()
    held = [(row["id"], row["text"], _HOLDS[place](row)) for row in backend.rows]
    assert len({text for _, text, _ in held}) == filter_rows.COUNT
    for start in range(0, len(held), BATCH):
        batch = held[start : start + BATCH]
        has = [id_ for id_, _, text in batch if text is not None]
        # Were one literal read as anything else, its row would be missing here or a row of another batch be found.
        own = [(field("id") == id_) & (value == text) for id_, text, _ in batch]
        assert backend.ids(_any_of(own)) == has
        others = [(field("id") == id_) & (value != text) for id_, text, _ in batch]
        assert backend.ids(_any_of(others)) == []
        assert backend.ids(value.in_([text for _, text, _ in batch])) == has


def test_every_string_at_once_and_its_negation(backend: Backend) -> None:
    strings = [row["text"] for row in backend.rows]
    assert len(backend.ids(field("text").in_(strings))) == filter_rows.COUNT
    assert backend.ids(field("text").not_in(strings)) == []
    assert backend.ids(field("text").not_in(strings[1:])) == [backend.rows[0]["id"]]


def test_each_nasty_string_is_found_among_the_elements_of_a_list(backend: Backend) -> None:
    for start in range(0, filter_rows.COUNT, BATCH):
        batch = backend.rows[start : start + BATCH]
        tags = [(field("id") == row["id"]) & field("tags").contains(row["text"]) for row in batch]
        assert backend.ids(_any_of(tags)) == [row["id"] for row in batch if row["text"] in row["tags"]]
        labels = [(field("id") == row["id"]) & dynamic("labels").contains(row["text"]) for row in batch]
        assert backend.ids(_any_of(labels)) == [row["id"] for row in batch if row["text"] in row.get("labels", [])]


@given(case=CONDITIONS)
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_one_condition_and_its_negation_find_what_python_finds(backend: Backend, case: Case) -> None:
    verdicts = [(row["id"], case.verdict(row)) for row in backend.rows]
    assert backend.ids(case.where) == [id_ for id_, verdict in verdicts if verdict is True]
    assert backend.ids(~case.where) == [id_ for id_, verdict in verdicts if verdict is False]


_SOME = {
    "infixes": (infixes(), lambda backend: backend.dialect.infix),
    "remainders": (remainders(), lambda backend: backend.dialect.remainder),
    "lengths in JSON": (lengths_in_json(), lambda backend: backend.dialect.json_length),
}


@pytest.mark.parametrize("kind", _SOME)
def test_what_some_backends_lack_is_right_or_refused_by_name(backend: Backend, kind: str) -> None:
    cases, known = _SOME[kind]
    outcomes = set()

    @given(case=cases)
    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case: Case) -> None:
        if not known(backend):
            with pytest.raises(UnsupportedByBackend, match=f"^{re.escape(backend.dialect.backend)} has no "):
                backend.ids(case.where)
            outcomes.add("refused")
            return
        verdicts = [(row["id"], case.verdict(row)) for row in backend.rows]
        assert backend.ids(case.where) == [id_ for id_, verdict in verdicts if verdict is True]
        assert backend.ids(~case.where) == [id_ for id_, verdict in verdicts if verdict is False]
        outcomes.add("right")

    check()
    assert outcomes == ({"right"} if known(backend) else {"refused"})


@pytest.mark.parametrize("text", ["a%", "a_", "\\", "\0"])
def test_wildcards_within_text_are_refused_by_name(backend: Backend, text: str) -> None:
    for where in (field("text").has_infix(text), dynamic("colour").has_suffix(text)):
        with pytest.raises(UnsupportedByBackend, match="has no search within text"):
            backend.ids(where)


def test_remainders_of_long_numbers_are_refused_by_name(backend: Backend) -> None:
    with pytest.raises(UnsupportedByBackend, match="remainders"):
        backend.ids(field("n") % 2 == 0)


def test_raw_expressions_that_a_backend_reads_wrongly_are_refused_by_name(backend: Backend) -> None:
    refused = {
        'text like "a_c"': backend.dialect.infix,
        'text like "%a"': backend.dialect.infix,
        "n % 2 == 0": False,
        "pixels % 2 == 0": backend.dialect.remainder,
        'text_match(text, "a")': "text_match" in backend.dialect.functions,
    }
    for text, right in refused.items():
        if right:
            backend.ids(text)
        else:
            with pytest.raises(UnsupportedByBackend, match="column"):
                backend.ids(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("n + 1 > 5", lambda row: row["n"] + 1 > 5),  # 2**63 - 1 is among them
        ("n * 2 == -2", lambda row: row["n"] * 2 == -2),
        ("not (n - 2 >= 0)", lambda row: row["n"] - 2 < 0),
        ("n < 9223372036854775807 + 1", lambda row: True),
        ("pixels / 2 == 1.5", lambda row: row["pixels"] / 2 == 1.5),
        ("-10 <= small * 2 - 1 < 3", lambda row: -10 <= row["small"] * 2 - 1 < 3),
        ("$meta['year'] * 3 < 21", lambda row: "year" in row and row["year"] * 3 < 21),
        ("meta['number'] * 2 + 1 == 3", lambda row: row["meta"].get("number") == 1),
    ],
)
def test_raw_sums_of_one_place(backend: Backend, text: str, holds: Callable[[filter_rows.Row], bool]) -> None:
    assert backend.ids(text) == [row["id"] for row in backend.rows if holds(row)]


def test_raw_sums_of_several_places_are_right_or_refused(backend: Backend) -> None:
    for text, holds in (
        ("pixels * small > 5", lambda row: row["pixels"] * row["small"] > 5),
        ("small * pixels - pixels < 0", lambda row: row["small"] * row["pixels"] - row["pixels"] < 0),
    ):
        if backend.dialect.sums:
            with pytest.raises(MilvusException):
                backend.ids(text)
        else:
            assert backend.ids(text) == [row["id"] for row in backend.rows if holds(row)]
    if not backend.dialect.sums:
        assert any(abs(row["pixels"] * row["small"]) > 2**32 for row in backend.rows)
        with pytest.raises(UnsupportedByBackend, match="64 bits"):
            backend.ids("n + other > 0")


def test_a_division_by_zero_reaches_no_server(backend: Backend) -> None:
    """It ends the process of Milvus 2.3."""
    for text in ("n / 0 == 1", "meta['number'] / (2 - 2) == 1"):
        with pytest.raises(FilterError, match="divides by zero"):
            backend.ids(text)


def test_a_truth_value_is_a_raw_condition(backend: Backend) -> None:
    assert backend.ids("ok") == [row["id"] for row in backend.rows if row["ok"]]
    assert backend.ids("not ok and small > 0") == [
        row["id"] for row in backend.rows if not row["ok"] and row["small"] > 0
    ]


@given(case=CASES)
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_compositions_find_what_python_finds(backend: Backend, case: Case) -> None:
    assert backend.ids(case.where) == [row["id"] for row in backend.rows if case.verdict(row) is True]


@pytest.mark.parametrize(
    ("place", "count", "held"),
    [
        (field("n"), 20_000, lambda row: row["n"]),
        # Milvus Lite parses the JSON of a row once for each value.
        (field("meta")["number"], 200, lambda row: row["meta"].get("number")),
        (dynamic("year"), 5_000, lambda row: row.get("year")),
    ],
    ids=["declared", "JSON", "dynamic"],
)
def test_long_lists_of_values(
    backend: Backend, place: Field, count: int, held: Callable[[filter_rows.Row], object]
) -> None:
    wanted = range(-count // 2, count // 2)
    assert backend.ids(place.in_(wanted)) == [row["id"] for row in backend.rows if held(row) in wanted]


@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
def test_both_zeros_are_one_number(backend: Backend, zero: float) -> None:
    zeros = [row["id"] for row in backend.rows if row["ratio"] == 0]
    others = [row["id"] for row in backend.rows if row["ratio"] != 0]
    assert {str(row["ratio"]) for row in backend.rows if row["ratio"] == 0} == {"0.0", "-0.0"}
    assert backend.ids(field("ratio") == zero) == backend.ids(field("ratio").in_([zero])) == zeros
    assert backend.ids(field("ratio") != zero) == backend.ids(field("ratio").not_in([zero])) == others
    held = [row["id"] for row in backend.rows if 0.0 in row["ratios"]]
    assert backend.ids(field("ratios").contains(zero)) == held


def test_deepest_nesting_that_is_allowed(backend: Backend) -> None:
    where: Filter = field("small") == 127
    for level in range(62):
        where = (where | (field("ok") == True)) if level % 2 else (where & (field("n") >= 0))  # noqa: E712
    assert len(backend.ids(where)) > 0


def test_raw_expressions(backend: Backend) -> None:
    positive = [row["id"] for row in backend.rows if row["small"] > 0 and "a" in row["tags"]]
    assert backend.ids("small > 0 AND Array_Contains(tags, 'a')") == positive
    assert backend.ids(Raw('small > 0 or id == "0000"') & field("tags").contains("a")) == sorted(
        row["id"] for row in backend.rows if (row["small"] > 0 or row["id"] == "0000") and "a" in row["tags"]
    )
    assert backend.ids(~Raw("small > 0")) == [row["id"] for row in backend.rows if row["small"] <= 0]
    assert backend.ids('$meta["year"] in [1, 7] AND NOT (ok == TRUE)') == [
        row["id"] for row in backend.rows if row.get("year") in (1, 7) and not row["ok"]
    ]
    assert backend.ids('json_contains($meta["labels"], "a")') == [
        row["id"] for row in backend.rows if "a" in row.get("labels", [])
    ]


def test_values_typed_on_a_command_line(backend: Backend) -> None:
    row = backend.rows[0]
    for name, text, matches in (
        ("text", row["text"], lambda r: r["text"] == row["text"]),
        ("n", "-1", lambda r: r["n"] == -1),
        ("ratio", ".5", lambda r: r["ratio"] == 0.5),
        ("score", "0.1", lambda r: r["score"] == 0.1),
        ("ok", "TRUE", lambda r: r["ok"]),
        ("tags", "a", lambda r: "a" in r["tags"]),
        ("nums", "-1", lambda r: -1 in r["nums"]),
        ("year", "7", lambda r: r.get("year") == 7),
        ("colour", "1", lambda r: r.get("colour") == "1"),
    ):
        where = equals_text(name, text, filter_rows.FIELDS, dynamic=True)
        assert backend.ids(where) == [r["id"] for r in backend.rows if matches(r)], name
