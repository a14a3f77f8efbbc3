"""What `imgvec.load` can be told: in how many replicas, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from typing_extensions import TypedDict

from imgvec.definition.replicas import MOST_REPLICAS
from imgvec.options import Option


class LoadOptions(TypedDict, total=False):
    """How a collection is loaded, from now on and for every client."""

    replicas: Annotated[
        int | None,
        Option(
            at_least=1,
            at_most=MOST_REPLICAS,
            metavar="N",
            help="Keep N copies in memory, which needs N query nodes; by default as many as before.",
        ),
    ]
    resource_groups: Annotated[
        Sequence[str] | None,
        Option(
            flags=("--resource-group",),
            metavar="NAME",
            help="Load into this resource group; repeat it to give each replica its own. By default as before.",
        ),
    ]
    timeout: Annotated[
        float, Option(600.0, above=0, metavar="SECONDS", help="Give up after this long, and load as before.")
    ]
