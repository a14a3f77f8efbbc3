"""What evaluating can be told, each option stated once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Required

from typing_extensions import TypedDict

from imgvec.filters import Filter
from imgvec.options import Option, python_only
from imgvec.options.vector import VectorName
from imgvec.progress import OnProgress


class JudgeOptions(TypedDict, total=False):
    """What judging a collection's hits can be told, whoever labels the queries."""

    label: Required[
        Annotated[
            str,
            Option(metavar="FIELD", help="Field that holds the labels; with an array, one shared label is enough."),
        ]
    ]
    vector: VectorName
    k: Annotated[
        Sequence[int],
        Option((1, 5, 10), at_least=1, flags=("-k",), metavar="K,…", help="Numbers of hits to score."),
    ]
    where: Annotated[Filter | str | None, Option(shell=False, json_type=str | None, help="Only matching rows.")]
    exact: Annotated[
        bool, Option(False, help="Rank every row by its exact score, without the index; adds mAP.")
    ]  # fmt: skip
    sample: Annotated[int | None, Option(at_least=1, metavar="N", help="Use a random sample of N queries.")]
    seed: Annotated[int, Option(0, at_least=0, help="Seed for the sample.")]
    params: Annotated[Mapping[str, Any] | None, Option(shell=False, help="Search parameters of the index.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Called with `Progress` events.")]


class EvaluateOptions(JudgeOptions, total=False):
    """The options of `imgvec.evaluate` and `imgvec.compare`."""

    queries: Annotated[
        str | Path | Mapping[str, Any] | None,
        Option(json=False, metavar="DIR", help="Folder of query images, instead of the stored rows."),
    ]
    query_labels: Annotated[
        str | Path | None,
        Option(json=False, metavar="FILE",
               help="Labels of the --queries: CSV, TSV or JSON lines with path and label."),
    ]  # fmt: skip
    on_notice: Annotated[Callable[[str], None] | None, python_only(help="Called with notes on images without a label.")]


class CalibrateOptions(TypedDict, total=False):
    """The options of `imgvec.calibrate`."""

    vector: VectorName
    label: Annotated[
        str | None,
        Option(metavar="FIELD", help="Take pictures with the same value of this field for matches, not edited copies."),
    ]
    edits: Annotated[
        bool, Option(False, help="Fail where pictures cannot be opened again to make edited copies of them.")
    ]
    rates: Annotated[
        Sequence[float],
        Option((0.01, 0.05), above=0, below=1, metavar="R,…", help="False-match rates to promise and report."),
    ]
    sample: Annotated[
        int, Option(10_000, at_least=40, metavar="N", help="Search for this many of the collection's pictures at most.")
    ]
    copies: Annotated[
        int, Option(200, at_least=40, metavar="N", help="Make edited copies of this many pictures at most.")
    ]
    seed: Annotated[int, Option(0, at_least=0, help="Seed for the samples.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Called with `Progress` events.")]
    on_notice: Annotated[Callable[[str], None] | None, python_only(help="Called with notes, such as on pictures that "
                                                                       "cannot be opened.")]  # fmt: skip
