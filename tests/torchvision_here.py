"""torchvision beside a torch of another build, for tests of timm and open_clip, which use its transforms alone."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

#: The operators of torchvision's C library that its Python part wants to be there; no encoder calls them.
_OPERATORS = ("nms", "qnms")
_defined: list[Any] = []


def torchvision_here() -> bool:
    """Whether torchvision is installed and can be imported.

    The package index has it for torch with CUDA alone: beside a torch for CPUs its C library does not load.
    """
    if find_spec("torchvision") is None:
        return False
    try:
        import_module("torchvision")
    except RuntimeError:
        made: Any = torch.library.Library  # torch does not type it
        library = made("torchvision", "DEF")
        for name in _OPERATORS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _defined.append(library)  # what it defined goes with it
        import_module("torchvision")
    return True
