"""The answer to a search: the hits, and how much to trust them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

from imgvec.errors import BackendError, ImgvecError
from imgvec.plurals import counted
from imgvec.rows import ViewKind
from imgvec.search.request import Request
from imgvec.stored import Reach

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from imgvec.search.facets import Facet
    from imgvec.search.forms import Box
    from imgvec.search.profile import Profile

_COLUMNS = ("id", "score", "distance", "uri", "image_id", "view", "box", "at_ms", "probability", "p_value")


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search."""

    id: str
    score: float
    """Similarity, higher is better whatever the metric: the cosine for unit vectors."""
    uri: str
    fields: Mapping[str, Any]
    """The other output fields, by name."""
    distance: float
    """Milvus's own value: the similarity for COSINE and IP, the squared Euclidean distance for L2."""
    image_id: str = ""
    """Of the picture that the row is a view of; the row's own id where the row is the whole picture."""
    view: ViewKind = "whole"
    box: Box | None = None
    """The view's place: x0, y0, x1, y1 in pixels of the upright picture; None for the whole of it."""
    probability: float | None = None
    """The chance that this is a true match, where every second query has one; None where nothing was calibrated for
    such a query, or no matches were known."""
    at_ms: int | None = None
    """Milliseconds into the video, of a frame."""
    p_value: float | None = None
    """The lowest false-match rate at which this is a match; None where nothing was calibrated for such a query."""

    def __post_init__(self) -> None:
        if not self.image_id:
            object.__setattr__(self, "image_id", self.id)

    def __eq__(self, other: object) -> bool:
        # a vector among the fields is an array, which has no truth value of its own
        return self.to_dict() == other.to_dict() if isinstance(other, Hit) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.id, self.score, self.uri))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the fields stand under `fields`, dates among them as the Unix milliseconds that are stored, and
        vectors as lists.
        """
        own = {name: getattr(self, name) for name in _COLUMNS}
        fields = {name: each.tolist() if hasattr(each, "tolist") else each for name, each in self.fields.items()}
        return {**own, "box": None if self.box is None else [*self.box], "fields": fields}


@dataclass(frozen=True, slots=True)
class Group:
    """The hits that share a value, of an answer by groups."""

    value: Any
    hits: tuple[Hit, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "hits": [hit.id for hit in self.hits]}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the best row that matches the filter is a real match; by default it is the first hit."""

    match: bool
    false_match_rate: float
    """How often a query without a match would be called a match, at most, from 0 to 1."""
    p_value: float | None = None
    """The lowest false-match rate at which it would still be a match; one for every query without a hit."""
    note: str = ""
    """Why the collection should be calibrated again; empty if it should not."""

    def __str__(self) -> str:
        return "match" if self.match else "no match"

    def to_dict(self) -> dict[str, Any]:
        return {
            "verdict": str(self),
            "match": self.match,
            "false_match_rate": self.false_match_rate,
            "p_value": self.p_value,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why an answer has fewer hits than requested."""

    missing: int
    """How many hits, or groups where these were asked for."""
    reason: Literal["min_score", "matches", "candidates", "collapse", "rows", "index"] | None
    """`min_score` or `only_matches` cut hits off; there are more, but not among the `candidates`; hits were left out by
    `collapse`; no more `rows` match; or more rows match, but the `index` did not reach them. None if the backend could
    not say how many rows match. Where hits are pictures, so are what is counted.
    """
    wider: bool = False
    """Whether the search was repeated to reach more, which is said by `Answer.profile`."""

    def __str__(self) -> str:
        even = ", even by a wider search" if self.wider else ""
        said = {
            "min_score": "the others are below min_score",
            "matches": "the others are no matches",
            "candidates": "there are no more among the candidates: ask for more of them with candidates",
            "collapse": "the others are too similar to these",
            "rows": "no more rows match",
            "index": f"more rows match, but the index did not reach them{even}: widen the search with params, or tune "
            "the index",
            None: "the number of matching rows is unknown",
        }
        return f"{self.missing:,} fewer than asked for: {said[self.reason]}"

    def to_dict(self) -> dict[str, Any]:
        return {"missing": self.missing, "reason": self.reason, "wider": self.wider}


@dataclass(frozen=True, slots=True)
class Asked:
    """What Milvus was asked for one answer."""

    calls: int
    rows: int
    """In all of these calls together."""
    cut: bool
    """Whether Milvus itself left out rows below `min_score`; else they came, and were left out here."""
    views: bool = False
    """Whether its rows are views of pictures."""
    reach: Reach = field(default_factory=Reach)
    """How the last of these calls saw to it that no rows were hidden from it."""


@dataclass(frozen=True, repr=False)
class Answer(Sequence[Hit]):
    """The hits of one query, best first, with the request and how much to trust the hits.

    A sequence: `len(answer)`, `answer[0]`, `for hit in answer`; a slice is a tuple of hits. Notebooks show pictures.
    """

    request: Request
    hits: tuple[Hit, ...]
    groups: tuple[Group, ...] = ()
    """Where the request asked for groups, best first; the hits are theirs, one group after another."""
    facets: Mapping[str, Facet] = field(default_factory=dict, kw_only=True)
    """By field, how often each value occurs, where that was asked for; each says among what."""
    verdict: Verdict | None = None
    """None where nothing was calibrated for such a query (a text, a mix, a hybrid, a recommendation), or where the
    calibration cannot promise that `false_match_rate`."""
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Of the whole call, by stage: `lookup` of stored rows, `load` of the encoder, `decode`, `encode`, `search` in
    Milvus, `facets`, `after` (groups, diversity and order, here), and `total`. The answers of one `search_many` share
    them."""
    collection: str = field(default="", compare=False)
    """Which collection answered, by its own name: behind an alias that was moved it is another one."""
    complete: bool = field(default=True, compare=False)
    """False if rows may be missing although the index reached them: the query nodes of the server changed a moment ago,
    and one that has just come may not have all of its rows. That lasts 30 s, and until answers to the same question
    agree, at most 2 minutes. Ask again later. Hits that are there are right. A client that began within that time after
    a change does not know of it.
    """
    error: ImgvecError | None = field(default=None, compare=False)
    """Why there are no hits: the query could not be asked. Only `search_each` gives such answers; others raise it."""
    found: int = field(default=0, compare=False)
    """How many hits or groups there were, including those before `offset`."""
    ended: Literal["min_score", "candidates", "collapse"] | None = field(default=None, compare=False)
    """What kept the list of hits from being longer, where it was not the rows and the index."""
    collapsed_at: float | None = field(default=None, compare=False)  # see `Profile`
    asked: Asked | None = field(default=None, compare=False)
    """What Milvus was asked."""
    count_rows: Callable[[], int | None] | None = field(default=None, compare=False)
    """Asks how many rows match, or pictures, or groups, where hits are these; None if that cannot be asked."""
    picture: Callable[[Mapping[str, Any], int | None], Image] | None = field(default=None, compare=False)
    """Reopens the picture of a row, for a notebook: upright, RGB, and scaled down if a side is given."""

    @cached_property
    def shortfall(self) -> Shortfall | None:
        """Why there are fewer hits than requested; None if there are as many as requested.

        Matching rows are counted only when this is read, because counting can take longer than the search.
        """
        if self.error is not None:
            return None
        options = self.request.options
        missing = options["limit"] - len(self.groups if options["group_by"] else self.hits)
        if missing <= 0:
            return None
        if self.ended is not None:
            cut = self.ended == "min_score" and options["only_matches"] and options["min_score"] is None
            return Shortfall(missing, "matches" if cut else self.ended)
        try:
            rows = None if self.count_rows is None else self.count_rows()
        except BackendError:  # the hits are there all the same
            rows = None
        if rows is None:
            return Shortfall(missing, None)
        if rows <= max(options["offset"], self.found):
            return Shortfall(missing, "rows")
        asked = self.asked
        wider = asked is not None and asked.reach.before is not None
        return Shortfall(missing, "min_score" if asked and asked.cut else "index", wider)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        short = self.shortfall
        return {
            "request": self.request.to_dict(),
            "collection": self.collection,
            "error": None if self.error is None else str(self.error),
            "hits": [hit.to_dict() for hit in self.hits],
            "groups": [group.to_dict() for group in self.groups],
            "facets": {name: facet.to_dict() for name, facet in self.facets.items()},
            "complete": self.complete,
            "shortfall": None if short is None else short.to_dict(),
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "seconds": {stage: round(seconds, 6) for stage, seconds in self.seconds.items()},
        }

    @property
    def profile(self) -> Profile:
        """What Milvus did, what imgvec did, how many rows were asked for, and the seconds by stage."""
        from imgvec.search.profile import profile

        return profile(self, views=self.asked is not None and self.asked.views)

    def to_pandas(self) -> pd.DataFrame:
        """One row per hit: its own columns, then one per field; a field whose name is already taken becomes
        `fields.NAME`.
        """
        import pandas as pd

        names = dict.fromkeys(name for hit in self.hits for name in hit.fields)
        columns = {name: f"fields.{name}" if name in _COLUMNS else name for name in names}
        rows = [
            [*(getattr(hit, name) for name in _COLUMNS), *(hit.fields.get(name) for name in columns)]
            for hit in self.hits
        ]
        return pd.DataFrame(rows, columns=[*_COLUMNS, *columns.values()])

    @property
    def matches(self) -> tuple[Hit, ...]:
        """The hits that are matches at the request's `false_match_rate`; none where nothing was calibrated."""
        rate = self.request.options["false_match_rate"]
        return tuple(hit for hit in self.hits if hit.p_value is not None and hit.p_value <= rate)

    @property
    def vector(self) -> str:
        """The vector that was searched by, by name."""
        return self.request.options["vector"]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        try:
            return self.hits[index]
        except IndexError:
            said = counted(len(self), "hit")
            raise IndexError(f"there is no hit {index}: the answer has {said}, and its shortfall says why") from None

    def __repr__(self) -> str:
        best = f", best {self.hits[0].score:.4f}" if self.hits else ""
        return f"<Answer: {counted(len(self), 'hit')}{best}, for {self.request.form!r}>"

    def _repr_html_(self) -> str:
        from imgvec.search.shown import html

        return html(self)

    def __getstate__(self) -> dict[str, Any]:
        """Without the ways back to the store and the sources, which no other process has."""
        return {**self.__dict__, "count_rows": None, "picture": None}
