"""What somebody likes, as a table: rows of a shop's history to examples."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imgvec.errors import QueryError
from imgvec.filters import field
from imgvec.home import at_home
from imgvec.plurals import counted
from imgvec.rows import ID, URI, VIEW
from imgvec.search.forms import Form, ImageFile, StoredId
from imgvec.sources import PATH_COLUMNS, table_rows
from imgvec.sources.tables import column_of, fail
from imgvec.store import Reads

_IDS = ("id",)
_WEIGHTS = ("weight",)
_LIKES = ("like", "liked")
_WORDS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "like", "liked", "up", "+"), 1.0),
    **dict.fromkeys(("-1", "-1.0", "0", "0.0", "false", "no", "n", "dislike", "disliked", "down", "-"), -1.0),
}


def liked(file: str | Path, store: Reads, on_notice: Callable[[str], object] | None = None) -> list[tuple[Form, float]]:
    """What a table names, each with its weight: below 0 for what somebody dislikes.

    A CSV, JSON-lines or Parquet file. Its column `id` has ids of rows; without one, a column `path` (or another of
    `PATH_COLUMNS`) has their uris, or the paths of image files, relative ones from the table's folder. `weight` is a
    number, and below 0 that of something disliked; 0 passes a row over. `like` is yes or no (1 or 0, true or false, up
    or down). Without either, all is liked. `on_notice` is told of what is neither stored nor a file, which is passed
    over. Raises `SourceError` with the line, and `QueryError` if nothing is left.
    """
    table = Path(os.path.abspath(at_home(file)))  # noqa: PTH100 - resolve() would follow links
    ids: dict[str, float] = {}
    paths: dict[str, float] = {}
    rows = 0
    for line, row in table_rows(table, (*_IDS, *PATH_COLUMNS), fail):
        if isinstance(row, str):
            fail(str(table), line, row)
        id_, path = column_of(row, _IDS), column_of(row, PATH_COLUMNS)
        if id_ is None and path is None:
            fail(str(table), line, "neither an id nor a path")
        rows += 1
        if weight := _weight(row, str(table), line):
            named, name = (ids, row[id_]) if id_ is not None else (paths, row[str(path)])
            named[str(name)] = named.get(str(name), 0.0) + weight
    stored = store.get(list(ids), output_fields=[ID])
    found: list[tuple[Form, float]] = [(StoredId(id_), weight) for id_, weight in ids.items() if id_ in stored]
    lacking = [id_ for id_ in ids if id_ not in stored]
    by_uri = _by_uri([uri for path in paths for uri in _uris(path, table)], store)
    for path, weight in paths.items():
        known = next((by_uri[uri] for uri in _uris(path, table) if uri in by_uri), None)
        if known is not None:
            found.append((StoredId(known), weight))
        elif os.path.isfile(_uris(path, table)[-1]):  # noqa: PTH113  raises nothing, whatever the name
            found.append((ImageFile(_uris(path, table)[-1]), weight))
        else:
            lacking.append(path)
    found = [(form, weight) for form, weight in found if weight]
    if not found and rows and not lacking:
        raise QueryError(f"the weights in {table} are 0, or cancel out: nothing is liked or disliked")
    if not found:
        raise QueryError(f"{table} names nothing that {store.name!r} has")
    if lacking and on_notice:
        on_notice(f"passed over {counted(len(lacking), 'example')} not in {store.name!r} (the first: {lacking[0]})")
    return found


def _uris(path: str, table: Path) -> tuple[str, str]:
    """How a stored row may call it: as it is written, and its absolute path."""
    return path, os.path.normpath(table.parent / at_home(path))


def _by_uri(uris: list[str], store: Reads) -> dict[str, str]:
    """The ids of the rows with these uris; of views the whole picture's."""
    if not uris:
        return {}
    views = store.most_views is not None
    condition = field(URI).in_(list(dict.fromkeys(uris)))
    where = store.rendered(condition & (field(VIEW) == "whole") if views else condition)
    return {row[URI]: row[ID] for some in store.scan([ID, URI], where) for row in some}


def _weight(row: Mapping[str, Any], where: str, line: int) -> float:
    column = column_of(row, _WEIGHTS)
    weight = 1.0
    if column is not None:
        try:
            weight = float(row[column])
        except (TypeError, ValueError, OverflowError):
            weight = math.nan
        if not math.isfinite(weight):
            fail(where, line, f"{column} must be a number, not {row[column]!r}")
    column = column_of(row, _LIKES)
    if column is None:
        return weight
    word = str(row[column]).strip().casefold()
    if word not in _WORDS:
        fail(where, line, f"{column} must be yes or no, not {row[column]!r}")
    return weight * _WORDS[word]
