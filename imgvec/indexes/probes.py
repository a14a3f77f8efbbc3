"""What is kept of standing probes: candidates for the nearest rows of each, noted by whoever writes rows.

A probe is a query whose nearest rows are to be known at any time, without reading all rows. So whoever writes a row
that is near enough notes it, by its id and its score. Near enough is a score of at least the probe's `floor`. The
promise of a note is that of every row that its writer has written since the note before, all with a score of at least
its floors are in it or in an earlier one. So whatever order notes are read in, and however often, of all rows those
above the highest floor of any note are known; all else about them is asked of the collection itself. A note says more
than is true where a row was written again or deleted since, and never less.

Notes of one writer and of many are merged by taking all of them, the higher floor and the higher score.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.indexes.recall import TIE
from imgvec.vectors import Vectors

Scores = NDArray[np.float32]
_ARRAYS = {
    "rows": "<i4", "probes": "<i4", "scores": "<f4", "floors": "<f4", "gone": "<u8", "counts": "<i8", "doubtful": "<i8"
}  # fmt: skip
"""Of a note, and their types as they are kept."""
BINS = 64
"""Of a histogram of how near rows are to the nearest probe."""


def scored(metric_type: str, probes: Vectors, vectors: Vectors) -> Scores:
    """(probes, rows) scores, higher is better, as `true_scores`; -inf where a row has none."""
    with np.errstate(all="ignore"):
        if metric_type == "L2":
            wide, others = probes.astype(np.float64), vectors.astype(np.float64)
            squares = np.square(wide).sum(1)[:, None] + np.square(others).sum(1)[None]
            found = (1 - np.maximum(squares - 2 * (wide @ others.T), 0) / 2).astype(np.float32)
        else:
            found = probes @ vectors.T
            if metric_type == "COSINE":
                lengths = np.linalg.norm(probes, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)[None]
                found = found / lengths
    result: Scores = np.where(np.isfinite(found), found, np.float32(-np.inf))
    return result


def slack(floors: Scores) -> Scores:
    """The floors, lowered by what rounding may do to a score."""
    lowered: Scores = np.where(np.isfinite(floors), floors - TIE * np.maximum(1, np.abs(floors)), floors)
    return lowered


def hashed(ids: Iterable[str]) -> NDArray[np.uint64]:
    """A number of 64 bits for each id."""
    digests = [int.from_bytes(blake2b(id_.encode(), digest_size=8).digest()) for id_ in ids]
    return np.array(digests, np.uint64)


@dataclass(frozen=True, slots=True)
class Note:
    """Candidates of one writer, or of several that were merged."""

    ids: Sequence[str]
    """Each once."""
    rows: NDArray[np.int32]
    """Of each entry, the place of its row in `ids`."""
    probes: NDArray[np.int32]
    """Of each entry, whose candidate the row is."""
    scores: Scores
    """Of each entry, what it scored when it was written."""
    floors: Scores
    """(probes,): what was below it may not have been noted."""
    gone: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """Of deleted rows, `hashed`."""
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    """Rows written, by how near they are to the nearest probe: in which bin of a histogram."""
    doubtful: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Numbers of this writer's notes whose rows were not acknowledged when this was noted."""

    def packed(self) -> bytes:
        """As bytes, compressed: the number of bytes of each field, then these, each an array of a known type."""
        parts = [json.dumps(self.ids).encode()]
        parts += [np.asarray(getattr(self, name), kind).tobytes() for name, kind in _ARRAYS.items()]
        return zlib.compress(b"".join([np.array([len(part) for part in parts], "<i8").tobytes(), *parts]), 1)

    def halves(self) -> tuple[Note, Note]:
        """The same in two notes, each about half as long."""
        middle, gone = len(self.rows) // 2, len(self.gone) // 2
        first = _part(self, slice(None, middle))
        second = _part(self, slice(middle, None))
        return (
            replace(first, gone=self.gone[:gone]),
            replace(second, gone=self.gone[gone:], counts=np.zeros(BINS, np.int64)),
        )


@dataclass(frozen=True, slots=True)
class Merged:
    """All that was noted."""

    note: Note
    doubtful: frozenset[str] = frozenset()
    """Ids of rows that may never have been written, since their writer was not told so before it ended."""


def unpacked(data: bytes) -> Note:
    """The reverse of `Note.packed`."""
    raw = zlib.decompress(data)
    start = 8 * (1 + len(_ARRAYS))
    ends = start + np.cumsum(np.frombuffer(raw[:start], "<i8"))
    found: dict[str, Any] = {}
    for (name, kind), begin, end in zip(_ARRAYS.items(), ends.tolist(), ends[1:].tolist(), strict=False):
        found[name] = np.frombuffer(raw[begin:end], kind)
    return Note(ids=json.loads(raw[start : ends[0]]), **found)


def _part(note: Note, which: slice) -> Note:
    rows, places = np.unique(note.rows[which], return_inverse=True)
    ids = [note.ids[row] for row in rows.tolist()]
    return replace(note, ids=ids, rows=places.astype(np.int32), probes=note.probes[which], scores=note.scores[which])


def entries(ids: Sequence[str], scores: Scores, floors: Scores, most: int | None = None) -> Note:
    """The candidates among rows with (probes, rows) scores: those that reach the floors.

    Where a probe has more than `most`, these are the nearest, and its floor is raised to the last one's score.
    """
    wanted, raised = scores >= slack(floors)[:, None], floors
    if most is not None and len(ids) > most and (many := wanted.sum(1) > most).any():
        kth = np.partition(scores[many], -most, axis=1)[:, -most]
        raised = floors.copy()
        raised[many] = np.maximum(floors[many], kth)
        wanted[many] &= scores[many] >= slack(raised[many])[:, None]
    probes, rows = np.nonzero(wanted)
    kept, places = np.unique(rows, return_inverse=True)
    return Note(
        [ids[row] for row in kept.tolist()],
        places.astype(np.int32),
        probes.astype(np.int32),
        scores[probes, rows].astype(np.float32),
        raised.astype(np.float32),
    )


def merged(notes: Sequence[Note], floors: Scores, most: int | None = None) -> Note:
    """All notes as one, each candidate with its highest score, in the order of probes and scores.

    Above `most` candidates of a probe the last ones are left out, and its floor is raised.
    """
    floors = np.maximum.reduce([floors, *(note.floors for note in notes)]).astype(np.float32)
    ids: dict[str, int] = {}
    rows, probes, scores = [], [], []
    for note in notes:
        places = np.array([ids.setdefault(id_, len(ids)) for id_ in note.ids], np.int64)
        rows.append(places[note.rows] if len(note.rows) else np.empty(0, np.int64))
        probes.append(note.probes)
        scores.append(note.scores)
    nothing = np.empty(0, np.int64)
    row, probe = np.concatenate([nothing, *rows]), np.concatenate([nothing, *probes])
    score = np.concatenate([np.empty(0, np.float32), *scores])
    order = np.lexsort((-score, row, probe))
    row, probe, score = row[order], probe[order], score[order]
    first = np.ones(len(row), bool)
    first[1:] = (row[1:] != row[:-1]) | (probe[1:] != probe[:-1])
    reaches = score >= slack(floors)[probe] if len(probe) else first
    row, probe, score = (each[first & reaches] for each in (row, probe, score))
    order = np.lexsort((-score, probe))
    row, probe, score = row[order], probe[order], score[order]
    if most is not None and len(probe):
        place = np.arange(len(probe)) - np.searchsorted(probe, probe)
        last = place == most - 1
        more = np.isin(probe, probe[place >= most])
        floors = floors.copy()
        floors[probe[last & more]] = np.maximum(floors[probe[last & more]], score[last & more])
        kept = score >= slack(floors)[probe]
        row, probe, score = row[kept], probe[kept], score[kept]
    used, places = np.unique(row, return_inverse=True)
    names = list(ids)
    return Note(
        [names[number] for number in used.tolist()],
        places.astype(np.int32),
        probe.astype(np.int32),
        score.astype(np.float32),
        floors,
        np.unique(np.concatenate([np.empty(0, np.uint64), *(note.gone for note in notes)])),
        np.sum([np.zeros(BINS, np.int64), *(note.counts for note in notes)], axis=0),
    )


def binned(scores: Scores, edges: Scores) -> NDArray[np.int64]:
    """(BINS,): in how many of the rows the nearest probe is as near as each bin says; `edges` are between the bins."""
    nearest = scores.max(0, initial=-np.inf)
    return np.bincount(np.searchsorted(edges, nearest, side="right"), minlength=BINS).astype(np.int64)


def edges_of(nearest: NDArray[np.float32]) -> Scores:
    """(BINS - 1,) edges between bins that hold the same number of these scores each."""
    if not len(nearest):
        return np.zeros(BINS - 1, np.float32)
    return np.quantile(nearest, np.linspace(0, 1, BINS + 1)[1:-1]).astype(np.float32)


def of_probe(note: Note) -> Mapping[int, slice]:
    """Where the entries of each probe stand in a merged note."""
    if not len(note.probes):
        return {}
    numbers, starts = np.unique(note.probes, return_index=True)
    ends = [*starts[1:].tolist(), len(note.probes)]
    return {
        number: slice(start, end) for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True)
    }
