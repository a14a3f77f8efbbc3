"""Are Milvus's answers right? Compares its searches with exact search over the stored vectors."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from imgvec.catalog import INDEX_TYPES
from imgvec.indexes.exact import ExactSearch
from imgvec.indexes.findings import MEANINGS, Finding, Severity, Verification
from imgvec.indexes.options import CheckOptions
from imgvec.indexes.pictures import key, ranked
from imgvec.indexes.recall import Estimate, estimate, recalls
from imgvec.indexes.scores import size, tolerance, true_scores
from imgvec.options import documented, settled
from imgvec.plurals import counted
from imgvec.progress import Telling
from imgvec.store import Indexes
from imgvec.stored import Found
from imgvec.vectors import MAX_NORM, MIN_NORM, UNIT_TOLERANCE, Vectors, has_direction, norms
from imgvec.views import MOST_ROWS, best_views, rows_to_ask

_EXAMPLES = 3
_INT8_TOLERANCE = 0.1
_NEAR = 1e-4
"""Scores that differ by less are equal here: Milvus's own differ by rounding between an index and no index."""
_GENEROUS = 1000
"""The limit, and the candidates of a graph, of the search for a row that a usual one did not find."""
_SEARCHES_A_CALL = 100


@documented(CheckOptions)
def verify(store: Indexes, filter: str = "", **options: Unpack[CheckOptions]) -> Verification:
    """Check a collection's rows (or those that match), its index and its searches; `MEANINGS` lists what can be found.

    `probes` random rows are searched for by their own vectors; one that is not found is searched for again, with the
    most generous parameters. The first `queries` of these searches are compared with exact search: their true
    neighbours, themselves left out, with `recall` as the least lower bound of recall@`limit`, and the scores of their
    hits. This is the recall of stored rows, whose neighbours an approximate index finds more easily than those of new
    pictures: it reveals a broken index, but does not predict the recall of new pictures, which `tune` does. In a
    collection of views each search asks for the rows that hold `limit` + 1 pictures, as one by default does, and recall
    is that of pictures, the query's own left out; all else is about rows. `params` are the search parameters, by
    default the index's. Rows stream by twice, once without their vectors; memory holds a block of them. Raises
    `OptionError`, and `QueryError` for parameters of another index and more pictures than Milvus gives rows for.
    """
    return _Check(store, filter, settled(CheckOptions, options)).run()


class _Check:
    def __init__(self, store: Indexes, filter: str, asked: CheckOptions) -> None:
        self._store, self._filter, self._asked, self._limit = store, filter, asked, asked["limit"]
        self._params = asked["params"] or {}
        self._tell = Telling("verify", asked["on_progress"])
        self._metric_type = store.metric_type
        views = store.most_views
        self._rows = self._limit + 1 if views is None else min(rows_to_ask(self._limit, views) + views, MOST_ROWS)
        """To ask for: those that hold `limit` hits beside the query's own, as far as Milvus gives so many."""
        self._key = key(store)
        self._counts: Counter[tuple[str, Severity]] = Counter()
        """Number of problems, by name and severity."""
        self._examples: dict[tuple[str, Severity], list[str]] = defaultdict(list)
        self._other: list[Finding] = []

    def run(self) -> Verification:
        began, queries = time.monotonic(), self._asked["queries"]
        before = self._store.count(self._filter)
        listed, ids = self._sample(max(self._asked["probes"], queries), before)
        ids, vectors, own = self._usable(ids)
        answers = self._searched(ids, vectors)
        self._look_for_missing(ids, vectors, answers)
        asked = answers[:queries]
        exact = ExactSearch(
            vectors[:queries],
            limit=self._rows,
            metric_type=self._metric_type,
            device=self._asked["device"] or "auto",
        )
        rows, scores = self._stream(exact, vectors[:queries], asked, before)
        self._look_at_counts(before, listed, rows)
        compared = self._look_at_scores(vectors, asked, scores)
        found = self._recall(own[:queries], asked, scores, exact, rows)
        if (recall := self._asked["recall"]) is not None and found is not None and found.low < recall:
            what = "recall" if self._key == "id" else "picture recall"
            message = f"{what}@{self._limit} is {found.mean:.4f}, at least {found.low:.4f} with 95 % confidence"
            more = "; more queries may show it" if found.mean >= recall else ""
            self._other.append(Finding("low recall", f"{message}, but {recall:g} is wanted{more}"))
        self._look_at_index(min(before, rows))
        return Verification(
            name=self._store.name,
            index=self._store.index.type,
            limit=self._limit,
            rows=rows,
            recall=found,
            findings=tuple(self._findings()),
            checked={"vectors": rows, "probes": len(ids), "queries": len(asked), "scores": compared},
            seconds=time.monotonic() - began,
            ranked=ranked(self._store),
        )

    def _sample(self, size: int, total: int) -> tuple[int, list[str]]:
        """How many rows there are, and a random sample of their ids, in random order; whatever `count` says."""
        random = np.random.default_rng(self._asked["seed"])
        kept: NDArray[np.object_] = np.empty(0, object)
        keys = np.empty(0)
        rows, last = 0, ""
        for batch in self._store.scan(["id"], self._filter):
            ids = [row["id"] for row in batch]
            # rows come in the order of their ids, so one that does not come after the last came before
            for id_ in ids:
                if id_ <= last and rows:
                    self._note("repeated id", [id_])
                last = id_
                rows += 1
            kept = np.concatenate([kept, np.array(ids, object)])
            keys = np.concatenate([keys, random.random(len(ids))])
            best = np.argsort(keys)[:size]
            kept, keys = kept[best], keys[best]
            self._tell("listing the rows", rows, max(rows, total))
        return rows, list(dict.fromkeys(kept.tolist()))

    def _usable(self, ids: Sequence[str]) -> tuple[list[str], Vectors, list[str]]:
        """The sampled rows that can be searched with, their vectors, and what each is as a hit: row or picture."""
        rows = self._store.get(ids, output_fields=self._keys, with_vector=True)
        there = [id_ for id_ in ids if id_ in rows]
        vectors = np.empty((len(there), self._store.dim), np.float32)
        for place, id_ in enumerate(there):
            vectors[place] = rows[id_]["vector"]
        lengths = norms(vectors)
        usable = has_direction(lengths) & (lengths < MAX_NORM)
        found = [id_ for id_, fits in zip(there, usable, strict=True) if fits]
        return found, vectors[usable], [rows[id_].get(self._key, id_) for id_ in found]

    @property
    def _keys(self) -> list[str]:
        """The fields to read with a row, beside its id."""
        return [] if self._key == "id" else [self._key]

    def _searched(self, ids: Sequence[str], vectors: Vectors) -> list[Sequence[Found]]:
        """The hits of each sampled row, itself among them."""
        answers: list[Sequence[Found]] = []
        for start in range(0, len(ids), _SEARCHES_A_CALL):
            part = vectors[start : start + _SEARCHES_A_CALL]
            answers += self._store.search(
                part, limit=self._rows, filter=self._filter, params=self._params, output_fields=self._keys
            )
            self._tell("searching", len(answers), len(ids))
        return answers

    def _look_for_missing(self, ids: Sequence[str], vectors: Vectors, answers: Sequence[Sequence[Found]]) -> None:
        """Search again, and wider, for the rows that were not found by their own vectors."""
        missing = [place for place, hits in enumerate(answers) if ids[place] not in {hit.id for hit in hits}]
        if not missing:
            return
        index = INDEX_TYPES.get(self._store.index.type)
        limit = max(self._rows, min(_GENEROUS, index.max_limit if index else _GENEROUS))
        params = {**self._params, **self._generous(limit)}
        for start in range(0, len(missing), _SEARCHES_A_CALL):
            places = missing[start : start + _SEARCHES_A_CALL]
            wider = self._store.search(vectors[places], limit=limit, filter=self._filter, params=params)
            for place, hits in zip(places, wider, strict=True):
                if any(hit.id == ids[place] for hit in hits):
                    continue
                vector = vectors[place]
                own = true_scores(self._metric_type, vector, vector[None])[0] - size(self._metric_type, vector) * _NEAR
                # `limit` rows that are all as near leave no room for it
                if len(hits) < limit or hits[-1].score < own:
                    self._note("unfindable row", [ids[place]])

    def _generous(self, limit: int) -> dict[str, Any]:
        """Search parameters of this index that leave nothing out, or as little as can be."""
        index = INDEX_TYPES.get(self._store.index.type)
        wanted: dict[str, Any] = {}
        for parameter in index.search if index else ():
            if parameter.name == "nprobe":
                wanted["nprobe"] = int(self._store.index.params.get("nlist", 128))
            elif parameter.at_least_limit or parameter.name == "itopk_size":
                wanted[parameter.name] = -(-limit // 32) * 32
        return wanted

    def _stream(
        self, exact: ExactSearch, queries: Vectors, answers: Sequence[Sequence[Found]], total: int
    ) -> tuple[int, list[NDArray[np.float64]]]:
        """Look at every stored vector; how many there are, and the true score of each hit, NaN where it is unknown."""
        scores = [np.full(len(hits), np.nan) for hits in answers]
        wanted: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for query, hits in enumerate(answers):
            for rank, hit in enumerate(hits):
                wanted[hit.id].append((query, rank))
        rows = 0
        for batch in self._store.scan(["vector", *self._keys], self._filter):
            ids = [row["id"] for row in batch]
            vectors = np.stack([row["vector"] for row in batch])
            self._look_at_vectors(ids, vectors)
            exact.add([row[self._key] for row in batch], vectors)
            for place, id_ in enumerate(ids):
                for query, rank in wanted.pop(id_, ()):
                    scores[query][rank] = true_scores(self._metric_type, queries[query], vectors[place][None])[0]
            rows += len(ids)
            self._tell("comparing", rows, max(rows, total))
        self._note("unknown row", list(wanted))
        return rows, scores

    def _look_at_vectors(self, ids: Sequence[str], vectors: Vectors) -> None:
        lengths = norms(vectors)
        finite, zero = np.isfinite(lengths), lengths < MIN_NORM
        wrong: list[tuple[str, Severity, NDArray[np.bool_]]] = [("not a number", "error", ~finite)]
        if self._metric_type != "L2":
            rounded = self._store.vector_type == "INT8_VECTOR"
            odd = finite & ~zero & (np.abs(lengths - 1) > (_INT8_TOLERANCE if rounded else UNIT_TOLERANCE))
            # a cosine does not feel lengths
            severity: Severity = "error" if self._metric_type == "IP" else "warning"
            wrong += [("zero vector", "error", zero), ("not unit length", severity, odd)]
        for name, severity, which in wrong:
            self._note(name, [ids[place] for place in np.flatnonzero(which).tolist()], severity)

    def _look_at_counts(self, before: int, listed: int, rows: int) -> None:
        after = self._store.count(self._filter)
        if before != after:
            message = f"the row count changed from {before:,} to {after:,}"
            self._other.append(Finding("changed meanwhile", message, severity="warning"))
        for read in dict.fromkeys((listed, rows)):
            if not min(before, after) <= read <= max(before, after):
                self._other.append(
                    Finding("row count", f"count(*) is {after:,}, but {counted(read, 'row')} can be read")
                )

    def _look_at_scores(
        self, vectors: Vectors, answers: Sequence[Sequence[Found]], scores: Sequence[NDArray[np.float64]]
    ) -> int:
        """Hold Milvus's scores, their order and their ids against the true ones; returns how many scores."""
        allowed, compared = tolerance(self._store.index), 0
        for vector, hits, true in zip(vectors, answers, scores, strict=False):
            large = size(self._metric_type, vector)
            given = np.array([hit.score for hit in hits], float)
            known = np.isfinite(true)
            if allowed is not None:
                compared += int(known.sum())
                # NaN is not a score either
                wrong = known & ~(np.abs(given - true) <= allowed * np.maximum(large, np.abs(true)))
                self._note("wrong score", [hits[place].id for place in np.flatnonzero(wrong).tolist()])
            rising = np.flatnonzero(np.diff(given) > _NEAR * large).tolist()
            self._note("out of order", [hits[place + 1].id for place in rising])
            self._note("repeated id", [id_ for id_, times in Counter(hit.id for hit in hits).items() if times > 1])
        return compared

    def _recall(
        self,
        owns: Sequence[str],
        answers: Sequence[Sequence[Found]],
        scores: Sequence[NDArray[np.float64]],
        exact: ExactSearch,
        rows: int,
    ) -> Estimate | None:
        """recall@limit of the sampled rows, themselves left out; by true scores, not by those that Milvus gives."""
        if not owns:
            return None
        found: list[list[Found]] = []
        for own, hits, true in zip(owns, answers, scores, strict=True):
            score_of = {hit.id: float(score) for hit, score in zip(hits, true, strict=True)}
            ordered = hits if self._key == "id" else best_views(hits)
            named = [(hit.fields.get(self._key, hit.id), hit) for hit in ordered]
            found.append([Found(name, hit.distance, score_of[hit.id]) for name, hit in named if name != own])
        nearest = exact.neighbours() if self._key == "id" else exact.neighbours().once()
        shares = recalls(found, nearest.without(owns), self._limit, exact_scores=True)
        return estimate(shares, population=rows)

    def _look_at_index(self, rows: int) -> None:
        now = self._store.index_state()
        if now.state == "Failed":
            self._other.append(Finding("unfinished index", f"Milvus could not build it: {now.reason}"))
        elif now.pending_rows or now.indexed_rows < max(rows, now.total_rows):
            covered = f"it is {now.state} and covers {now.indexed_rows:,} of {max(rows, now.total_rows):,} rows"
            self._other.append(Finding("unfinished index", covered, severity="warning"))

    def _note(self, name: str, ids: Sequence[str], severity: Severity = "error") -> None:
        """Record a problem with each of these rows; keeps a few as examples."""
        if ids:
            self._counts[name, severity] += len(ids)
            examples = self._examples[name, severity]
            examples += [id_ for id_ in dict.fromkeys(ids) if id_ not in examples][: _EXAMPLES - len(examples)]

    def _findings(self) -> list[Finding]:
        findings = [
            Finding(
                name, f"{counted(times, 'time')}, {MEANINGS[name]}", tuple(self._examples[name, severity]), severity
            )
            for (name, severity), times in self._counts.items()
        ]
        return sorted(findings + self._other, key=lambda finding: finding.severity)
