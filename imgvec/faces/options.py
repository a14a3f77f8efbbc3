"""What looking at faces can be told, each option stated once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from typing_extensions import TypedDict

from imgvec.filters import Filter
from imgvec.options import Option, python_only
from imgvec.progress import OnProgress


class LimitOptions(TypedDict, total=False):
    """At which distance two faces are taken for one person's: calibrated by those whose person is known."""

    distance: Annotated[
        float | None,
        Option(above=0, help="Accept faces up to this Euclidean distance, whatever the calibration says."),
    ]  # fmt: skip
    label: Annotated[
        str | None,
        Option(metavar="FIELD", help="Calibrate by stored faces whose people this field names, not by the enrolled."),
    ]  # fmt: skip


class EnrolOptions(TypedDict, total=False):
    """The options of `imgvec.enrol_person`."""

    on_notice: Annotated[
        Callable[[str], object] | None, python_only(help="Called with notes on faces that look like somebody else's.")
    ]


class IdentifyOptions(LimitOptions, total=False):
    """The options of `imgvec.identify_faces`."""

    rate: Annotated[
        float,
        Option(0.01, above=0, below=1, help="Share of strangers that may be taken for somebody, as far as is known."),
    ]
    candidates: Annotated[
        int, Option(3, at_least=1, at_most=100, metavar="N", help="People to list for each face, nearest first.")
    ]


class NameOptions(LimitOptions, total=False):
    """The options of `imgvec.name_faces`."""

    rate: Annotated[
        float,
        Option(0.01, above=0, below=1, help="Share of strangers that may be taken for somebody, as far as is known."),
    ]
    where: Annotated[Filter | str | None, Option(shell=False, json_type=str | None, help="Only matching faces.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Called with `Progress` events.")]


class VerifyFacesOptions(LimitOptions, total=False):
    """The options of `imgvec.verify_faces`."""

    rate: Annotated[
        float,
        Option(0.001, above=0, below=1, help="Share of different people's faces that may pass, as far as is known."),
    ]
    person: Annotated[str | None, Option(metavar="NAME", help="Compare with this enrolled person's faces.")]


class ClusterOptions(LimitOptions, total=False):
    """The options of `imgvec.cluster_faces`."""

    rate: Annotated[
        float,
        Option(0.001, above=0, below=1, help="Share of different people's pairs that may be linked, as far as known."),
    ]  # fmt: skip
    least: Annotated[int, Option(2, at_least=1, metavar="N", help="Leave out groups of fewer faces.")]
    where: Annotated[Filter | str | None, Option(shell=False, json_type=str | None, help="Only matching faces.")]
