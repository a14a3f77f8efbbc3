"""A source's records in one call, as the tests of sources ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imgvec.images import FetchPolicy
from imgvec.sources import Guards, Metadata, Source
from imgvec.sources.guards import MAX_BYTES
from imgvec.sources.records import Found


def read_source(
    spec: Any,
    *,
    metadata: Metadata | None = None,
    part: tuple[int, int] | None = None,
    keep: str | Path | None = None,
    uri_column: str | None = None,
    id_column: str | None = None,
    image_column: str | None = None,
    mapping: Mapping[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
    policy: FetchPolicy | None = None,
    field_problem: Callable[[str], str | None] | None = None,
    **options: Any,
) -> Iterator[Found]:
    columns = {
        "uri_column": uri_column,
        "id_column": id_column,
        "image_column": image_column,
        "mapping": mapping,
    }
    return Source(spec, **columns, **options).read(  # type: ignore[arg-type]
        metadata=metadata,
        part=part,
        keep=keep,
        guards=Guards(max_bytes, policy or FetchPolicy()),
        field_problem=field_problem,
    )


def gone_from(
    spec: Any,
    *,
    root: str | Path | None = None,
    exclude: Sequence[str] = (),
    on_unsure: Callable[[str], None] | None = None,
) -> Callable[[str], bool]:
    return Source(spec, root=root, exclude=exclude).gone(on_unsure=on_unsure)
