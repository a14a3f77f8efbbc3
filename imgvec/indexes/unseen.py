"""Stored rows as queries that the index does not hold.

A stored row is a node of a graph, or has pulled at the centre of its cluster: the index leads to its neighbours better
than to a stranger's. Over 40,000 vectors an HNSW that finds 0.973 of the neighbours of stored rows finds 0.919 of those
of other pictures. So rows that are to stand for strangers are left out of a copy, an index like the collection's is
built over it, and recall is measured there (`LeftOut`). A copy lacks a twentieth of the rows at most; where that is
fewer than the queries wanted, several copies lack some each.

A row whose picture is stored twice is not a stranger while its twin stays: over 1,500 vectors that were each stored
twice, an HNSW found 0.98 of the neighbours of rows left out by themselves, and 0.67 of a stranger's. So the queries are
of different pictures, and with each all rows of that picture are left out (`_pictures`).

A collection with more than `COPIED` rows is not copied as a whole. There recall is measured on its own index with
stored rows, and corrected by what a copy of `COPIED` of its rows tells (`carried`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np

from imgvec import catalog
from imgvec.errors import OptionError
from imgvec.indexes.carried import Carried, learned_at
from imgvec.indexes.ladder import grid
from imgvec.indexes.measure import Asked, Half, Latency, Queries, Questions, bounded, latencies, sampled
from imgvec.indexes.options import RecallOptions
from imgvec.indexes.recall import Estimate
from imgvec.plurals import counted
from imgvec.progress import Telling
from imgvec.rows import IMAGE_ID, VIEW
from imgvec.store import Indexes, Searches

COPIED = 100_000
"""The most rows that are copied to measure on."""
_LEFT_OUT, _MOST_COPIES = 20, 10
"""A copy lacks one row in so many, as long as no more copies are needed: an HNSW over half as many rows finds some
0.02 more at the same ef, so a copy that lacks much of the collection would flatter it."""
_FEWEST = 2
"""Pictures that a copy lacks: one for each half of the queries."""
_AT_ONCE = 1000
_TAUGHT = 2
"""Times the queries: what a copy teaches is believed as far as it is measured, and there are rows enough."""

Basis = Literal["given", "stored", "left out", "carried over"]
"""What the queries were: given, or stored rows: as they are, left out of a copy, or corrected by what a copy taught."""
Ask = Callable[[Searches, Queries], list[Questions]]
"""Finds the true neighbours of queries in a store, under each filter."""


class Scratch(Protocol):
    """Makes a copy of the collection, which lives as long as the block: all of its rows, or those that are named."""

    def __call__(
        self, *, without: Collection[str] = ..., only: Sequence[str] | None = ...
    ) -> AbstractContextManager[Indexes]: ...


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Stored rows as queries to copies that lack them, under one filter."""

    filter: str
    rows: int
    limit: int
    parts: Sequence[Questions]

    @property
    def asked(self) -> int:
        return self.limit

    def size(self, which: Half) -> int:
        return sum(part.size(which) for part in self.parts)

    def measured(self, params: Mapping[str, Any], which: Half, confidence: float) -> Estimate:
        shares = np.concatenate([part.recall(params, which) for part in self.parts])
        return bounded(shares, confidence)

    def latencies(self, store: Searches, settings: Sequence[Mapping[str, Any]], calls: int) -> list[Latency]:
        vectors = np.concatenate([part.queries.vectors for part in self.parts])
        return latencies(store, vectors, settings, calls, limit=self.limit, filter=self.filter)


@dataclass
class Unseen:
    """The queries under each filter, and the copies that they are searched in."""

    basis: Basis
    asked: Sequence[Asked]
    copies: Sequence[Indexes] = field(default_factory=list)


@contextmanager
def unseen(
    store: Searches, scratch: Scratch, number: int, ask: Ask, wanted: RecallOptions, tell: Telling
) -> Iterator[Unseen]:
    """`number` stored rows as queries to tune the store's own index by, for as long as the block.

    An index that compares with every row is searched with them as they are. For any other, copies are made and an
    index like it is built over them first: `on_notice` is told before that starts. At the recall that is wanted a copy
    is asked how much easier stored rows are.
    """
    notice = wanted["on_notice"] or (lambda _: None)
    kind, name, built_with = catalog.index_type(store.index.type), store.index.type, store.index.params
    pictures = _pictures(store, wanted["seed"], of_vectors=kind.family != "exact")
    if kind.family == "exact":
        yield Unseen("stored", ask(store, sampled(store, _firsts(pictures)[:number])))
        return
    rows = sum(map(len, pictures))
    many = rows - min(number, len(pictures)) > COPIED
    copies = 1 if many else _copies(pictures, number)
    width, _ = catalog.VECTOR_TYPES[store.vector_type]
    size = copies * kind.memory(min(rows, COPIED), store.dim, width, {**kind.defaults("build"), **built_with})
    if len(pictures) < min(number, rows):
        notice(
            f"the {counted(rows, 'row')} show only {counted(len(pictures), 'different picture')}, each of which "
            f"gives at most one query"
        )
    what = f"{COPIED:,} rows are" if many else "the rows are"
    notice(
        f"the queries are stored rows, which {name} finds more easily than new pictures, so {what} copied without "
        f"them and {name} is built on the {'copy' if copies == 1 else f'{copies} copies'} (about "
        f"{size / 2**20:,.0f} MiB until the end); queries of your own need no copy and are better"
    )
    with ExitStack() as stack:
        if many:
            yield _carried(store, scratch, stack, pictures, number, ask, wanted, tell)
            return
        left_out = _left_out(store, scratch, stack, pictures, number, tell)
        for copy, _ in left_out:
            tell(f"{name}: building over a copy")
            copy.build_index(name, built_with, on_progress=tell.part(f"{name} over a copy"))
        yield Unseen("left out", _asked_of(store, left_out, ask), [copy for copy, _ in left_out])


@contextmanager
def unseen_copies(
    store: Searches, scratch: Scratch, number: int, ask: Ask, wanted: RecallOptions, tell: Telling
) -> Iterator[Unseen]:
    """`number` stored rows as queries to copies of all others, whose indexes the caller builds."""
    with ExitStack() as stack:
        left_out = _left_out(store, scratch, stack, _pictures(store, wanted["seed"]), number, tell)
        yield Unseen("left out", _asked_of(store, left_out, ask), [copy for copy, _ in left_out])


def _pictures(store: Searches, seed: int, *, of_vectors: bool = True) -> list[list[str]]:
    """The ids of the rows of each picture, the pictures in random order.

    Rows are of one picture where their bytes are the same, or their vectors, for which up to 100,000 rows are read. All
    views of a picture are of it, the whole one first; equal crops, as of two white walls, do not make pictures one.
    """
    views = store.most_views is not None
    fields = ["id", "content_hash", *([IMAGE_ID, VIEW] if views else [])]
    fields += ["vector"] if of_vectors and store.count() <= COPIED else []
    groups: dict[str, list[str]] = {}
    keys_of: dict[str, list[str | bytes]] = {}
    group_of: dict[str | bytes, str] = {}
    for row in (row for rows in store.scan(fields) for row in rows):
        keys: list[str | bytes] = [key for key in (row.get("content_hash"), row.get(IMAGE_ID) if views else "") if key]
        is_whole = not views or row[VIEW] == "whole"
        if "vector" in row and is_whole:
            keys.append(blake2b(np.asarray(row["vector"], np.float32).tobytes(), digest_size=16).digest())
        # the largest takes in the others, so that no key moves often
        known = sorted({group_of[key] for key in keys if key in group_of}, key=lambda one: (-len(keys_of[one]), one))
        first = known[0] if known else row["id"]
        for other in known[1:]:
            groups[first] += groups.pop(other)
            keys += keys_of.pop(other)
        rows = groups.setdefault(first, [])
        rows.insert(0 if views and is_whole else len(rows), row["id"])
        keys_of.setdefault(first, []).extend(keys)
        group_of.update(dict.fromkeys(keys, first))
    order = np.random.default_rng(seed).permutation(len(groups))
    found = list(groups.values())
    return [found[number] for number in order]


def _firsts(pictures: Sequence[Sequence[str]]) -> list[str]:
    return [ids[0] for ids in pictures]


def _stored(store: Searches, pictures: Sequence[Sequence[str]]) -> Iterator[list[list[str]]]:
    """Each picture as often as it is stored, and for each time its rows: all of its views, or the one row."""
    for start in range(0, len(pictures), _AT_ONCE):
        some = pictures[start : start + _AT_ONCE]
        owners: Mapping[str, Mapping[str, Any]] = {}
        if store.most_views is not None:
            owners = store.get([id_ for ids in some for id_ in ids], output_fields=[IMAGE_ID])
        for ids in some:
            times: dict[str, list[str]] = {}
            for id_ in ids:
                times.setdefault(owners[id_][IMAGE_ID] if id_ in owners else id_, []).append(id_)
            yield list(times.values())


def _as_many(pictures: Iterator[list[list[str]]]) -> list[list[str]]:
    """The rows of pictures, each as it is stored first: as many pictures as `COPIED` rows hold."""
    kept, rows = [], 0
    for first, *_ in pictures:
        rows += len(first)
        if rows > COPIED:
            break
        kept.append(first)
    return kept


def _copies(pictures: Sequence[Sequence[str]], number: int) -> int:
    """How many copies it takes that each lacks one row in `_LEFT_OUT`, to leave so many pictures out."""
    lacking, rows = sum(map(len, pictures[:number])), sum(map(len, pictures))
    return max(1, min(_MOST_COPIES, math.ceil(lacking * _LEFT_OUT / max(1, rows)), len(pictures[:number]) // _FEWEST))


def _left_out(
    store: Searches, scratch: Scratch, stack: ExitStack, pictures: Sequence[Sequence[str]], number: int, tell: Telling
) -> list[tuple[Indexes, Queries]]:
    """Copies, each with the queries that it lacks."""
    made, queries = [], sampled(store, _firsts(pictures)[:number])
    rows_of = {ids[0]: ids for ids in pictures[:number]}
    own = list(queries.rows)
    copies = _copies(pictures, number)
    if len(pictures) < 2 * _FEWEST:
        raise OptionError(
            "queries",
            f"rows with {counted(len(pictures), 'different picture')} are too few to leave some out: use queries "
            f"of your own",
        )
    # in pairs, so that both halves of the queries are as large as they can be
    pairs = np.arange(len(own)) // 2
    for part in range(copies):
        mine = pairs % copies == part
        without = frozenset(id_ for place in np.flatnonzero(mine) for id_ in rows_of[own[place]])
        tell(f"copying the rows without {len(without):,} of them")
        copy = stack.enter_context(scratch(without=without))
        made.append((copy, Queries(queries.vectors[mine], None)))
    return made


def _asked_of(store: Searches, copies: Sequence[tuple[Searches, Queries]], ask: Ask) -> list[LeftOut]:
    each = [ask(copy, lacking) for copy, lacking in copies]
    # one of each copy, filter by filter
    return [
        LeftOut(parts[0].filter, store.count(parts[0].filter), parts[0].limit, parts)
        for parts in zip(*each, strict=True)
    ]


def _carried(
    store: Searches,
    scratch: Scratch,
    stack: ExitStack,
    pictures: Sequence[Sequence[str]],
    sample: int,
    ask: Ask,
    wanted: RecallOptions,
    tell: Telling,
) -> Unseen:
    """The queries to the store itself, and what a copy of some of its rows tells of how much easier they are.

    Neither the queries nor the rows of the copy have a twin, where the bytes tell.
    """
    name, built_with = store.index.type, store.index.params
    alone = (same[0][0] for same in _stored(store, pictures) if len(same) == 1)
    queries = sampled(store, list(islice(alone, sample)))
    number = _TAUGHT * len(queries.vectors)
    strangers, kept = _firsts(pictures[:number]), _as_many(_stored(store, pictures[number:]))
    if len(kept) < number:
        raise OptionError(
            "queries",
            f"{number:,} of {counted(len(pictures), 'picture')} are too many to leave out of a copy: use fewer queries",
        )
    rows = [id_ for ids in kept for id_ in ids]
    tell(f"copying {len(rows):,} rows")
    copy = stack.enter_context(scratch(only=rows))
    tell(f"{name}: building over the copy")
    copy.build_index(name, built_with, on_progress=tell.part(f"{name} over a copy"))
    stored = ask(copy, sampled(copy, _firsts(kept[:number])))
    other = ask(copy, Queries(sampled(store, strangers).vectors, None))
    cells = grid(catalog.index_type(name), built_with, rows=len(rows), limit=stored[0].asked)
    learned = [learned_at(cells, mine, theirs, wanted) for mine, theirs in zip(stored, other, strict=True)]
    # where few rows match, the copy may find all of them, and teaches nothing
    most = max(filter(None, learned), key=lambda easier: easier.log_odds, default=None)
    if most is None:
        raise OptionError(
            "queries",
            f"{name} finds every neighbour in a copy of {counted(len(kept), 'row')}, which says nothing about all "
            f"{store.count():,}: use queries of your own",
        )
    own = ask(store, queries)
    return Unseen("carried over", [Carried(each, easier or most) for each, easier in zip(own, learned, strict=True)])
