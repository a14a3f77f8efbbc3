"""Manifests: CSV and JSON lines with one image per row, whose columns are its metadata."""

from __future__ import annotations

import io
from collections.abc import Iterator

from imgvec.errors import SourceError, UnreadableImage
from imgvec.sources.kinds import Kind
from imgvec.sources.named import read_named
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading
from imgvec.sources.records import Found
from imgvec.sources.tables import column_of, csv_rows, json_rows

#: Columns that say where the image is, where none is named: the first that is there (`SourceFile` is exiftool's).
URI_COLUMNS = ("uri", "url", "path", "SourceFile", "file_name")


def read_manifest(place: Place, reading: Reading) -> Iterator[Found]:
    """The images that the rows name, relative paths starting from the manifest's folder; raises `SourceError`.

    Without a mapping every other column is a field of its own name; with one, only the columns that it names are.
    """
    columns = reading.columns
    wanted = (columns.uri,) if columns.uri else URI_COLUMNS
    with place.opened() as file:
        lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        where = str(place)
        is_json = where.lower().endswith((".jsonl", ".ndjson"))

        def on_header(names: list[str]) -> None:
            reading.fields.look_at(names, frozenset({column_of(names, wanted), columns.id}))

        # a broken line costs itself alone
        broken: list[UnreadableImage] = []

        def on_bad(_: str, line: int, problem: str) -> None:
            broken.append(UnreadableImage(f"{place.uri}:{line}", "metadata refused", problem))

        try:
            rows = (
                json_rows(where, lines, on_bad=on_bad)
                if is_json
                else csv_rows(where, lines, wanted, on_header=on_header, on_bad=on_bad)
            )
            for line, row in rows:
                yield from broken
                broken.clear()
                column = column_of(row, wanted)
                text = row[column] if column else None
                if not isinstance(text, str) or not text.strip():
                    said = " or ".join(f"`{name}`" for name in wanted)
                    yield UnreadableImage(f"{place.uri}:{line}", "unusable name", f"the row has no string in {said}")
                    continue
                yield read_named(text, place, reading, reading.fields.of(row, frozenset({column, columns.id})), row)
            yield from broken
        except SourceError:
            yield from broken
            raise
        except OSError as exc:
            raise SourceError(f"{place}: cannot be read any further: {exc}") from exc


KIND = Kind(name="manifest", read=read_manifest, endings=(".csv", ".tsv", ".jsonl", ".ndjson"))
