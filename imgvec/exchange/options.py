"""What importing and exporting vectors can be told, each option stated once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from typing_extensions import TypedDict

from imgvec.filters import Filter
from imgvec.options import Option, python_only
from imgvec.progress import OnProgress


class FormatOptions(TypedDict, total=False):
    """What a file of vectors does not say of their form."""

    vector_column: Annotated[
        str | None,
        # None, so that it is known whether one was given
        Option(metavar="COLUMN", help="Parquet: the column of vectors.  [default: vector]"),
    ]
    dim: Annotated[int | None, Option(at_least=1, at_most=32_768, metavar="D", help="Annoy: dimension of the vectors.")]
    metric: Annotated[Literal["angular", "dot", "euclidean"] | None, Option(help="Annoy: metric of the file.")]


class FileOptions(FormatOptions, total=False):
    """What a file of vectors does not say."""

    ids: Annotated[
        str | None,
        Option(
            json=False,
            metavar="FILE|COLUMN",
            help="Row ids: a file, or a column of the metadata or of the Parquet file.",
        ),
    ]
    metadata: Annotated[
        str | Path | None,
        Option(
            json=False, metavar="FILE", help="CSV, JSON lines or Parquet, one row per vector in the same order."
        ),
    ]  # fmt: skip


class UnitOptions(TypedDict, total=False):
    """What is made of the vectors, and who is told."""

    normalize: Annotated[bool, Option(False, help="Scale the vectors to unit length.")]
    on_notice: Annotated[Callable[[str], None] | None, python_only(help="Called with notes on the source.")]


class WriteOptions(UnitOptions, total=False):
    """How vectors are written."""

    errors: Annotated[
        str | Path | None, Option(json=False, metavar="FILE", help="Write refused rows to this file, as JSON lines.")
    ]
    on_progress: Annotated[OnProgress | None, python_only(help="Called with `Progress` events.")]


class ImportOptions(FileOptions, WriteOptions, total=False):
    """The options of `imgvec.import_vectors`."""


class MakeOptions(FormatOptions, UnitOptions, total=False):
    """The options of `imgvec.create_for_vectors`, besides what the collection is."""


class ExportOptions(TypedDict, total=False):
    """The options of `imgvec.export_vectors`."""

    where: Annotated[Filter | str | None, Option(shell=False, json_type=str | None, help="Only matching rows.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Called with `Progress` events.")]
