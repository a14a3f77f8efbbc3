"""Questions that may go to Milvus as one: by a vector or a stored row, with the same options."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from imgvec.filters import Filter
from imgvec.options import settled
from imgvec.search.forms import STORED, StoredId, VectorQuery
from imgvec.search.many import AT_ONCE
from imgvec.search.request import SearchOptions

ROWS_AT_ONCE = 16_384
"""That one request asks for, so that what it brings stays well below the 64 MiB that gRPC takes."""

_DEFAULTS: Mapping[str, Any] = settled(SearchOptions, {})


class _Unlike(Exception):
    """A value that may not be compared."""


def kind(query: object, options: SearchOptions) -> tuple[Hashable, int] | None:
    """What two questions have in common that may go as one, and how many may; None for one that goes alone.

    Pictures and texts go alone, since a question that needs no encoder is not to wait for one that does.
    """
    length, common = _length(query), of_options(options)
    return None if length is None or common is None else ((length, common[0]), common[1])


def of_options(options: SearchOptions) -> tuple[Hashable, int] | None:
    """What two questions have in common that differ in what they ask by, and how many of them may go as one."""
    try:
        alike = tuple((name, _key(value)) for name, value in sorted(options.items()))
    except _Unlike:
        return None
    given: Mapping[str, Any] = options
    limit, offset, candidates = (given.get(name, _DEFAULTS[name]) for name in ("limit", "offset", "candidates"))
    if not all(isinstance(each, int) and each >= 0 for each in (limit, offset, candidates)):
        return None  # refused, by itself
    return alike, max(1, min(AT_ONCE, ROWS_AT_ONCE // max(limit + offset, candidates)))


def _length(query: object) -> int | None:
    """Of a vector; 0 for a stored row, None for anything else."""
    if isinstance(query, VectorQuery):
        return len(query.array)
    if isinstance(query, np.ndarray):
        return len(query) if query.ndim == 1 else None
    if isinstance(query, list) and query and isinstance(query[0], float):
        return len(query)
    stored = isinstance(query, StoredId) or (isinstance(query, str) and query.startswith(STORED))
    return 0 if stored else None


def _key(value: Any) -> Hashable:
    """What is equal for equal values only: 1, 1.0 and True are three."""
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value
    if isinstance(value, Filter):
        return value, repr(value)  # which tells 1 from True, as its equality does not
    if isinstance(value, Mapping):
        return dict, tuple((_key(name), _key(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return list, tuple(map(_key, value))
    raise _Unlike
