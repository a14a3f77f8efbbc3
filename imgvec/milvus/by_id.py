"""Filters by id, as the backend reads them."""

from __future__ import annotations

from collections.abc import Sequence

from imgvec.filters.fields import text_literal
from imgvec.rows import ID


def among(ids: Sequence[str]) -> str:
    """A filter for the rows of those ids; pymilvus's own `ids=` escapes nothing."""
    return f"{ID} in [{', '.join(map(text_literal, ids))}]"


def after(last: str | None, condition: str) -> str:
    """A filter for the rows that match and whose id comes after `last`."""
    page = f'{ID} >= ""' if last is None else f"{ID} > {text_literal(last)}"
    return f"({condition}) and {page}" if condition else page
