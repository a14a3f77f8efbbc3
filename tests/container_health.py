"""docker/health.py, which lies beside the package and not in it, as a module."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

FILE = Path(__file__).parents[1] / "docker" / "health.py"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("health", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


health = _loaded()
