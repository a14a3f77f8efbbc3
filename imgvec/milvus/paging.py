"""Reads all rows of one collection, or those that match, some at a time in the order of their ids."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from imgvec import abandoned
from imgvec.errors import BackendUnavailable
from imgvec.milvus.answers import Columns
from imgvec.milvus.by_id import after
from imgvec.milvus.cancelling import let_pages_be_strong
from imgvec.milvus.collection_link import CollectionLink
from imgvec.milvus.members import SETTLED, SETTLED_AT_LAST, Standing
from imgvec.milvus.reading import ANSWER_BYTES, Reader
from imgvec.milvus.repeating import together
from imgvec.milvus.strong_pages import STRONG
from imgvec.milvus.whole import ASKED_AT_MOST
from imgvec.rows import ID

SCAN_BATCH = 1000
_PAGE = 16_384
"""Rows that are asked for at once, where they are short: for each page Milvus looks at all rows."""


class Paging:
    """Reads the rows of one collection by pages, which `reader` asks for; on Milvus Lite from its columns."""

    def __init__(self, link: CollectionLink, reader: Reader) -> None:
        self._link, self._reader = link, reader

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = SCAN_BATCH
    ) -> Iterator[list[dict[str, Any]]]:
        """`Store.scan`."""
        if (found := self._from_columns(output_fields, filter)) is not None:
            while some := list(islice(found, batch_size)):
                yield some
            return
        for rows in self._pages(output_fields, filter, max(batch_size, _PAGE)):
            for start in range(0, len(rows), batch_size):
                yield rows[start : start + batch_size]

    def first(
        self, output_fields: Sequence[str], filter: str, most: int, last: str | None = None
    ) -> list[dict[str, Any]]:
        """`Store.first`."""
        if (every := self._from_columns(output_fields, filter, most, last)) is not None:
            return list(every)
        found: list[dict[str, Any]] = []
        for rows in self._pages(output_fields, filter, most, last):
            found += rows[: most - len(found)]
            if len(found) == most:
                break
        return found

    def _from_columns(
        self, output_fields: Sequence[str], filter: str, most: int | None = None, last: str | None = None
    ) -> Iterator[dict[str, Any]] | None:
        """The rows as they were at one moment; None where they have to be asked for."""
        live = self._reader.live(filter)
        if live is None:
            return None
        columns = Columns([ID, *output_fields], self._link.schema)
        rows = (live if most is None else live.first(most, last)).rows(columns.names)
        if rows is None:
            return None
        self._link.check_same()  # afterwards: then they were this collection's
        return map(columns.of, rows)

    def _pages(
        self, output_fields: Sequence[str], filter: str, page: int, last: str | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        columns = Columns([ID, *output_fields], self._link.schema)
        page = max(1, min(page, self._link.capabilities.max_limit, ANSWER_BYTES // columns.row_bytes))
        # a Strong read: the pages see what it saw, if the same replica gives them; with the filter alone, so that what
        # Milvus says of it is said of the caller's own words
        self._reader.count(filter)
        while rows := self._page(after(last, filter), columns.names, page):
            self._link.check_same()  # afterwards: then the page was this collection's
            last = rows[-1][ID]
            yield [columns.of(row) for row in rows]

    def _page(self, expression: str, output_fields: list[str], limit: int) -> list[dict[str, Any]]:
        """The first rows that match; one that may lack some is asked for again once the members have settled."""
        reader, deadline = self._reader, time.monotonic() + SETTLED + SETTLED_AT_LAST
        # without these two a page is not the smallest ids that are left
        options: dict[str, Any] = {"limit": limit, "iterator": "True", "reduce_stop_for_best": "True"}
        if reader.several:
            options |= STRONG
        ask = partial(reader.query, expression, output_fields, **options)
        while True:
            reader.look()
            if reader.several:
                let_pages_be_strong(self._link.client)
            rows = ask()
            if reader.standing() is not Standing.CHANGED:
                return rows
            self._link.check_same()  # another one that took its name has other members
            if reader.watch is not None:
                reader.watch.compared([[row[ID] for row in some] for some in (rows, *together(ask, ASKED_AT_MOST - 1))])
            if time.monotonic() > deadline:
                raise BackendUnavailable(
                    f"the query nodes of {self._link.name!r} keep changing: rows could be missing", retryable=True
                )
            abandoned.pause(0.5)
