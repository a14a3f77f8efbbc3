"""Who has an id: the first record of the source that has it. What comes again is told from it, however far apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from imgvec.images import BytesReader
from imgvec.sources import Again, Item, Record, record_id
from imgvec.sources.records import is_given
from imgvec.sources.seen import Seen, hash64

REMEMBERED_URIS = 65_536
"""Of records whose id the source gave, the uris of the last so many: more than are on their way. Of those before, the
database has the uri."""


def claimed(items: Iterable[Item]) -> Iterator[Item]:
    """The items of a source, where a record whose id came before gives way to an `Again`.

    Only the order of the source decides, not what became of the first: an image that could not be read today still has
    its id, so that a run's outcome does not depend on where an earlier one was cut. An id is remembered by 8 bytes of
    its hash, and 8 of one over its uri and metadata: 24 to 48 MB a million (`Seen`). Should two ids have one hash, the
    second image is refused, by name; nothing is written wrong.
    """
    seen = Seen()
    uris: dict[str, str] = {}
    for item in items:
        if not isinstance(item, Record):
            yield item
            continue
        mark = hash64(item.uri, _canonical(item.metadata), *_content(item))
        former = seen.claim(hash64(item.id), mark)
        from_uri = item.id == record_id(item.uri)
        if former is not None:
            yield Again(item.id, item.uri, former == mark, item.uri if from_uri else uris.get(item.id))
            continue
        if not from_uri:
            uris[item.id] = item.uri
            if len(uris) > REMEMBERED_URIS:
                del uris[next(iter(uris))]
        yield item


def _content(record: Record) -> Iterator[str]:
    """What tells pictures apart whose uri is made of the id that they were given with.

    Pixels are not looked at: two pictures in memory are never taken for one.
    """
    if is_given(record.uri):
        reader = record.reader
        yield f"{hash(reader.data)}" if isinstance(reader, BytesReader) else f"picture {next(_numbers)}"


_numbers = count()


def _canonical(metadata: object) -> str:
    """One text for equal values, whatever the order of their keys."""
    if not metadata:
        return ""
    try:
        return json.dumps(metadata, sort_keys=True, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys of several types, a value within itself
        return repr(metadata)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)
