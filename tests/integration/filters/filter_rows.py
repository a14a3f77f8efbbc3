"""A thousand rows of awkward values, the same on every run, and the collection that holds them."""

from __future__ import annotations

import random
from typing import Any

from pymilvus import DataType, MilvusClient

from imgvec.filters import Dialect, FieldType, Filter, render
from imgvec.milvus.capabilities import capabilities

Row = dict[str, Any]

COLLECTION = "filter_rows"
COUNT = 1000

FIELDS = {
    "id": FieldType("VARCHAR", max_length=64),
    "text": FieldType("VARCHAR", max_length=1024),
    "n": FieldType("INT64"),
    "small": FieldType("INT8"),
    "ratio": FieldType("DOUBLE"),
    "score": FieldType("FLOAT"),
    "ok": FieldType("BOOL"),
    "tags": FieldType("ARRAY", element="VARCHAR"),
    "nums": FieldType("ARRAY", element="INT64"),
    "ratios": FieldType("ARRAY", element="DOUBLE"),
    "meta": FieldType("JSON"),
    "pixels": FieldType("INT32"),
    "twin": FieldType("VARCHAR", max_length=1024),
    "other": FieldType("INT64"),
    "half": FieldType("DOUBLE"),
}

INJECTIONS = [
    '" or id != "',
    '" or id != "" or text == "',
    "' or '1' == '1",
    '\\" or id != \\"',
    '\\\\" or id != "',
    '"] or id not in ["',
    '") or (id != "',
    '" || true || "',
    "%",
    "_",
    "%%",
    "a%",
    "a_c",
    "100%_\\",
    "{x}",
    "{{x}}",
    "$meta",
    '$meta["text"]',
    "${x}",
    "\\",
    "\\\\",
    "\\n",
    "\\u0041",
    "\\x41",
    "\\101",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "a\0b",
    "\x1b[0m",
    "\x7f",
    "\u0085",
    "\u2028",
    "\ufeff",
    "",
    " ",
    "  ",
    "'",
    '"',
    "''",
    '""',
    "`",
    "--",
    "/* */",
    "//",
    "null",
    "true",
    "1",
    "01",
    "-0",
    "1e5",
    "nan",
    "[]",
    "{}",
    "é",
    "e\u0301",
    "ß",
    "İ",
    "日本語",
    "\U0001f600",
    "\U0001f469\u200d\U0001f680",
    "\U0010ffff",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\uffff",
    "ab",
    "abc",
    "ABC",
    "zz",
]
_FRAGMENTS = [
    *"\"\\\n\r\t\0%_'{}[]()$`",
    *(" or ", " and ", "not ", "id", "a", "b", "é", "日", "\U0001f600", "\U0010ffff", "\ud7ff", '\\"', "\\n", "0"),
]
NUMBERS = [0, 1, -1, 2, 7, 100, -100, 2**31, -(2**31), 2**53, -(2**53), 0.5, -0.5, 1.5, 0.1, 1e-7, 1e15]
INTEGERS = [0, 1, -1, 2, 7, 127, -128, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63) + 1]
PIXELS = [0, 1, -1, 2, 3, 640, -7, 2**31 - 1, -(2**31), 10_000]
FLOATS = [0.0, -0.0, 0.1, 0.5, -0.5, 1.5, 2.0, 1e300, -1e300, 5e-324, 2.0**53, 1 / 3]
FLOATS_32 = [0.0, 0.1, -0.1, 1.5, 2.0, 1e30, 1e-40, 1 / 3]


def texts() -> list[str]:
    """`COUNT` different strings: the listed ones, then random mixtures of what breaks quoting."""
    draw = random.Random(20)
    found = dict.fromkeys(INJECTIONS)
    while len(found) < COUNT:
        found["".join(draw.choices(_FRAGMENTS, k=draw.randint(1, 12)))] = None
    return list(found)


def rows() -> list[Row]:
    """The rows as they are stored; keys of `meta` and dynamic keys are missing from some."""
    draw = random.Random(21)
    return [_row(number, text, draw) for number, text in enumerate(texts())]


def _row(number: int, text: str, draw: random.Random) -> Row:
    row: Row = {
        "id": f"{number:04d}",
        "vector": [float(number), 1.0],
        "text": text,
        "n": draw.choice(INTEGERS),
        "small": draw.choice([-128, -1, 0, 1, 2, 127]),
        "ratio": draw.choice(FLOATS),
        "score": draw.choice(FLOATS_32),
        "ok": draw.random() < 0.5,
        "tags": draw.sample([text, "a", "b", '"', "\\"], k=draw.randint(0, 3)),
        "nums": [draw.choice(INTEGERS) for _ in range(draw.randint(0, 3))],
        "ratios": [draw.choice(FLOATS) for _ in range(draw.randint(0, 3))],
    }
    row["meta"] = _some_of(
        draw,
        {
            "text": text,
            "number": draw.choice(NUMBERS),
            "flag": draw.random() < 0.5,
            "mixed": draw.choice([text, draw.choice(NUMBERS), [text], {"text": text}, [], ""]),
            "list": _elements(draw, text),
            "deep": {'a "b"\\': [text, draw.choice(NUMBERS)], "empty": {}},
        },
    )
    row |= _some_of(
        draw,
        {
            "colour": text,
            "year": draw.choice(NUMBERS),
            "in": draw.choice(NUMBERS),
            'key "\\\n é': text,
            "anything": draw.choice([text, draw.choice(NUMBERS), [text], {"text": text}, ""]),
            "labels": _elements(draw, text),
        },
    )
    return row | {
        "pixels": draw.choice(PIXELS),
        "twin": draw.choice([text, "a", f"{text}b"]),
        "other": draw.choice([row["n"], draw.choice(INTEGERS)]),
        "half": draw.choice([row["ratio"], draw.choice(FLOATS)]),
    }


def _some_of(draw: random.Random, values: Row) -> Row:
    return {key: value for key, value in values.items() if draw.random() < 0.8}


def _elements(draw: random.Random, text: str) -> list[Any]:
    return draw.sample([text, "a", '"', 1, 2.0, -1, 1.5, 2**53], k=draw.randint(0, 4))


def create(client: MilvusClient, stored: list[Row], scalar_indexes: dict[str, str]) -> None:
    """Make and fill the collection: one half sealed and with scalar indexes, one half growing."""
    schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    for name, kind in FIELDS.items():
        options: dict[str, Any] = {"is_primary": True} if name == "id" else {}
        if kind.max_length:
            options["max_length"] = kind.max_length
        if kind.element:
            options |= {"element_type": DataType[kind.element], "max_capacity": 8, "max_length": 1024}
        schema.add_field(name, DataType[kind.type], **options)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    for name, index_type in scalar_indexes.items():
        index.add_index(name, index_type=index_type)
    client.create_collection(COLLECTION, schema=schema, index_params=index)
    client.insert(COLLECTION, stored[: COUNT // 2])
    client.flush(COLLECTION)
    client.insert(COLLECTION, stored[COUNT // 2 :])
    client.load_collection(COLLECTION)


class Backend:
    """A backend that holds `rows`."""

    def __init__(self, client: MilvusClient, stored: list[Row]) -> None:
        self.client, self.rows = client, stored
        self.dialect: Dialect = capabilities(client.get_server_version()).dialect

    def ids(self, where: Filter | str) -> list[str]:
        """The ids of the rows that `where` finds, sorted."""
        expression = render(where, FIELDS, dynamic=True, dialect=self.dialect)
        # The fixture has read every row at Strong, none comes or goes after that, and a Strong read of a server
        # costs 0.4 s of waiting.
        found = self.client.query(
            COLLECTION,
            filter=expression,
            output_fields=["id"],
            limit=16384,
            consistency_level="Eventually",
        )
        return sorted(row["id"] for row in found)
