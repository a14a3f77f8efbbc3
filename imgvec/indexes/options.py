"""What verifying and tuning can be told, each option stated once.

A check and a measurement know a store alone: their filters are Milvus expressions, and their queries vectors or stored
rows. What `imgvec.verify` and `imgvec.tune` take besides, typed filters and folders of images, is in the types below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from imgvec.filters import Filter
from imgvec.options import Option, python_only
from imgvec.options.vector import VectorName
from imgvec.progress import OnProgress
from imgvec.vectors import Vectors

QUERIES = 2000
"""Queries that tuning asks with: stored rows, or those of a folder or file at most."""
Device = Literal["auto", "cpu", "cuda"] | str
"""Where exact search runs: `cuda:1` too."""


class CheckOptions(TypedDict, total=False):
    """What a check of any store can be told."""

    limit: Annotated[int, Option(10, at_least=1, flags=("-k", "--limit"), help="Hits per search.")]
    queries: Annotated[int, Option(200, at_least=1, help="Rows to compare with exact search.")]
    probes: Annotated[int, Option(1000, at_least=0, help="Rows to search for by their own vectors.")]
    recall: Annotated[
        float | None,
        Option(0.9, at_least=0, at_most=1, help="Minimum for the lower 95 % bound of recall."),
    ]
    params: Annotated[
        Mapping[str, Any] | None,
        # the command types them by the index's catalogue: of some the text "8" is a value, and the number 8 is none
        Option(shell=False, help="Search parameters, instead of the collection's defaults."),
    ]
    seed: Annotated[int, Option(0, at_least=0, help="Seed for choosing the rows.")]
    device: Annotated[
        Device | None,
        Option(json_type=Literal["auto", "cpu", "cuda"] | None,
               help="Device for the exact search; by default, that of the settings."),
    ]  # fmt: skip
    on_progress: Annotated[OnProgress | None, python_only(help="Called with `Progress` events.")]


class VerifyOptions(CheckOptions, total=False):
    """The options of `imgvec.verify`."""

    vector: VectorName
    where: Annotated[Filter | str | None, Option(shell=False, json_type=str | None, help="Check only matching rows.")]


class RecallOptions(TypedDict, total=False):
    """What is to be reached, wherever the queries come from."""

    recall: Annotated[
        float, Option(0.95, above=0, below=1, help="Recall to reach: the share of the true nearest rows found.")
    ]
    limit: Annotated[int, Option(10, at_least=1, flags=("-k", "--limit"), help="Hits per search.")]
    confidence: Annotated[
        float, Option(0.95, above=0, below=1, shell=False, help="Confidence of the lower bound of recall.")
    ]
    seed: Annotated[int, Option(0, at_least=0, shell=False, help="Seed for choosing the queries and their halves.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Called with `Progress` events.")]
    on_notice: Annotated[Callable[[str], None] | None, python_only(help="Called with notes on what will take long.")]


class MeasureOptions(RecallOptions, total=False):
    """What tuning any store can be told."""

    queries: Annotated[
        Vectors | int, Option(QUERIES, json_type=int, help="(n, dim) vectors, or a number of stored rows.")
    ]
    filters: Annotated[Sequence[str], Option(("",), help="Milvus expressions under which the recall must be reached.")]
    device: Annotated[Device, Option("auto", help="Device for the exact search.")]


class TuneOptions(RecallOptions, total=False):
    """The options of `imgvec.tune` and `imgvec.compare_indexes`."""

    vector: VectorName
    queries: Annotated[
        Vectors | str | Path | int,
        # the command has the word `sample` for stored rows
        Option(QUERIES, shell=False, json_type=int,
               help="(n, dim) vectors, an .npy file of them, a folder of images, or a number of stored rows."),
    ]  # fmt: skip
    sample: Annotated[int, Option(QUERIES, at_least=2, help="Maximum number of queries.")]
    where: Annotated[
        Sequence[Filter | str] | Filter,
        Option(
            (),
            json_type=Sequence[str],
            metavar="EXPR",
            help="Filter under which the recall must be reached too; repeatable.",
        ),
    ]


class WatchOptions(TypedDict, total=False):
    """The options of `imgvec.watch_index`."""

    vector: VectorName
    queries: Annotated[
        Vectors | str | Path | None,
        Option(json=False, metavar="PATH",
               help="Make probes of these, an .npy file of vectors or a folder of images."),
    ]  # fmt: skip
    again: Annotated[bool, Option(False, help="Make new probes, and accept the collection as it is now.")]
    off: Annotated[bool, Option(False, help="Remove the probes: nothing is watched any more.")]
    no_scan: Annotated[bool, Option(False, help="Leave open probes open, instead of reading all rows once.")]
    recall: Annotated[float | None, Option(None, above=0, below=1, help="Recall to warn below, besides any fall.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Called with `Progress` events.")]
    on_notice: Annotated[Callable[[str], None] | None, python_only(help="Called with notes on what will take long.")]
