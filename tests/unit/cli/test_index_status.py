"""What `imgvec index status` says of where the search parameters come from."""

from __future__ import annotations

from imgvec.cli.index.status import _chosen


def test_what_was_tuned_is_a_sentence() -> None:
    tuned = {"recall": 0.95, "at_least": 0.9505, "limit": 10, "queries": 1000, "basis": "left out"}
    assert _chosen({**tuned, "filters": ["", 'album == "cats"']}) == (
        "chosen by `index tune` for recall@10 of 0.95: at least 0.9505 on 1,000 queries (left out), without a filter, "
        'under album == "cats"'
    )


def test_another_choice_is_shown_as_it_was_kept() -> None:
    assert _chosen({"definition": "photos.yaml"}) == "chosen: definition=photos.yaml"
