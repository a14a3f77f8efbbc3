"""The bridge between the vectors of two encoders: what it is fitted to, and how near it comes."""

from __future__ import annotations

import numpy as np
import pytest

from imgvec.errors import UsageError
from imgvec.migration import Bridge
from imgvec.migration.bridge import RIDGES, fit
from imgvec.vectors import Vectors


def unit(vectors: np.ndarray) -> Vectors:
    made: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return made


def test_what_is_linear_is_found() -> None:
    random = np.random.default_rng(0)
    old, matrix = random.standard_normal((400, 24)).astype(np.float32), random.standard_normal((24, 16))
    bridge = fit(old[:300], (old[:300] @ matrix + 3).astype(np.float32))
    made = bridge(old[300:])
    np.testing.assert_allclose(made, unit(old[300:] @ matrix + 3), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert bridge.ridge == min(RIDGES)
    assert bridge.cosine > 0.999
    assert bridge.to_dict() == {
        "from_dim": 24,
        "to_dim": 16,
        "ridge": bridge.ridge,
        "pairs": 300,
        "cosine": bridge.cosine,
    }


def test_the_ridge_holds_noise_down() -> None:
    """Of fewer pictures than dimensions the least squares fit all, and nothing that was left out."""
    random = np.random.default_rng(1)
    true = random.standard_normal((600, 8))
    old = unit(true @ random.standard_normal((8, 64)) + random.standard_normal((600, 64)))
    new = unit(true @ random.standard_normal((8, 32)) + random.standard_normal((600, 32)))
    bridge = fit(old[:60], new[:60])
    assert bridge.ridge > min(RIDGES)

    def cosine(made: Bridge) -> float:
        return float(np.mean(np.sum(made(old[60:]) * new[60:], axis=1)))

    mean, offset = old[:60].mean(0), new[:60].mean(0)
    plain = np.linalg.pinv(old[:60] - mean) @ (new[:60] - offset)
    assert cosine(bridge) > cosine(Bridge(mean, plain.astype(np.float32), offset, 0, 60, 0)) + 0.05
    assert bridge.cosine == pytest.approx(cosine(bridge), abs=0.15)


def test_too_few_are_refused() -> None:
    with pytest.raises(UsageError, match="20 pictures or more that both have, not 19"):
        fit(np.ones((19, 4), np.float32), np.ones((19, 4), np.float32))
