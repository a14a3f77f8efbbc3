"""How far an index is, from counts of Milvus that do not add up."""

from __future__ import annotations

import pytest

from imgvec.stored import IndexState


@pytest.mark.parametrize(
    ("counts", "indexed", "pending", "rewritten", "covers"),
    [
        ((3000, 0, 3000), 3000, 0, 0, True),
        ((1000, 2000, 3000), 1000, 2000, 0, False),
        # told less than the truth of what is pending
        ((1000, 0, 3000), 1000, 2000, 0, False),
        # every row indexed, and all of them pending in the segments that a compaction has written
        ((3000, 3000, 3000), 3000, 0, 3000, False),
        ((2000, 1500, 3000), 2000, 1000, 500, False),
        # segments that are gone still count as indexed
        ((4000, 0, 3000), 3000, 0, 0, True),
        ((0, 0, 0), 0, 0, 0, False),
    ],
)
def test_rows_are_not_indexed_and_pending_at_once(
    counts: tuple[int, int, int], indexed: int, pending: int, rewritten: int, covers: bool
) -> None:
    state = IndexState.counted("Finished", *counts, loaded=True)
    assert (state.indexed_rows, state.pending_rows, state.rewritten_rows) == (indexed, pending, rewritten)
    assert state.indexed_rows + state.pending_rows == state.total_rows
    assert state.covers(3000) is covers
