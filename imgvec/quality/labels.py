"""Labels of rows and queries, as sets of texts, and which rows share one."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import FilterError, QueryError
from imgvec.filters import FieldType

Labels = frozenset[str]

_INTEGERS = ("INT8", "INT16", "INT32", "INT64")
_LABEL_TYPES = ("VARCHAR", *_INTEGERS, "BOOL")
_TRUTH = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"}


def label_type(name: str, fields: Mapping[str, FieldType], *, dynamic: bool) -> FieldType | None:
    """The type of the field of the labels; None for a key of the dynamic field. Raises `FilterError`."""
    declared = fields.get(name)
    if declared is None and not dynamic:
        raise FilterError(f"no field {name!r} to take labels from (fields: {', '.join(fields)})")
    if declared is not None and (declared.element if declared.type == "ARRAY" else declared.type) not in _LABEL_TYPES:
        raise FilterError(
            f"{name} holds {declared}, but labels must be {', '.join(_LABEL_TYPES)}, or an ARRAY of these"
        )
    return declared


def labels_of(value: Any) -> Labels:
    """The labels in a field's value: of an array each item, of null, an empty text or an empty array none."""
    if isinstance(value, str | bool | int):
        return frozenset(() if value == "" else (_text(value),))
    if value is None or isinstance(value, float | Mapping):  # only a key of the dynamic field has these
        return frozenset()
    return frozenset(_text(item) for item in value if isinstance(item, str | bool | int) and item != "")


def given_labels(value: Any, declared: FieldType | None) -> Labels:
    """The labels that a person gives for a query; text is read as the field's type. Raises `QueryError`."""
    if not isinstance(value, str) or declared is None:
        return labels_of(value)
    if declared.type != "ARRAY":
        return frozenset((_spelled(value, declared.type),)) if value else frozenset()
    items: Any = value.split(";")
    if value.lstrip().startswith("["):
        try:
            items = json.loads(value)
        except ValueError as exc:
            raise QueryError(f"the labels {value!r} are not a JSON list: {exc}") from exc
    return frozenset(_spelled(text, str(declared.element)) for text in (_text(item).strip() for item in items) if text)


def _text(value: str | bool | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _spelled(text: str, type_: str) -> str:
    """As `_text` writes what `text` spells, so that 07 is 7 and yes is true."""
    if type_ == "BOOL":
        return _TRUTH.get(text.strip().lower(), text)
    try:
        return str(int(text)) if type_ in _INTEGERS else text
    except ValueError:
        return text


class LabelSets:
    """Which set of labels each of many rows has. Equal sets are held once: a row costs four bytes."""

    def __init__(self) -> None:
        self._numbers: dict[Labels, int] = {}
        self._sets: list[Labels] = []
        self._sizes: list[int] = []
        self._bearing: dict[str, list[int]] = {}
        self._codes = array("i")  # a set's number, for each row

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, row: int) -> Labels:
        return self._sets[self._codes[row]]

    @property
    def known(self) -> set[str]:
        """Every label that a row has."""
        return set(self._bearing)

    def add(self, labels: Labels) -> None:
        """The labels of the next row."""
        number = self._numbers.get(labels)
        if number is None:
            number = self._numbers[labels] = len(self._sets)
            self._sets.append(labels)
            self._sizes.append(0)
            for label in labels:
                self._bearing.setdefault(label, []).append(number)
        self._sizes[number] += 1
        self._codes.append(number)

    def count(self, labels: Labels) -> int:
        """How many rows share at least one of these."""
        return sum(self._sizes[number] for number in self._sharing(labels))

    def rows(self, labels: Labels) -> NDArray[np.bool_]:
        """(rows,): whether each shares at least one of these."""
        sharing = np.zeros(len(self._sets), bool)
        sharing[list(self._sharing(labels))] = True
        shared: NDArray[np.bool_] = sharing[np.frombuffer(self._codes, np.int32)]
        return shared

    def _sharing(self, labels: Labels) -> set[int]:
        return {number for label in labels for number in self._bearing.get(label, ())}
