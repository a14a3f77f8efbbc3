"""Keras, imported with a backend that is installed: its choice is made once, at its first import."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["keras"]


def _wanted() -> str:
    """What Keras would take: its variable, its file, or TensorFlow."""
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    file = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


if "keras" not in sys.modules:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors; TensorFlow greets on stderr otherwise
    if "KERAS_BACKEND" not in os.environ and find_spec(_wanted()) is None:
        os.environ["KERAS_BACKEND"] = "torch"

import keras  # noqa: E402  after its backend is settled
