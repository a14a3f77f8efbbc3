"""How many hits there could be: what says why an answer has fewer than asked for."""

from __future__ import annotations

from imgvec.search.afterwork import AfterWork, Outcome
from imgvec.search.grouping import count_pictures
from imgvec.search.ranking import both
from imgvec.store import Searches


class Counts:
    """Counts for the answers of one search, each expression once, when the first of them wants to know."""

    def __init__(self, store: Searches, expression: str, most_views: int | None) -> None:
        self._store, self._expression, self._most_views = store, expression, most_views
        self._known: dict[str, int] = {}

    def __call__(self, outcome: Outcome, work: AfterWork) -> int | None:
        """The rows that match, or the pictures where hits are these.

        For groups one more than were found where there are any more; None where Milvus cannot be asked for these.
        """
        if work.grouping is None:
            return self._counted(self._expression, self._most_views)
        if outcome.others is None:
            return None
        return outcome.found + (1 if self._counted(both(self._expression, outcome.others)) else 0)

    def _counted(self, expression: str, most_views: int | None = None) -> int:
        if expression not in self._known:
            self._known[expression] = (
                self._store.count(expression)
                if most_views is None
                else count_pictures(self._store, expression, most_views)
            )
        return self._known[expression]
