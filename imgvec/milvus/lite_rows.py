"""Rows of a Milvus Lite database that this process has open, taken from its columns.

Asked for rows, Milvus Lite (3.2.2) makes each of them with its vector, number by number, whatever fields are wanted,
and to count those that match a filter it makes them all: 0.3 ms a row, or half a minute for 100,000. It keeps them as
Arrow columns in this process, so they are read there, all as they were at one moment. What is not as it is known here
is left to Milvus Lite itself, and so are all rows of a release that nobody has compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgvec import abandoned
from imgvec.milvus.answers import DYNAMIC
from imgvec.milvus.collection_link import CollectionLink
from imgvec.rows import ID

T = TypeVar("T")

_SEQ = "_seq"
_PLAIN = frozenset({"BOOL", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "VARCHAR", "ARRAY", "GEOMETRY"})
"""Types whose values Arrow gives as pymilvus does."""
_COMPARED = ("3.2.",)
"""How the releases begin whose columns give the rows that they give themselves, by test_lite_rows.py."""
_AT_ONCE = 16_384
_TRIES, _WAIT = 100, 0.01


@dataclass(frozen=True, slots=True)
class _Source:
    """A segment of a collection, or what has not become one yet."""

    table: Any
    matching: NDArray[np.bool_] | None
    vectors: Callable[[str], NDArray[np.float32] | None]


class LiteRows:
    """Looks into a Milvus Lite collection; any number of threads may."""

    def __init__(self, link: CollectionLink) -> None:
        self._link = link
        self._in_vain = -1
        """The number of a write that was waited for and did not come."""

    def version(self) -> Hashable | None:
        """Another one after each write; None where that is not known. Raises where the link is closed."""
        collection = self._opened()
        try:
            settled = None if collection is None else self._settled(collection, lambda _: None)
            if collection is None or settled is None:
                return None
            return self._link.incarnation.key, settled[0], tuple(each.name for each in collection.schema.fields)
        except Exception:  # noqa: BLE001  what is not as it is known here says nothing
            return None

    def live(self, filter: str = "") -> Live | None:
        """The rows that match; None where Milvus Lite itself has to be asked. Raises where the link is closed."""
        collection = self._opened()
        try:
            if collection is None:
                return None
            collection._require_loaded()
            compiled = collection._compile_filter(filter) if filter else None
            settled = self._settled(collection, partial(_moment, collection))
            if settled is None:
                return None
            segments, deleted, waiting = settled[1]
            sources = [*_of_segments(collection, segments, compiled), *_of_waiting(waiting, compiled)]
            return Live(collection.schema, sources, _order(sources, deleted))
        except Exception:  # noqa: BLE001  whatever it is: Milvus Lite is asked, and says what is wrong
            return None

    def _opened(self) -> Any | None:
        _ = self._link.client  # is it open?
        return self._link.database.opened(self._link.name) if _is_compared() else None

    def _settled(self, collection: Any, look: Callable[[Any], T]) -> tuple[int, T] | None:
        """The number of the last write, and what `look` sees in the memtable, while nothing is on its way.

        What Milvus Lite is just writing, or moving into a segment, is nowhere for a moment: that is waited for, by the
        numbers that it gives to writes. None where the last of them does not come, as of one that failed.
        """
        for _ in range(_TRIES):
            memtable = collection._memtable
            with collection._maintenance_lock, memtable._lock:
                last = collection._next_seq - 1
                if collection._memtable is memtable and last == max(collection._manifest.current_seq, memtable.max_seq):
                    return last, look(memtable)
            if last == self._in_vain:
                return None
            abandoned.pause(_WAIT)
        self._in_vain = last
        return None


@cache
def _is_compared() -> bool:
    return metadata.version("milvus-lite").startswith(_COMPARED)


def _moment(collection: Any, memtable: Any) -> tuple[Sequence[Any], Mapping[str, int], Any]:
    """Its segments, the time of each deletion by id, and a table of the rows that are in none yet."""
    segments, former = collection._read_snapshot()
    *_, table = memtable.to_search_snapshot(None, include_table=True)
    deleted = dict(former.snapshot)
    for id_, (seq, _) in memtable.delete_index_snapshot().items():
        deleted[id_] = max(seq, deleted.get(id_, -1))
    return [each for each in segments if each.num_rows], deleted, table


@dataclass(frozen=True, slots=True)
class Live:
    """The rows of a collection that match, at one moment."""

    schema: Any
    sources: Sequence[_Source]
    order: NDArray[np.int64]
    """Their places, by id, in the sources one after another."""

    def __len__(self) -> int:
        return len(self.order)

    def first(self, most: int, last: str | None) -> Live:
        """At most so many of them, those with the smallest ids after `last`."""
        begin = 0
        if last is not None and len(self):
            import pyarrow as pa
            import pyarrow.compute as pc

            ids = self._column(ID).take(pa.array(self.order))
            begin = int(pc.sum(pc.less_equal(ids, last)).as_py())
        return Live(self.schema, self.sources, self.order[begin : begin + most])

    def rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]] | None:
        """These fields of each, as pymilvus gives them, in the order of their ids; None where that is not known."""
        types = {each.name: each.dtype.name for each in self.schema.fields}
        vectors = [name for name in names if types.get(name) == "FLOAT_VECTOR"]
        undeclared = [name for name in names if name not in types]
        plain = [name for name in types if name in names and name not in vectors]  # in pymilvus's order
        if any(types[name] not in _PLAIN for name in plain) or (undeclared and not self.schema.enable_dynamic_field):
            return None
        taken = {name: found for name in vectors if (found := self._vectors(name)) is not None}
        if len(taken) < len(vectors):
            return None
        try:
            columns = {name: self._column(name) for name in [*plain, *([DYNAMIC] if undeclared else [])]}
        except KeyError:  # a segment that is older than the field
            return None
        return self._rows(columns, taken, undeclared)

    def _rows(
        self,
        columns: Mapping[str, Any],
        vectors: Mapping[str, Sequence[NDArray[np.float32]]],
        undeclared: Sequence[str],
    ) -> Iterator[dict[str, Any]]:
        import pyarrow as pa

        table = pa.table(dict(columns)).combine_chunks()
        for start in range(0, len(self), _AT_ONCE):
            abandoned.pause(0)
            places = self.order[start : start + _AT_ONCE]
            some = table.take(pa.array(places))
            values: dict[str, Sequence[Any]] = {name: some.column(name).to_pylist() for name in columns}
            for name, parts in vectors.items():
                values[name] = list(self._gathered(parts, places))
            dynamic = values.pop(DYNAMIC, None)
            names = list(values)
            made: Iterator[dict[str, Any]]
            if names:
                made = (dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True))
            else:
                made = ({} for _ in places)
            if dynamic is None:
                yield from made
            else:
                every = DYNAMIC in undeclared
                for row, text in zip(made, dynamic, strict=True):
                    yield row | _undeclared(text, None if every else undeclared)

    def _column(self, name: str) -> Any:
        import pyarrow as pa

        chunks = [chunk for each in self.sources for chunk in each.table.column(name).chunks]
        return pa.chunked_array(chunks) if chunks else pa.chunked_array([], pa.string())

    def _vectors(self, name: str) -> Sequence[NDArray[np.float32]] | None:
        found = [each.vectors(name) for each in self.sources]
        return None if any(each is None for each in found) else [each for each in found if each is not None]

    def _gathered(self, parts: Sequence[NDArray[np.float32]], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, dim) vectors of those places."""
        ends = np.cumsum([len(each) for each in parts])
        made = np.empty((len(places), parts[0].shape[1]), np.float32)
        source = np.searchsorted(ends, places, side="right")
        for number in np.unique(source):
            here = source == number
            made[here] = parts[number][places[here] - (ends[number] - len(parts[number]))]
        return made


def _of_segments(collection: Any, segments: Sequence[Any], compiled: Any) -> Iterator[_Source]:
    from milvus_lite.search.indexed_filter import evaluate_segment_filter

    plan = collection._indexed_filter_plan(compiled)
    for each in segments:
        matching = None if compiled is None else evaluate_segment_filter(each, compiled, plan)
        yield _Source(each.table, matching, partial(_segment_vectors, each))


def _of_waiting(table: Any, compiled: Any) -> Iterator[_Source]:
    from milvus_lite.search.filter import evaluate_mask

    if table.num_rows:
        matching = None if compiled is None else evaluate_mask(compiled, table)
        yield _Source(table, matching, partial(_waiting_vectors, table))


def _segment_vectors(segment: Any, name: str) -> NDArray[np.float32] | None:
    return _full(*segment.vector_data(name))


def _waiting_vectors(table: Any, name: str) -> NDArray[np.float32] | None:
    from milvus_lite.storage.segment import _extract_vector_array

    return _full(*_extract_vector_array(table.column(name)))


def _full(vectors: NDArray[np.float32], there: NDArray[np.bool_] | None) -> NDArray[np.float32] | None:
    return vectors if there is None or there.all() else None


def _order(sources: Sequence[_Source], deleted: Mapping[str, int]) -> NDArray[np.int64]:
    """The places of the newest rows of each id that were not deleted and match, by id."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not sources:
        return np.empty(0, np.int64)
    table = pa.concat_tables(
        [pa.table([each.table.column(ID), each.table.column(_SEQ)], names=[ID, _SEQ]) for each in sources]
    ).combine_chunks()
    order: NDArray[np.int64] = (
        pc.sort_indices(table, sort_keys=[(ID, "ascending"), (_SEQ, "descending")]).to_numpy().astype(np.int64)
    )
    ids = table.column(ID).take(pa.array(order)).combine_chunks()
    keep = np.ones(len(order), bool)
    if len(order) > 1:  # of equal ids the first is the newest
        keep[1:] = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    if deleted:
        seqs = table.column(_SEQ).to_numpy()
        gone = pc.is_in(ids, value_set=pa.array(list(deleted), ids.type)).to_numpy(zero_copy_only=False)
        for place in np.flatnonzero(gone & keep):
            keep[place] = deleted[ids[int(place)].as_py()] <= seqs[order[place]]
    order = order[keep]
    if sources[0].matching is not None:
        matching = np.concatenate([each.matching for each in sources if each.matching is not None])
        order = order[matching[order]]
    return order


def _undeclared(text: str | None, names: Sequence[str] | None) -> dict[str, Any]:
    """Those keys of the dynamic field, or all of them."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        return {}
    return found if names is None else {name: found[name] for name in names if name in found}
