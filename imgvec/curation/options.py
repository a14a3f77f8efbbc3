"""What `imgvec.duplicates` can be told, each option stated once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated

from imgvec.options import Option, python_only
from imgvec.options.vector import VectorOptions
from imgvec.progress import OnProgress


class FindOptions(VectorOptions, total=False):
    """How duplicates are looked for."""

    exact: Annotated[bool, Option(False, help="Find only the same files and the same pixels; needs no OpenCV.")]
    candidates: Annotated[
        int,
        Option(10, at_least=1, at_most=1000, metavar="N", help="Nearest pictures of each that are looked at again."),
    ]
    false_match_rate: Annotated[
        float,
        Option(
            0.9,
            above=0,
            below=1,
            metavar="RATE",
            help="In a calibrated collection, look again only at scores that the nearest of so many pictures without a "
            "match reach: lower is quicker, and misses copies that are far.",
        ),
    ]
    vectors_alone: Annotated[
        float | None,
        Option(
            at_most=1,
            metavar="SCORE",
            help="Take pictures that cannot be reopened for duplicates from this score; without it they are only "
            "counted.",
        ),
    ]
    burst_seconds: Annotated[
        float,
        Option(
            60.0,
            at_least=0,
            metavar="S",
            help="Pictures of one scene taken further apart are not a burst, where both dates are known.",
        ),
    ]
    again: Annotated[bool, Option(False, help="Look at every picture again, not only at those that are new.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Receives a `Progress`.")]
    on_notice: Annotated[Callable[[str], None] | None, python_only(help="Receives notices, as text.")]
    stop: Annotated[
        threading.Event | None, python_only(help="When set, the run ends after the current batch; the next resumes.")
    ]


class DuplicatesOptions(FindOptions, total=False):
    """What `imgvec.duplicates` can be told."""

    since: Annotated[
        str | None,
        Option(
            metavar="DATE|last",
            help="Show only groups with a picture ingested since that date, or since the last run.",
        ),
    ]
    keep: Annotated[
        bool,
        Option(True, shell=False, help="Keep what is found with the collection; False writes nothing to Milvus."),
    ]
