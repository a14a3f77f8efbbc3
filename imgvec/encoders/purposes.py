"""What a collection is for, and what that means for its encoder: how pictures become square, and which map is behind.

copies    to find edited copies of a picture: the whole of it is resized to the square, since a crop loses what an edit
          has cut or framed; directions are whitened
classes   to find things of one kind: cropped as the model's own processor does, which keeps proportions; directions are
          scaled by their variance to the power of -1/4, since the great ones tell classes apart

Where a map was fitted for the model it comes with imgvec, made of the mean and covariance of the vectors of 1,000
photos, one a class of ImageNet: for pypi:dinov2-small-11, 384 to 256 dimensions (tests/benchmarks/whitening.py makes
the file, and measures what the maps are worth). They magnify rounding too: vectors in bfloat16 and float32 agree to a
cosine of 0.9992 (classes) and 0.9990 (copies), and to 0.9999 without a map.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from imgvec.encoders.options import POWER
from imgvec.encoders.projection import Projection
from imgvec.encoders.protocol import Binding, EncoderSpec, Purpose
from imgvec.errors import EncoderUnavailable

POWERS: dict[Purpose, float] = {"copies": 0.5, "classes": POWER}
"""Of each purpose; see `Projection.pca`."""
DEFAULT: Purpose = "classes"
"""Of a definition that does not say."""
OF_PARTS: Purpose = "copies"
"""Of one whose rows are parts of pictures: a part is to find the picture that it is of, not another of its kind."""
SHIPPED = "shipped:"
NONE = "none"
"""In a projection's place: without one, whatever the purpose."""
_OF_MODEL = {"pypi:dinov2-small-11": "dinov2-small-11"}


def meant(purpose: Purpose | None, *, of_parts: bool) -> Purpose:
    """The purpose that a definition has, whether it says so or not."""
    return purpose or (OF_PARTS if of_parts else DEFAULT)


def settled_spec(spec: EncoderSpec) -> EncoderSpec:
    """What is to be loaded, without a purpose: with the fit and the projection that it means, unless these are given.

    A map is there for the model's own pooling, layer and size alone.
    """
    purpose, fit, projection = spec.purpose, spec.fit, spec.projection
    if purpose == "copies":
        fit = fit or "resize"
    usual = spec.layer is None and spec.pooling in (None, "cls") and spec.image_size in (None, 224)
    if purpose is not None and projection is None and usual and spec.model in _OF_MODEL:
        projection = f"{SHIPPED}{_OF_MODEL[spec.model]}/{purpose}"
    return replace(spec, purpose=None, fit=fit, projection=None if projection == NONE else projection)


def finds_more_copies(bound: Binding) -> bool:
    """Whether a collection for copies, with that model, finds more edited copies: where that was measured."""
    return bound.model in _OF_MODEL and bound.fit != "resize"


@cache
def shipped(name: str) -> Projection:
    """The map that comes with imgvec by `MODEL/PURPOSE`; raises `EncoderUnavailable` for another name.

    The file has the directions once, and of each purpose their scales.
    """
    from safetensors.numpy import load_file

    model, _, purpose = name.partition("/")
    if model not in _OF_MODEL.values() or purpose not in POWERS:
        known = ", ".join(f"{SHIPPED}{one}/{each}" for one in _OF_MODEL.values() for each in POWERS)
        raise EncoderUnavailable(f"{SHIPPED}{name}: no such projection comes with imgvec (there are: {known})")
    arrays = load_file(Path(__file__).with_name(f"{model}.safetensors"))
    # products of float32, which are the same on every machine: the digest tells them
    return Projection(arrays["mean"].astype(np.float32), arrays["directions"].astype(np.float32) * arrays[purpose])
