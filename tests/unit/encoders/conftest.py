"""Checkpoints with random weights, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import save_tiny


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """One checkpoint a family, made when first asked for; tests must not change them."""
    made: dict[str, Path] = {}

    def checkpoint(family: str) -> Path:
        if family not in made:
            made[family] = save_tiny(family, tmp_path_factory.mktemp(family))
        return made[family]

    return checkpoint
