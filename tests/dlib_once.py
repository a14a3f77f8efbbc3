"""What dlib finds in a picture, found once: for tests of what is done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

_FOUND: dict[Any, Any] = {}


def _once(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def found(self: Any, pixels: Any) -> Any:
        array = np.asarray(pixels)
        key = method.__name__, self, array.shape, array.tobytes()
        if key not in _FOUND:
            _FOUND[key] = method(self, pixels)
        return _FOUND[key]

    return found


@pytest.fixture
def dlib_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detector and network look at each picture once in this process, and their answers are kept."""
    pytest.importorskip("dlib", reason="the extra faces is not installed")
    from imgvec.faces.dlib_model import DlibFaces

    for name in ("detect", "encode"):
        monkeypatch.setattr(DlibFaces, name, _once(getattr(DlibFaces, name)))
