"""The options of a recommendation, which are those of a search and some more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from imgvec.options import Option
from imgvec.options.statement import python_only
from imgvec.search.request import SearchOptions

Strategy = Literal["average", "best", "sum"]


class RecommendOptions(SearchOptions, total=False):
    """The options of `imgvec.recommend`."""

    strategy: Annotated[
        Strategy,
        Option(
            "average",
            help="How several examples make one score: by their average, by the best match, or by the sum of all.",
        ),
    ]
    user: Annotated[
        str | Path | None,
        Option(
            json=False,
            metavar="FILE",
            help="CSV, JSON lines or Parquet of what somebody likes: a column id or path, and perhaps weight or like.",
        ),
    ]
    on_notice: Annotated[
        Callable[[str], object] | None, python_only(help="Is told of examples in `user` that are passed over.")
    ]
