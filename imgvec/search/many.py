"""Any number of queries, in batches: one that cannot be asked has its error, and the others their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from imgvec.errors import ImgvecError, SourceError, UnreadableImage
from imgvec.images import FileReader
from imgvec.options import settled
from imgvec.search.answer import Answer
from imgvec.search.failing import Failed, Unasked, Wanted
from imgvec.search.forms import Form, ImageBytes, ImageFile
from imgvec.search.request import Request, SearchOptions
from imgvec.sources import Found, Record

AT_ONCE = 256
"""Queries of a batch: one pass through the encoder, and one call to Milvus."""
BYTES_AT_ONCE = 64 * 2**20
"""Of image files that a batch holds in memory; one file may have more."""


Ask: TypeAlias = Callable[[Sequence[Form], Failed], Sequence[Answer]]
"""The answers to forms, in their order; `failed` is told of those that have none."""


def of_source(found: Iterable[Found], max_bytes: int) -> Iterator[Wanted]:
    """The pictures of a source: files are read when they are encoded, and what lies elsewhere in its turn."""
    for each in found:
        if isinstance(each, UnreadableImage):
            yield Unasked(ImageFile(each.uri), each)
        elif isinstance(each, Record):
            yield _of_record(each, max_bytes)


def each_answer(wanted: Iterable[Wanted], ask: Ask, unasked: Callable[[Unasked], Answer]) -> Iterator[Answer]:
    """One answer for each query, in their order."""
    for batch in _batches(wanted):
        forms = [each for each in batch if not isinstance(each, Unasked)]
        failed: dict[int, ImgvecError] = {}
        answers = iter(ask(forms, failed) if forms else ())
        number = 0
        for each in batch:
            if isinstance(each, Unasked):
                yield unasked(each)
                continue
            yield unasked(Unasked(each, failed[number])) if number in failed else next(answers)
            number += 1


def without_answer(unasked: Unasked, options: SearchOptions, collection: str) -> Answer:
    """The answer to a query that could not be asked: its error, and no hits."""
    return Answer(
        Request(unasked.form, settled(SearchOptions, options)), (), collection=collection, error=unasked.error
    )


def _of_record(record: Record, max_bytes: int) -> Wanted:
    if isinstance(record.reader, FileReader):
        return ImageFile(Path(record.reader.path))
    try:
        return ImageBytes(record.reader.read(max_bytes), record.uri)
    except UnreadableImage as exc:
        return Unasked(ImageFile(record.uri), exc)


def _batches(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    batch, size = list[Wanted](), 0
    try:
        for each in wanted:
            batch.append(each)
            size += len(each.data) if isinstance(each, ImageBytes) else 0
            if len(batch) == AT_ONCE or size >= BYTES_AT_ONCE:
                yield batch
                batch, size = [], 0
    except SourceError:  # what came before it is answered
        yield batch
        raise
    if batch:
        yield batch
