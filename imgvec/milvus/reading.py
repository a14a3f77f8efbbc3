"""Reads rows and hits of one collection, and counts them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from imgvec.errors import (
    BackendError,
    BackendUnavailable,
    CollectionReplaced,
    EncoderMismatch,
    QueryError,
)
from imgvec.milvus import codec
from imgvec.milvus.answers import Columns
from imgvec.milvus.by_id import among
from imgvec.milvus.collection_link import CollectionLink
from imgvec.milvus.described import Schema
from imgvec.milvus.errors import translated
from imgvec.milvus.lite_rows import LiteRows, Live
from imgvec.milvus.members import Standing, Watch
from imgvec.milvus.repeating import repeated, together
from imgvec.milvus.searching import Searching
from imgvec.milvus.thorough import Thorough
from imgvec.milvus.whole import ASKED_AT_MOST, whole
from imgvec.rows import ID, VECTOR
from imgvec.store import NearestOf, check_keywords
from imgvec.stored import Found, Nearest
from imgvec.vectors import Vectors, problem

READ_BATCH = 8192
"""Ids asked for at once: a Strong read on a server waits 0.2 s and more, whatever its size."""
ANSWER_BYTES = 32 * 2**20
"""What one call's answer is kept to, by an estimate."""
_NOT_LOADED = 101


class Reader:
    """Reads the rows and hits of one collection; `load` reloads a collection that another client released."""

    def __init__(self, link: CollectionLink, load: Callable[[], None]) -> None:
        self._link, self._load = link, load
        self._lite = LiteRows(link) if link.is_lite else None
        self._searching: tuple[Schema, dict[str, Searching]] = (link.schema, {})
        # Milvus Lite has no members
        self.watch = None if link.is_lite else Watch(lambda: link.client.describe_replica(link.name, timeout=2.0))

    def count(self, filter: str = "") -> int:
        """`Store.count`."""
        if (live := self.live(filter)) is not None:
            return len(live)
        self.look()
        counted = self.counted(filter)
        if self.standing() is Standing.CHANGED:  # a new member counts too few, never too many
            counted = max(counted, *together(partial(self.counted, filter), ASKED_AT_MOST - 1))
        return counted

    def live(self, filter: str) -> Live | None:
        """The rows that match, at one moment; None where Milvus has to be asked for them."""
        live = None if self._lite is None else self._lite.live(filter)
        self._link.check_there()
        return live

    def version(self) -> Hashable | None:
        """`Store.version`."""
        return None if self._lite is None else self._lite.version()

    def counted(self, filter: str, consistency_level: str = "Strong") -> int:
        """The rows that match, as one member counts them."""
        return int(self.query(filter, ["count(*)"], consistency_level=consistency_level)[0]["count(*)"])

    def matching(
        self, filter: str, output_fields: Sequence[str], most: int, consistency_level: str | None
    ) -> list[dict[str, Any]] | None:
        """The rows that match, each with its id; None where there are more than `most`, or some may be missing."""
        columns = Columns([*output_fields, ID], self._link.schema)
        most = min(most, self._link.capabilities.max_limit - 1, ANSWER_BYTES // columns.row_bytes)
        self.look()
        level = self._link.level(consistency_level)
        rows = self.query(filter, columns.names, consistency_level=level, limit=most + 1)
        if len(rows) > most or self.standing() is Standing.CHANGED:
            return None
        return list({row[ID]: columns.of(row) for row in rows}.values())

    def search(self, vectors: Vectors, asked: NearestOf) -> list[Nearest]:
        """`Store.search`."""
        check_keywords(asked)
        searching = self._by(asked.get("vector", VECTOR))
        field = searching.field
        if wrong := problem(vectors, field.dim, unit=False) or codec.problem(vectors, field.vector_type):
            raise QueryError(wrong)
        if asked.get("thorough") and len(vectors):
            if asked.get("filter"):  # what is wrong with the search's own parameters is said, whatever is searched with
                searching.sent(asked)
            found = Thorough(self, searching, asked, self._link.is_lite).search(vectors)
            # Milvus Lite keeps such partitions, and looks at all of them
            if not self._link.is_lite and (key := self._link.schema.partition_key):
                for each in found:
                    each.reach = replace(each.reach, partitioned_by=key)
            return found
        return self.plain(vectors, asked)

    def plain(self, vectors: Vectors, asked: NearestOf) -> list[Nearest]:
        """What Milvus finds by the parameters alone."""
        vector, limit = asked.get("vector", VECTOR), asked["limit"]
        searching = self._by(vector)
        field = searching.field
        options = {
            "anns_field": vector,
            "schema": searching.wire,
            "filter": asked.get("filter", ""),
            "limit": limit,
            "search_params": {
                "metric_type": field.metric_type,
                "params": searching.sent(asked),
            },
            "consistency_level": self._link.level(asked.get("consistency_level")),
            "timeout": self._link.timeout,
        }
        columns = searching.columns(asked.get("output_fields", ()))
        bytes_a_query = max(limit * columns.row_bytes, field.dim * 4)
        step = max(1, min(self._link.capabilities.max_queries, ANSWER_BYTES // bytes_a_query))
        answers: list[Nearest] = []
        for start in range(0, len(vectors), step):
            data = codec.to_query(vectors[start : start + step], field.vector_type)

            def ask(data: list[Any] = data) -> list[list[Found]]:
                hits = self.reading("search", data=data, output_fields=columns.names, **options)
                return [searching.scoring.found(each, columns) for each in hits]

            answers += self.whole(ask, limit)
        for each in answers:
            each.cut = searching.cuts(asked)
        return answers

    def whole(self, ask: Callable[[], list[list[Found]]], limit: int) -> list[Nearest]:
        """What `ask` answers, as far as can be known with all hits."""
        return whole(ask, limit, self.watch)

    def look(self) -> None:
        """Begin to look at the members of the replicas, beside the call that follows."""
        if self.watch is not None:
            self.watch.look()

    @property
    def several(self) -> bool:
        """Whether there are several replicas, one of which may be behind the others."""
        return self.watch is not None and self.watch.several

    def standing(self) -> Standing:
        return Standing.SETTLED if self.watch is None else self.watch.standing()

    def search_params(self, given: Mapping[str, Any] | None, limit: int, vector: str = VECTOR) -> dict[str, Any]:
        """What a search with those parameters sends for `limit` hits; raises `QueryError`."""
        return self._by(vector).params.checked(given, limit)

    def _by(self, vector: str) -> Searching:
        schema, known = self._searching
        if schema is not self._link.schema:  # refreshed, or an index was rebuilt
            schema, known = self._link.schema, {}
            self._searching = (schema, known)
        if vector not in known:
            known[vector] = Searching(vector, schema, self._link.capabilities)
        return known[vector]

    def get(
        self,
        ids: Sequence[str],
        *,
        output_fields: Sequence[str] = (),
        with_vector: bool = False,
        consistency_level: str | None = "Strong",
    ) -> dict[str, dict[str, Any]]:
        """`Store.get`."""
        columns = Columns([*output_fields, VECTOR] if with_vector else output_fields, self._link.schema)
        asked = [*columns.names, *([] if ID in columns.names else [ID])]
        unique = list(dict.fromkeys(ids))
        step = max(1, min(READ_BATCH, ANSWER_BYTES // columns.row_bytes))
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(unique), step):
            missing, level = unique[start : start + step], self._link.level(consistency_level)
            self.look()
            # a server may hide a row for the moment in which it is replaced, so what is missing is asked for again
            for turn in range(1 if self._link.is_lite else ASKED_AT_MOST):
                if turn > 1 and self.standing() is not Standing.CHANGED:
                    break
                for row in self.query(among(missing), asked, consistency_level=level):
                    found[row[ID]] = columns.of(row)
                missing = [each for each in missing if each not in found]
                if not missing:
                    break
                if not self.several:  # another replica may still have what was deleted
                    level = "Eventually"  # the first read has waited
        return {each: found[each] for each in unique if each in found}

    def query(self, expression: str, output_fields: list[str], **options: Any) -> list[dict[str, Any]]:
        """The rows that match, as Milvus gives them."""
        return list(
            self.reading(
                "query",
                filter=expression,
                output_fields=output_fields,
                timeout=self._link.timeout,
                **options,
            )
        )

    def reading(self, method: Literal["search", "query"], **options: Any) -> Any:
        """The call's answer; one that fails for the moment is repeated."""
        if self.watch is None:
            answer = self._answer(method, **options)
        else:
            seconds, several = self._link.database.retry_seconds, self.watch.several
            answer = repeated(partial(self._answer, method, **options), seconds, hedged=several)
        self._link.check_there()
        return answer

    def _answer(self, method: str, **options: Any) -> Any:
        """The call's answer; a collection that someone released meanwhile is loaded again, once."""
        doing = f"read from {self._link.name!r}"
        try:
            with translated(doing):
                return getattr(self._link.client, method)(self._link.name, **options)
        except BackendError as exc:
            if exc.code != _NOT_LOADED:
                if not exc.retryable:
                    self._say_if_replaced(exc)
                raise
        self._load()
        try:
            with translated(doing):
                return getattr(self._link.client, method)(self._link.name, **options)
        except BackendError as exc:
            if exc.code != _NOT_LOADED:
                raise
            # a query coordinator that has just begun does not know yet what is loaded
            said = f"Milvus is not ready to {doing}: it has just loaded the collection, and says that it is not loaded"
            raise BackendUnavailable(said, code=exc.code, retryable=True) from exc

    def _say_if_replaced(self, failure: BackendError) -> None:
        """A read that failed may have asked another collection for what it does not have: say that instead."""
        try:
            self._link.check_same()
        except (CollectionReplaced, EncoderMismatch) as exc:
            raise exc from failure
        except BackendError:
            return
