"""How an answer came about: what Milvus did, what imgvec did, and how long each took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgvec.filters.fixing import fixes
from imgvec.plurals import counted
from imgvec.search.hybrid import Hybrid
from imgvec.stored import Reach

if TYPE_CHECKING:
    from imgvec.search.answer import Answer


@dataclass(frozen=True, slots=True)
class Profile:
    """How an answer came about."""

    pushed: tuple[str, ...]
    """Options that Milvus saw to."""
    client: tuple[str, ...]
    """Options that imgvec saw to, in that order."""
    calls: int
    """Searches of Milvus for this answer."""
    rows: int
    """Asked for in all of them together."""
    reach: Reach
    """How the last of them saw to it that no rows were hidden from it."""
    collapsed_at: float | None
    """How alike hits were that `collapse` took for copies, where the calibration said that."""
    partitions: str | None
    """Which partitions Milvus looked at, where it keeps them by a field."""
    seconds: Mapping[str, float]
    """By stage; see `Answer.seconds`."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "pushed": [*self.pushed],
            "client": [*self.client],
            "calls": self.calls,
            "rows": self.rows,
            "reach": self.reach.to_dict(),
            "collapsed_at": self.collapsed_at,
            "partitions": self.partitions,
            "seconds": {stage: round(seconds, 6) for stage, seconds in self.seconds.items()},
        }

    def __str__(self) -> str:
        return "\n".join(
            [
                f"by Milvus: {', '.join(self.pushed)}",
                f"by imgvec: {', '.join(self.client) or 'nothing'}",
                f"asked for: {counted(self.rows, 'row')} in {counted(self.calls, 'call')}",
                f"looked at: {_looked_at(self.reach)}",
                *(
                    [f"collapsed: what is at least {self.collapsed_at:.4f} alike, by the calibration"]
                    if self.collapsed_at
                    else []
                ),
                *([f"partition: {self.partitions}"] if self.partitions else []),
                f"seconds:   {', '.join(f'{stage} {spent:.4f}' for stage, spent in self.seconds.items())}",
            ]
        )


def _looked_at(reach: Reach) -> str:
    """What was looked at, in words."""
    matched = "" if reach.matched is None else counted(reach.matched, "matching row")
    each = f"each of {matched}" if matched else "each matching row"
    here = f"{each}, read and compared by imgvec"
    said = {"index": "what the index led to", "every row": each, "every row, here": here}
    by = "" if reach.params is None else f", by {', '.join(f'{key}={value}' for key, value in reach.params.items())}"
    wider = "" if reach.before is None else f"; at first {counted(reach.before, 'row')} came, so it was searched wider"
    of = f", of {matched}" if matched and reach.by == "index" else ""
    return f"{said[reach.by]}{of}{by}{wider}"


def _partitions(key: str | None, expression: str) -> str | None:
    if key is None:
        return None
    return f"those of the filter's {key}" if fixes(expression, key) else f"all, since no filter fixes {key}"


def profile(answer: Answer, *, views: bool) -> Profile:
    """How the answer came about; `views` says that its rows are views, of which it gives the best of each picture."""
    options, asked = answer.request.options, answer.asked
    cut = options["min_score"] is not None
    pushed = asked is not None and asked.cut
    # in the order of imgvec.search.afterwork
    done = {
        "views": views and not options["views"],
        "fusion": isinstance(answer.request.form, Hybrid),
        "min_score": cut and not pushed,
        "collapse": options["collapse"] is not None,
        "group_by": bool(options["group_by"]),
        "diversity": bool(options["diversity"]),
        "order_by": options["order_by"] is not None,
        "offset": options["offset"] > 0,
        "facet": bool(options["facet"]),
    }
    reach = asked.reach if asked else Reach()
    nearest = ["nearest rows"]
    compared = reach.by == "every row, here"
    filtered = ["where"] if answer.request.expression else []
    return Profile(
        (*([] if compared else nearest), *filtered, *(["min_score"] if cut and pushed else [])),
        (*(nearest if compared else []), *(name for name, is_done in done.items() if is_done)),
        asked.calls if asked else 0,
        asked.rows if asked else 0,
        reach,
        answer.collapsed_at,
        _partitions(reach.partitioned_by, answer.request.expression),
        answer.seconds,
    )
