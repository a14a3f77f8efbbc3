"""What the fit of a projection can be told, each option stated once."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import TypedDict

from imgvec.options import Option

SHRINKAGE = 0.1
POWER = 0.25


class FitOptions(TypedDict, total=False):
    """What kind of map is fitted."""

    method: Annotated[
        Literal["pca", "orthogonal", "truncate"],
        Option(
            "pca",
            help="pca: the directions of greatest variance, scaled; orthogonal: a random projection; truncate: the "
            "first elements, for models trained so (Matryoshka).",
        ),
    ]
    dim: Annotated[
        int | None,
        Option(at_least=1, at_most=32_768, metavar="D", help="Dimensions to keep.  [default: two thirds]"),
    ]
    power: Annotated[
        float | None,
        Option(
            at_least=0.0,
            at_most=0.5,
            metavar="P",
            help="pca: scale each direction by its variance to the power of -P: 0 leaves them, 0.5 whitens.  "
            "[default: 0.25, or 0.5 where the purpose is copies, as it is of views]",
        ),
    ]
    shrinkage: Annotated[
        float,
        Option(
            SHRINKAGE,
            at_least=0.0,
            at_most=1.0,
            metavar="S",
            help="pca: add this share of the mean variance to each, so that small ones are not blown up.",
        ),
    ]
    seed: Annotated[int, Option(0, at_least=0, help="orthogonal: seed of the random projection.")]
