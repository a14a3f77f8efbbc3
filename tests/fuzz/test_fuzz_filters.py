"""Filter texts: each finds the rows that it means, or is refused in a sentence."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import filter_rows
import numpy as np
import pytest
from fakes import FakeEncoder
from fields import texts
from filter_oracle import CASES, Case
from hypothesis import strategies as st
from rows import row
from tally import Fuzz, Tally

from imgvec import ImageCollection
from imgvec.errors import FilterError, UnsupportedByBackend
from imgvec.filters import Filter, equals_text

DEFINITION = {
    "encoder": {"model": "fake"},
    "index": {"cpu": {"type": "FLAT"}},
    "fields": {
        "text": {"type": "VARCHAR", "max_length": 1024, "required": True, "index": "INVERTED"},
        "n": {"type": "INT64", "required": True, "index": "INVERTED"},
        "small": {"type": "INT8", "required": True},
        "ratio": {"type": "DOUBLE", "required": True},
        "score": {"type": "FLOAT", "required": True},
        "ok": {"type": "BOOL", "required": True},
        "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 1024, "required": True},
        "nums": {"type": "ARRAY", "element_type": "INT64", "max_capacity": 8, "required": True},
        "ratios": {"type": "ARRAY", "element_type": "DOUBLE", "max_capacity": 8, "required": True},
        "meta": {"type": "JSON", "required": True},
        "pixels": {"type": "INT32", "required": True},
        "twin": {"type": "VARCHAR", "max_length": 1024, "required": True},
        "other": {"type": "INT64", "required": True},
        "half": {"type": "DOUBLE", "required": True},
    },
}


@dataclass(frozen=True)
class Filled:
    collection: ImageCollection
    rows: list[dict[str, Any]]

    def ids(self, where: Filter | str) -> list[str]:
        store = self.collection.store
        return sorted(one["id"] for batch in store.scan(["id"], store.rendered(where)) for one in batch)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A hundred awkward rows in a collection of Milvus Lite."""
    uri = str(tmp_path_factory.mktemp("filters") / "lite.db")
    rows = [{**row(one["id"]), **one} for one in filter_rows.rows()[:100]]
    for one in rows:
        del one["vector"]
    with ImageCollection.create("filters", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as collection:
        vectors = np.random.default_rng(0).standard_normal((len(rows), collection.store.dim)).astype(np.float32)
        collection.store.upsert(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        yield Filled(collection, rows)


def test_what_is_rendered_means_the_same_as_text(fuzz: Fuzz, tally: Tally, filled: Filled) -> None:
    def check(case: Case) -> None:
        with tally.expecting():
            found = filled.ids(_typed(filled.collection.store.rendered(case.where)) or case.where)
            assert found == [one["id"] for one in filled.rows if case.verdict(one) is True]

    fuzz(check, CASES, day=60, night=5000)


def _typed(expression: str) -> str:
    """A rendered expression as a person has to type it, with keys of the dynamic field under $meta."""
    keys = r'"(?:[^"\\]|\\.)*"|\b(?:colour|year|anything|labels|nowhere)\b'
    return re.sub(keys, lambda found: found[0] if found[0][0] == '"' else f'$meta["{found[0]}"]', expression)


_WORDS = [
    *("text", "n", "small", "ratio", "score", "ok", "tags", "nums", "ratios", "meta", "id", "uri", "width", "vector"),
    *("colour", "year", '$meta["colour"]', '$meta["year"]', "$meta", '$meta["in"]', "nowhere", "Text", "N", "TEXT"),
    *(
        "and",
        "or",
        "not",
        "AND",
        "Or",
        "NOT",
        "in",
        "not in",
        "IN",
        "like",
        "LIKE",
        "is null",
        "IS NOT NULL",
        "exists",
        "&&",
        "||",
        "!",
    ),
    *("==", "!=", "<", "<=", ">", ">=", "=", "<>", "=~", "+", "-", "*", "/", "%", "**", "<<", "&", "|", "^", "~"),
    *(
        "(",
        ")",
        "[",
        "]",
        ",",
        "{",
        "}",
        ".",
        ";",
        "'",
        '"',
        "--",
        "/*",
        "\\",
        "\n",
        "\t",
        "\0",
        "\u00a0",
        "é",
        "\U0001f600",
        "\ud800",
    ),
    *(
        "0",
        "1",
        "-1",
        "7",
        "2.0",
        ".5",
        "5.",
        "1e3",
        "1e999",
        "0x1F",
        "007",
        "9223372036854775807",
        "-9223372036854775808",
        "1" * 30,
        "9" * 5000,
    ),
    *(
        "true",
        "false",
        "True",
        "TRUE",
        "null",
        "None",
        "nan",
        "inf",
        "2024-06-01",
        "'2024-06-01'",
        "1_000",
        "1,000",
        "10%",
    ),
    *(
        '"a"',
        "'a'",
        '""',
        '"a%"',
        "'it''s'",
        '"\\x"',
        '"\\u0041"',
        '"é"',
        '"unclosed',
        '["a", "b"]',
        "[1, 2]",
        "[]",
        "[1, 'a']",
        "[1.5]",
    ),
    *(
        "array_contains(tags, 'a')",
        "json_contains(meta['list'], 1)",
        "array_length(nums)",
        "ARRAY_CONTAINS_ANY(nums, [1])",
        "json_contains",
    ),
    *(
        "meta['text']",
        'meta["number"]',
        "meta['deep']['empty']",
        "tags[0]",
        "nums[0]",
        "tags[-1]",
        "tags[99]",
        "ratios[1]",
        "meta[0]",
    ),
    *(
        "text_match(text, 'a')",
        "random_sample(0.5)",
        "st_within(text, 'x')",
        "iso",
        "interval",
        "INTERVAL 'P1D'",
        "ISO '2024-06-01'",
    ),
]
_SENSIBLE = [
    *('text == "a"', "n > 1", "small in [1, 2]", "ratio >= 0.5", "score < 1.5", "ok == true", "not ok == false"),
    *("text like 'a%'", 'meta["number"] > 1', '$meta["year"] == 7', "array_contains(tags, 'a')", "n + 1 == 2"),
    *("n % 2 == 0", "1 < n < 8", "n == ratio", "n == '2'", "n == 2.0", "ok == 1", "small == 300", "text > 5"),
    *("text in [1]", "n in ['a']", "ratio == 1", "tags == 'a'", "meta == 1", "width >= 640", "id == 5", "ok", "not n"),
    *("n", '"a"', "1", "1 == 1", "true", "nums[0] == 1", "score == 0.1", "taken_at >= 2024-01-01", "n >= 2024-01-01"),
]


@st.composite
def raw_texts(draw: st.DrawFn) -> str:
    chance = draw(st.randoms(use_true_random=False))
    match chance.randrange(4):
        case 0:
            return " ".join(chance.choice(_WORDS) for _ in range(chance.randrange(1, 9)))
        case 1:
            return _broken(chance.choice(_SENSIBLE), chance)
        case 2:
            joined = f" {chance.choice(['and', 'or', 'AND', '&&', '||', 'or not'])} "
            return joined.join(chance.choice(_SENSIBLE) for _ in range(chance.randrange(1, 4)))
    return draw(texts | st.text(max_size=30))


def _broken(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    match chance.randrange(4):
        case 0:
            return text[:at] + chance.choice(_WORDS) + text[at:]
        case 1:
            return text[:at] + text[at + 1 :]
        case 2:
            return text[:at]
    return "(" * chance.choice([1, 3, 63, 70, 5000]) + text + ")" * chance.choice([0, 1, 3, 63, 70])


def test_raw_texts_are_searched_for_or_refused(fuzz: Fuzz, tally: Tally, filled: Filled) -> None:
    every = {one["id"] for one in filled.rows}

    def check(text: str) -> None:
        with tally.expecting(FilterError, UnsupportedByBackend):
            found = filled.ids(text)
            assert set(found) <= every
            assert filled.collection.count(text) == len(found)

    fuzz(check, raw_texts(), day=250, night=20_000)
    assert tally.accepted
    assert tally.refused


def test_field_equals_text(fuzz: Fuzz, tally: Tally, filled: Filled) -> None:
    kinds = filled.collection.store.fields
    names = st.sampled_from(
        [*kinds, "colour", "year", "in", "anything", "labels", "nowhere", "", "N", "$meta", "a.b", "é"]
    )
    held = st.sampled_from(
        [one[name] for one in filled.rows for name in ("text", "n", "small", "ratio", "score", "year") if name in one]
    )
    given = st.tuples(names, texts | held.map(str) | held.map(repr))

    def check(pair: tuple[str, str]) -> None:
        name, text = pair
        with tally.expecting(FilterError):
            found = filled.ids(equals_text(name, text, kinds, dynamic=True))
            assert found == [one["id"] for one in filled.rows if _equals(one, name, text)]

    fuzz(check, given, day=120, night=10_000)
    assert tally.accepted
    assert tally.refused


def _equals(one: dict[str, Any], name: str, text: str) -> bool:
    value = one.get(name)
    if name == "ratio":
        number = _number(text)
        return number is not None and abs(number) < 10**308 and float(number) == value
    if name == "score":
        number = _number(text)
        return number is not None and float(np.float32(number)) == float(np.float32(value))
    if isinstance(value, list) and name in DEFINITION["fields"]:  # type: ignore[operator]
        number = _number(text) if name == "ratios" and len(text) < 300 else None
        return any(_spelled(element, text if number is None else repr(float(number))) for element in value)
    return _spelled(value, text)


def _spelled(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return text.lower() == ("true" if value else "false")
    if isinstance(value, str):
        return value == text
    number = _number(text)
    return isinstance(value, int | float) and number is not None and value == number


def _number(text: str) -> int | float | None:
    if re.fullmatch(r"[+-]?[0-9]{1,400}", text):
        return int(text)
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
