"""How many hits there could be: what says why an answer has fewer than asked for."""

from __future__ import annotations

from functools import cache, partial

from imgvec.search.afterwork import AfterWork, Outcome
from imgvec.search.grouping import count_pictures
from imgvec.search.ranking import both
from imgvec.store import Searches


class Counts:
    """Counts for the answers of one search, each expression once, when the first of them wants to know."""

    def __init__(self, store: Searches, expression: str, most_views: int | None) -> None:
        self._expression, self._views = expression, most_views is not None
        self._rows = cache(store.count)
        self._pictures = cache(partial(count_pictures, store, most_views=most_views or 1))

    def __call__(self, outcome: Outcome, work: AfterWork) -> int | None:
        """The rows that match, or the pictures where hits are these.

        For groups one more than were found where there are any more; None where Milvus cannot be asked for these.
        """
        if work.grouping is None:
            return (self._pictures if self._views else self._rows)(self._expression)
        if outcome.others is None:
            return None
        return outcome.found + (1 if self._rows(both(self._expression, outcome.others)) else 0)
