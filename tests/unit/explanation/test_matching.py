"""Which patches show the same, by vectors whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from imgvec.encoders.protocol import Tokens
from imgvec.explanation.matching import consensus, heat, matched

GRID = (10, 12)


def pictures(*, mirror: bool = False) -> tuple[Tokens, Tokens]:
    """A thing of 4 x 4 patches at (1, 2) of the one and (5, 7) of the other, on grounds that are all alike."""
    rng = np.random.default_rng(0)
    ground = rng.standard_normal(24)
    thing = rng.standard_normal((4, 4, 24))
    found = []
    for (row, column), turned in (((1, 2), False), ((5, 7), mirror)):
        grid = ground + 0.1 * rng.standard_normal((*GRID, 24))
        grid[row : row + 4, column : column + 4] = thing[:, ::-1] if turned else thing
        found.append(Tokens(GRID, grid.reshape(1, -1, 24).astype(np.float32)))
    return found[0], found[1]


@pytest.mark.parametrize("mirror", [False, True])
def test_what_is_in_both_is_hot_and_its_patches_find_each_other(mirror: bool) -> None:
    found = matched(*pictures(mirror=mirror))
    assert found.mirrored is mirror
    assert found.first[1:5, 2:6].sum() > 0.8
    assert found.second[5:9, 7:11].sum() > 0.8
    assert found.first.sum() == pytest.approx(1, abs=1e-5)
    assert found.second.sum() == pytest.approx(1, abs=1e-5)
    places = {(row * 12 + column + 14, (row + 5) * 12 + (3 - column if mirror else column) + 7) for row in range(4)
              for column in range(4)}  # fmt: skip
    pairs = [(int(first), int(second)) for first, second in found.pairs]
    assert len(pairs) >= 4
    assert sum(pair in places for pair in pairs) / len(pairs) >= 0.75
    assert (np.diff(found.first.ravel()[found.pairs[:, 0]] * found.second.ravel()[found.pairs[:, 1]]) <= 1e-9).all()


def test_grids_may_differ() -> None:
    first, second = pictures()
    cut = second.patches.reshape(1, *GRID, 24)[:, 2:, 1:].reshape(1, -1, 24)
    found = matched(first, Tokens((8, 11), cut))
    assert found.second.shape == (8, 11)
    assert found.second[3:7, 6:10].sum() > 0.8


def test_consensus_is_the_mean_over_offsets_and_outside_a_picture_nothing_agrees() -> None:
    rng = np.random.default_rng(1)
    alike = rng.standard_normal((20, 12)).astype(np.float32)
    found = consensus(alike, ((4, 5), (3, 4)))
    pairs = alike.reshape(4, 5, 3, 4)
    for row, column, y, x in [(0, 0, 0, 0), (1, 2, 1, 1), (3, 4, 2, 3), (2, 0, 0, 3)]:
        around = [
            pairs[row + dy, column + dx, y + dy, x + dx]
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if 0 <= row + dy < 4 and 0 <= column + dx < 5 and 0 <= y + dy < 3 and 0 <= x + dx < 4
        ]
        assert found.reshape(4, 5, 3, 4)[row, column, y, x] == pytest.approx(np.sum(around) / 25, abs=1e-5)


def test_where_nothing_is_more_than_chance_the_best_quarter_is_hot() -> None:
    best = np.linspace(0, 1, 64, dtype=np.float32)
    found = heat(best, (8, 8), cut=2.0)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(found) == 16
    np.testing.assert_allclose(heat(np.ones(9, np.float32), (3, 3), cut=2.0), np.full((3, 3), 1 / 9), atol=1e-6)
