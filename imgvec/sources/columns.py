"""The meaning of a manifest's columns, and the fields they provide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from imgvec.errors import UsageError

Row = Mapping[str, Any]
FieldProblem = Callable[[str], str | None]
"""Why there can be no field of a name; None if there can."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a manifest or of the metadata, or keys of a sidecar, mean what."""

    uri: str | None = None
    """Where the image is; None for the first of `manifests.URI_COLUMNS` that is there."""
    id: str | None = None
    """The image's id; None for one made from its uri."""
    image: str | None = None
    """A column of image bytes; None for `image`, where no column says where the image is."""
    mapping: Mapping[str, str] | None = None
    """Column to field; None for every other column under its own name, otherwise only these."""


class Fields:
    """The metadata that rows give, while a source is read; columns that can be no field are passed over, and said."""

    def __init__(self, columns: Columns, problem: FieldProblem | None = None) -> None:
        """Raises `UsageError` if a field that the mapping names cannot be."""
        self._mapping = columns.mapping
        self._problem = problem or (lambda _: None)
        self._seen: dict[str, None] = {}
        self._problems: dict[str, str] = {}
        self._mapped: set[str] = set()
        for column, name in (self._mapping or {}).items():
            if why := self._problem(name):
                raise UsageError(f"--map {column}={name}: {why}; choose another FIELD")

    def of(self, row: Row, used: frozenset[str | None] = frozenset()) -> dict[str, Any]:
        """The metadata that a row gives, without the columns `used` for the image itself."""
        if self._mapping is not None:
            found = {column: name for column, name in self._mapping.items() if row.get(column) is not None}
            self._mapped.update(found)
            return {name: row[column] for column, name in found.items()}
        self.look_at(row, used)
        return {
            name: value
            for name, value in row.items()
            if value is not None and name not in used and name not in self._problems and not self._is_late(name)
        }

    def look_at(self, names: Iterable[str], used: frozenset[str | None] = frozenset()) -> None:
        """Judge the names of columns, once each."""
        if self._mapping is not None:
            return
        for name in names:
            if name not in self._seen and name not in used and len(self._seen) < _MOST_NAMES:
                self._seen[name] = None
                if why := self._problem(name):
                    self._problems[name] = why

    def _is_late(self, name: str) -> bool:
        return name not in self._seen and self._problem(name) is not None

    def passed_over(self, told: int) -> str | None:
        """What to say of the columns that are passed over, from the one numbered `told` on."""
        by_reason: dict[str, list[str]] = {}
        for name in islice(self._problems, told, None):
            by_reason.setdefault(self._problems[name], []).append(repr(name))
        if not by_reason:
            return None
        said = "; ".join(f"{some(names)} ({why})" for why, names in by_reason.items())
        return (
            f"ignored columns: {said}. Use --map COLUMN=FIELD (mapping= in Python) to store one under another "
            f"name; then only mapped columns are stored"
        )

    @property
    def problems(self) -> int:
        """How many columns are passed over so far."""
        return len(self._problems)

    @property
    def never_seen(self) -> list[str]:
        """Columns of the mapping that no row has had a value in."""
        return [column for column in self._mapping or {} if column not in self._mapped]


_MOST_NAMES = 10_000
"""Names of columns that are remembered; sidecars may have others in every image."""


def some(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
