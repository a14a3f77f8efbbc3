"""Rows that are looked at without a question: some after others, in the order of their ids or of a field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imgvec.errors import QueryError
from imgvec.rows import ID
from imgvec.search.afterwork import Order
from imgvec.search.facets import MOST_COUNTED
from imgvec.store import Reads


class Lists(Reads, Protocol):
    """A store that gives the first rows without reading further."""

    def first(
        self, output_fields: Sequence[str], filter: str, most: int, last: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """At most `most` of the rows that match, those with the smallest ids after `last`, each with its `id`."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """Some rows, each with its id and the fields that were asked for."""

    rows: Sequence[Mapping[str, Any]]
    more: bool
    """Whether others may follow."""


def listed(
    store: Lists,
    expression: str,
    fields: Sequence[str],
    *,
    limit: int,
    after: str | None,
    order_by: str | None,
    ids_in_order: Callable[[Order], Sequence[str]] | None = None,
) -> Listed:
    """At most `limit` rows that match, those that follow the row with the id `after`.

    By id; or by the field `order_by`, `-field` from the greatest, equal ones by id, and last those without a value.
    `ids_in_order` gives `ordered` of that order where it is kept. Raises `OptionError` for a field that has no order,
    and `QueryError` where more than 100,000 rows match, which are too many to be put in order, or where none of those
    is the row `after`.
    """
    if order_by is None:
        rows = store.first(fields, expression, limit, after)
        return Listed(rows, len(rows) == limit)
    order = Order.of(order_by, store.fields)
    every = ordered(store, expression, order) if ids_in_order is None else ids_in_order(order)
    begin = 0
    if after is not None:
        try:
            begin = every.index(after) + 1
        except ValueError:
            raise QueryError(f"the row {after!r} has gone, so that nobody knows which follow it: begin again") from None
    ids = every[begin : begin + limit]
    found = store.get(ids, output_fields=fields)
    return Listed([{ID: id_, **found[id_]} for id_ in ids if id_ in found], begin + limit < len(every))


def ordered(store: Reads, expression: str, order: Order) -> list[str]:
    """The ids of the rows that match, in that order; raises `QueryError` for more than 100,000."""
    if store.count(expression) > MOST_COUNTED:
        raise QueryError(
            f"more than {MOST_COUNTED:,} rows match, which are too many to put in order: narrow the filter"
        )
    every = order.sorted([row for some in store.scan([order.field], expression) for row in some], lambda row: row)
    return [row[ID] for row in every]
