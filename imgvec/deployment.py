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
            help="Keep N copies in memory, on as many query nodes at least; by default as many as before.",
        ),
    ]
    resource_groups: Annotated[
        Sequence[str] | None,
        Option(
            flags=("--resource-group",),
            metavar="NAME",
            help="Load into this resource group; repeat for one group a replica. By default those of before.",
        ),
    ]
    timeout: Annotated[
        float, Option(600.0, above=0, metavar="SECONDS", help="Give up, and load as before, after so long.")
    ]
