"""What `imgvec.reembed` can be told, each option stated once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from typing_extensions import TypedDict

from imgvec.ingest import Engine
from imgvec.options import Option, python_only
from imgvec.options.vector import VectorOptions
from imgvec.progress import OnProgress


class BringOptions(TypedDict, total=False):
    """How pictures are brought over, there and back."""

    roots: Annotated[
        Sequence[str] | None,
        Option(
            json=False,
            flags=("--root",),
            metavar="DIR",
            help="Folder that pictures may be opened below, and relative uris start from; repeat for several.  "
            "[default: IMGVEC_ROOTS]",
        ),
    ]
    allow_missing: Annotated[
        bool, Option(False, help="Swap although pictures of some rows cannot be read again; these are left out.")
    ]
    errors: Annotated[
        str | Path | None,
        Option(json=False, metavar="FILE", help="Write the rows that are left out to this file as JSON lines."),
    ]
    engine: Annotated[Engine | None, python_only(help="Where pictures are encoded; None for this process.")]
    on_progress: Annotated[OnProgress | None, python_only(help="Receives a `Progress`.")]
    on_notice: Annotated[Callable[[str], None] | None, python_only(help="Receives notices, as text.")]
    stop: Annotated[
        threading.Event | None, python_only(help="When set, the run ends after the current batch; the next resumes.")
    ]


class SucceedOptions(BringOptions, VectorOptions, total=False):
    """The new model, and what it is measured by."""

    revision: Annotated[str | None, Option(help="Commit or tag of the new model.")]
    layer: Annotated[int | None, Option(help="Hidden layer of the new model to read.")]
    pooling: Annotated[
        Literal["cls", "mean", "pooler", "features"] | None, Option(help="How the new model's tokens become a vector.")
    ]
    image_size: Annotated[
        int | None, Option(at_least=16, at_most=4096, metavar="N", help="Side in pixels of what the new model sees.")
    ]
    projection: Annotated[
        str | None,
        Option(metavar="FILE|NAME", help="Map behind the model: a file, shipped:MODEL/PURPOSE, or none."),
    ]
    purpose: Annotated[
        Literal["copies", "classes"] | None, Option(help="What the collection is for, if it is for something else now.")
    ]
    into: Annotated[
        str | None,
        Option(metavar="NAME", help="What the new collection itself is called.  [default: the name, _ and a number]"),
    ]
    label: Annotated[
        str | None,
        Option(
            metavar="FIELD",
            help="Compare the two by the labels in this field before the swap, which is refused if the new one is "
            "certainly worse.",
        ),
    ]
    sample: Annotated[
        int, Option(1000, at_least=1, metavar="N", help="Queries of that comparison, or pictures for a bridge.")
    ]


class ReembedOptions(SucceedOptions, total=False):
    """What `imgvec.reembed` can be told."""

    swap: Annotated[bool, Option(True, shell=False, help="False fills the new collection, and leaves the name.")]
    allow_worse: Annotated[bool, Option(False, help="Swap although that comparison finds the new one worse.")]
