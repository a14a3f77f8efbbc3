"""Rows whose image is gone."""

from __future__ import annotations

from collections.abc import Callable

from imgvec.store import Store


def prune(store: Store, is_gone: Callable[[str], bool], *, confirm: Callable[[int, int], bool] | None = None) -> int:
    """Delete the rows whose image `is_gone`, by uri; returns how many.

    `confirm` is asked first, with the number of rows to delete and the number looked at; a false answer deletes none.
    """
    looked_at = 0
    gone: list[str] = []
    for rows in store.scan(["id", "uri"]):
        looked_at += len(rows)
        gone += [row["id"] for row in rows if is_gone(row["uri"])]
    if not gone or (confirm is not None and not confirm(len(gone), looked_at)):
        return 0
    return store.delete(gone)
