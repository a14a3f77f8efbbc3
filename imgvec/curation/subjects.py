"""The pictures that are compared: what their rows say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imgvec.rows import (
    CONTENT_HASH,
    FROM_IMAGE,
    HEIGHT,
    ID,
    IMAGE_ID,
    INGESTED_AT,
    MEDIA_TYPE,
    URI,
    WIDTH,
    reserved_names,
)
from imgvec.store import Reads


@dataclass(frozen=True, slots=True)
class Subject:
    """One picture, by its row; of a collection of views by that of the whole picture."""

    id: str
    uri: str
    content_hash: str
    """Empty where nobody knows the file: of rows that were imported as vectors."""
    width: int
    height: int
    media_type: str
    ingested_at: int
    taken_at: int | None = None
    """Unix milliseconds; None where nobody knows."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the definition declares, and what lies in the dynamic field, where it was asked for."""


class Subjects:
    """Makes subjects of a store's rows."""

    def __init__(self, store: Reads, taken_at: str | None = None, unknown: int | None = 0) -> None:
        """`taken_at` is the field of the date, `unknown` what that holds where there is none."""
        self.views = store.most_views is not None
        self._taken_at, self._unknown = taken_at, unknown
        self.fields = [
            name
            for name in (URI, CONTENT_HASH, WIDTH, HEIGHT, MEDIA_TYPE, INGESTED_AT, taken_at)
            if name is not None and name in store.fields
        ]
        if self.views:
            self.fields.append(IMAGE_ID)

    def of(self, id_: str, row: Mapping[str, Any]) -> Subject:
        """The subject of a row, with what is declared where the row has it."""
        taken = row.get(self._taken_at) if self._taken_at else None
        own = {*reserved_names(views=self.views), FROM_IMAGE}
        return Subject(
            id_,
            str(row.get(URI, "")),
            str(row.get(CONTENT_HASH) or ""),
            int(row.get(WIDTH) or 0),
            int(row.get(HEIGHT) or 0),
            str(row.get(MEDIA_TYPE) or ""),
            int(row.get(INGESTED_AT) or 0),
            None if taken is None or taken == self._unknown else int(taken),
            {name: value for name, value in row.items() if name not in own},
        )

    def is_picture(self, row: Mapping[str, Any]) -> bool:
        """Whether the row stands for its picture."""
        return not self.views or row[IMAGE_ID] == row[ID]
