"""What is asked: a form, and the options of a search, which are stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typing_extensions import TypedDict

from imgvec.filters import Filter
from imgvec.options import Option
from imgvec.options.vector import VectorName

if TYPE_CHECKING:
    from imgvec.search.examples import Examples
    from imgvec.search.forms import Form
    from imgvec.search.hybrid import Hybrid

CALIBRATED: Literal["calibrated"] = "calibrated"
MOST_KEPT = 65_536
"""Rows that pages keep: a range search of Milvus Lite reaches five times the rows of one call, and no further."""


class RankingOptions(TypedDict, total=False):
    """How the rows that match are ranked, and what comes with each hit."""

    vector: VectorName
    where: Annotated[
        Filter | str | None,
        Option(
            shell=False,
            json_type=str | None,
            help="Only rows that match: a typed filter or a Milvus boolean expression.",
        ),
    ]
    min_score: Annotated[
        float | None, Option(metavar="S", help="Leave out hits with a lower score; 1 is the same picture.")
    ]
    params: Annotated[
        Mapping[str, Any] | None,
        Option(
            flags=("-p", "--param"),
            metavar="KEY=VALUE",
            help="Search parameter of the index, such as ef=128; repeatable.",
        ),
    ]
    views: Annotated[
        bool, Option(False, help="Return every view that is found, instead of each picture once with its best view.")
    ]
    output_fields: Annotated[
        Sequence[str] | None, Option(shell=False, help="Fields to return with each hit; by default all scalar fields.")
    ]
    consistency_level: Annotated[
        Literal["Strong", "Bounded", "Session", "Eventually"] | None,
        Option(shell=False, help="Strong, Bounded, Session or Eventually; by default the collection's own level."),
    ]
    false_match_rate: Annotated[
        float,
        Option(
            0.01,
            above=0,
            below=1,
            metavar="R",
            help="Of queries without a match the share that may be given one; for calibrated collections.",
        ),
    ]
    only_matches: Annotated[bool, Option(False, help="Leave out hits that are no matches at that rate.")]


class SearchOptions(RankingOptions, total=False):
    """The options of `ImageCollection.search` and `search_many`."""

    limit: Annotated[
        int,
        Option(
            10, at_least=1, flags=("-k", "--limit"), help="Maximum number of hits, or of groups if hits are grouped."
        ),
    ]
    offset: Annotated[
        int,
        # Milvus's own offset is unstable over equal scores: the hits before it are fetched too, and cut off here
        Option(0, at_least=0, help="Number of hits, or groups, to skip."),
    ]
    group_by: Annotated[
        Sequence[str] | None,
        Option(
            metavar="FIELD",
            help="Group hits that share the value of this field; repeat it for hits that share several.",
        ),
    ]
    group_size: Annotated[int, Option(1, at_least=1, help="Maximum number of hits of each group.")]
    strict_group_size: Annotated[
        bool, Option(False, help="Search on until every group is full, or no more rows match.")
    ]
    collapse: Annotated[
        float | Literal["calibrated"] | None,
        Option(
            at_most=1,
            alone=CALIBRATED,
            metavar="S",
            help="Leave out hits that are at least so similar to a better hit; 1 is a copy, and without a number it is "
            "what the collection's calibration says at the false-match rate.",
        ),
    ]
    diversity: Annotated[
        float | None,
        Option(
            at_least=0,
            at_most=1,
            help="Prefer hits that differ from each other (maximal marginal relevance): 0 keeps the order of scores, 1 "
            "looks at differences alone.",
        ),
    ]
    order_by: Annotated[
        str | None,
        Option(
            metavar="FIELD",
            help="Order the candidates by this field instead of by score; -FIELD puts the greatest first.",
        ),
    ]
    candidates: Annotated[
        int,
        Option(
            200,
            at_least=1,
            at_most=16_384,
            help="Best hits from which collapse, diversity and order_by choose; of a hybrid, those of each part.",
        ),
    ]
    facet: Annotated[
        Sequence[str] | None,
        Option(metavar="FIELD", help="Count the values of this field among all rows that match; repeatable."),
    ]


class PageOptions(RankingOptions, total=False):
    """The options of `ImageCollection.pages`."""

    size: Annotated[int, Option(20, at_least=1, at_most=1000, help="Hits per page.")]
    most: Annotated[
        int, Option(16_384, at_least=1, at_most=MOST_KEPT, help="Rank this many rows; there are no hits beyond them.")
    ]


@dataclass(frozen=True, slots=True)
class Request:
    """One question, as it was asked."""

    form: Form | Examples | Hybrid
    options: SearchOptions
    """All options with defaults filled in; `params` is merged over the collection's own."""
    expression: str = ""
    """`where` as the Milvus expression sent; empty for all rows."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the query without its pixels and numbers, and the options that were not left at None."""
        given = {name: value for name, value in self.options.items() if value is not None and name != "where"}
        return {"query": self.form.to_dict(), **given, **({"where": self.expression} if self.expression else {})}
