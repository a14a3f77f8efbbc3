"""Searches by words: the rows whose field has them, ranked by BM25.

Milvus makes a sparse vector of the words of each row, and knows how many rows have each word. What it takes for a word
is its standard analyzer's: runs of letters and digits between others, in lower case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imgvec.catalog.vector_types import BM25
from imgvec.errors import QueryError
from imgvec.milvus.answers import Columns, words_found
from imgvec.milvus.by_id import among
from imgvec.milvus.collection_link import CollectionLink
from imgvec.milvus.reading import READ_BATCH, Reader
from imgvec.rows import ID
from imgvec.store import NearestOf, check_keywords
from imgvec.stored import Found, Nearest


class WordReader:
    """Reads the rows that have words."""

    def __init__(self, link: CollectionLink, reader: Reader) -> None:
        self._link, self._reader = link, reader

    def search(self, words: Sequence[str], field: str, asked: NearestOf) -> list[Nearest]:
        """`Store.search_words`."""
        check_keywords(asked)
        known = self._link.schema.words
        if field not in known:
            said = f"fields with bm25: true: {', '.join(known) or 'none'}"
            raise QueryError(f"{self._link.name!r} has no words of {field!r} to search by ({said})")
        if self._link.is_lite and asked.get("filter"):
            return [self._among(each, field, asked) for each in words]
        return [self._found(each, field, asked) for each in words]

    def _found(self, words: str, field: str, asked: NearestOf) -> Nearest:
        columns = Columns(asked.get("output_fields", ()), self._link.schema)

        def ask() -> list[list[Found]]:
            hits = self._reader.reading(
                "search",
                data=[words],
                anns_field=self._link.schema.words[field],
                filter=asked.get("filter", ""),
                limit=asked["limit"],
                search_params={"metric_type": BM25, "params": {}},
                output_fields=columns.names,
                consistency_level=self._link.level(asked.get("consistency_level")),
                timeout=self._link.timeout,
            )
            return [words_found(each, columns) for each in hits]

        [found] = self._reader.whole(ask, asked["limit"])
        return found

    def _among(self, words: str, field: str, asked: NearestOf) -> Nearest:
        """With a filter, on Milvus Lite: there it would decide how rare a word is, and so change the scores.

        So all rows with the words are asked for, and those that match are kept: no more than Milvus gives to a query.
        """
        limit, most = asked["limit"], self._link.capabilities.max_limit
        level = asked.get("consistency_level")
        found = self._found(words, field, {"limit": most, "consistency_level": level})
        matching: set[str] = set()
        for start in range(0, len(found), READ_BATCH):
            expression = f"({asked['filter']}) and {among([row.id for row in found[start : start + READ_BATCH]])}"
            rows = self._reader.query(expression, [ID], consistency_level=self._link.level(level))
            matching.update(row[ID] for row in rows)
        kept = [row for row in found if row.id in matching]
        if len(kept) < limit and len(found) >= most:
            raise QueryError(
                f"Milvus Lite ranks {most:,} rows by words, and more have some of these in {field!r}; of those ranked "
                f"{len(kept):,} match the filter: ask for fewer candidates, or for rarer words"
            )
        kept = kept[:limit]
        ids = [row.id for row in kept]
        fields = self._reader.get(ids, output_fields=asked.get("output_fields", ()), consistency_level=level)
        return Nearest(replace(row, fields=fields[row.id]) for row in kept if row.id in fields)
