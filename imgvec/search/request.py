"""What is asked: a form, and the options of a search, which are stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import TypedDict

from imgvec.filters import Filter
from imgvec.options import Option

if TYPE_CHECKING:
    from imgvec.search.forms import Form


class SearchOptions(TypedDict, total=False):
    """The options of `ImageCollection.search` and `search_many`."""

    limit: Annotated[int, Option(10, at_least=1, flags=("-k", "--limit"), help="How many hits.")]
    offset: Annotated[
        int,
        # Milvus's own offset is unstable over equal scores: the hits before it are fetched too, and cut off here
        Option(0, at_least=0, help="Skip that many hits."),
    ]
    where: Annotated[
        Filter | str | None,
        Option(shell=False, json_type=str | None, help="Only rows that match: a filter, or a Milvus expression."),
    ]
    min_score: Annotated[
        float | None, Option(metavar="S", help="Leave out what is less similar; 1 is the same picture.")
    ]
    output_fields: Annotated[
        Sequence[str] | None, Option(shell=False, help="The fields of each hit; every scalar field if left out.")
    ]
    params: Annotated[
        Mapping[str, Any] | None,
        Option(
            flags=("-p", "--param"), metavar="KEY=VALUE", help="A search parameter of the index, as ef=128; repeatable."
        ),
    ]
    consistency_level: Annotated[
        str | None, Option(shell=False, help="Strong, Bounded, Session or Eventually; the collection's if left out.")
    ]


@dataclass(frozen=True, slots=True)
class Request:
    """One question, as it was asked."""

    form: Form
    options: SearchOptions
    """Every option, with the defaults where nothing was given; `params` with the collection's own below them."""
    expression: str = ""
    """`where` as the Milvus expression that was sent; empty for all rows."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the query without its pixels and numbers, and the options that were not left at None."""
        given = {name: value for name, value in self.options.items() if value is not None and name != "where"}
        return {"query": self.form.to_dict(), **given, **({"where": self.expression} if self.expression else {})}
