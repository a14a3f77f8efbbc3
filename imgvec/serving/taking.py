"""A route for what is selected: stored rows as CSV, JSON or paths, their pictures as a zip file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from imgvec.collection import ImageCollection
from imgvec.dates import iso
from imgvec.errors import UnreadableImage
from imgvec.rows import ID, URI
from imgvec.serving import bodies
from imgvec.serving.archive import Archive, csv_of
from imgvec.serving.pictures import original_of, thumbnail_of
from imgvec.serving.problems import Problem, busy
from imgvec.serving.selected import MOST_PICTURES, ExportBody
from imgvec.serving.served import KNOWN_ONLY, MAY_READ, Json, Served, served_of

router = APIRouter(prefix="/v1/collections/{collection}/images", tags=["images"], dependencies=[MAY_READ, KNOWN_ONLY])

_AT_ONCE = 500
"""Rows that are asked for in one request to Milvus."""
_MOST_BYTES = 2 * 2**30
"""Of the pictures of one archive; a browser keeps it until it is whole."""
_MOST_ARCHIVES = 4
"""That are sent at the same time, each for `_SECONDS` at most, however slowly it is taken."""
_SECONDS = 900.0
_TRIES, _PAUSE = 50, 0.2
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A file to be saved.",
        "content": {kind: {} for kind in ("text/csv", "application/json", "text/plain", "application/zip")},
    }
}

Rows = Mapping[str, Mapping[str, Any]]


@router.post("/export", responses=_FILES, openapi_extra=bodies.described(ExportBody), summary="Export a selection")
async def exported(request: Request, collection: str) -> Response:
    """Stored rows, or their pictures, as a file.

    CSV is for spreadsheets: dates are in ISO 8601, and text that would be taken for a formula has an apostrophe before
    it. A zip file holds at most 1,000 pictures and 2 GiB; its last file, `index.csv`, says which row each file is of,
    and which pictures are not there, and why.
    """
    served = served_of(request)
    photos = served.collection(collection)
    body = await bodies.json_body(request, ExportBody)
    ids = list(dict.fromkeys(body.ids))
    zipped = body.form in ("originals", "thumbnails")
    if zipped and len(ids) > MOST_PICTURES:
        raise Problem(422, "invalid", f"a zip file has {MOST_PICTURES:,} pictures at most, and these are {len(ids):,}")
    rows = await _rows(request, served, photos, ids)
    if not rows and body.form != "json":  # a program reads an empty list; a file of nothing helps nobody
        raise Problem(404, "row-not-found", "no row has any of these ids")
    if zipped:
        return _Download(request, served, photos, ids, rows, body)
    found = [(id, rows[id]) for id in ids if id in rows]
    headers = {"Content-Disposition": f'attachment; filename="pictures.{_ENDINGS[body.form]}"'}
    if body.form == "json":
        return Json([{"id": id, "fields": row} for id, row in found], headers=headers)
    if body.form == "paths":
        # a name with an end of line in it would be two paths
        lines = [str(row[URI]).replace("\n", "\\n").replace("\r", "\\r") for _, row in found]
        text = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        return Response(text, headers=headers, media_type="text/plain; charset=utf-8")
    return Response(_csv(photos, found), headers=headers, media_type="text/csv; charset=utf-8")


_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "MPO": (".jpg", ".jpeg", ".mpo"), "TIFF": (".tif", ".tiff"),
    "HEIF": (".heic", ".heif", ".hif"), "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "RAW": (".dng", ".arw", ".cr2", ".cr3", ".nef", ".orf", ".pef", ".raf", ".rw2"),
}  # fmt: skip
"""Of file names, by format; others are called as their format."""
_ENDINGS = {"csv": "csv", "json": "json", "paths": "txt"}


async def _rows(request: Request, served: Served, photos: ImageCollection, ids: Sequence[str]) -> Rows:
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), _AT_ONCE):
        found |= await served.stored.run(request, partial(photos.get, ids[start : start + _AT_ONCE]))
    return found


def _csv(photos: ImageCollection, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    kinds = photos.handle.reading().store.fields
    columns = list(dict.fromkeys(name for _, row in rows for name in row if name != ID))

    def cell(name: str, value: Any) -> str | int | float:
        kind = kinds.get(name)
        if value is None or (kind is not None and kind.format and value == kind.unknown):
            return ""
        if kind is not None and kind.format:
            return iso(value)
        if kind is not None and kind.type == "FLOAT":
            return float(str(np.float32(value)))  # the shortest that is the same number, as it was given
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        return json.dumps(value, ensure_ascii=False, default=str)

    return csv_of([["id", *columns], *([id, *(cell(name, row.get(name)) for name in columns)] for id, row in rows)])


class _Download(StreamingResponse):
    """The zip file, made while it is sent: no more than one picture of it is in memory."""

    def __init__(
        self,
        request: Request,
        served: Served,
        photos: ImageCollection,
        ids: Sequence[str],
        rows: Rows,
        body: ExportBody,
    ) -> None:
        if served.archives >= _MOST_ARCHIVES:
            raise busy("archives-full", f"{served.archives} archives are being sent: ask again later", seconds=10)
        self._served = served
        super().__init__(
            _archived(request, served, photos, ids, rows, body),
            headers={"Content-Disposition": f'attachment; filename="{body.form}.zip"'},
            media_type="application/zip",
        )

    async def stream_response(self, send: Send) -> None:
        self._served.archives += 1
        try:
            async with asyncio.timeout(_SECONDS):
                await super().stream_response(send)
        finally:
            self._served.archives -= 1


async def _archived(
    request: Request, served: Served, photos: ImageCollection, ids: Sequence[str], rows: Rows, body: ExportBody
) -> AsyncIterator[bytes]:
    archive = Archive()

    def add(id: str, row: Mapping[str, Any]) -> bytes:
        if body.form == "thumbnails":
            archive.add(id, str(row[URI]), thumbnail_of(photos, row, body.size), (".jpg",))
        else:
            data, format = original_of(photos, row)
            archive.add(id, str(row[URI]), data, _SUFFIXES.get(format, (f".{format.lower()}",)))
        return archive.drain()

    for id in ids:
        row = rows.get(id)
        if row is None:
            archive.leave_out(id, "", "no row has this id")
            continue
        if archive.bytes >= _MOST_BYTES:
            archive.leave_out(id, str(row[URI]), "the archive is full")
            continue
        try:
            part = await _patiently(request, served, partial(add, id, row))
        except UnreadableImage as exc:
            served.metrics.refused_picture(exc.reason)
            archive.leave_out(id, str(row[URI]), exc.reason)  # without the detail, which may name folders
        except Problem as exc:
            if exc.kind == "client-left":
                raise
            archive.leave_out(id, str(row[URI]), exc.detail)
        else:
            yield part
    yield archive.close()


async def _patiently(request: Request, served: Served, work: Callable[[], bytes]) -> bytes:
    """An archive is under way for long: it waits where others are before it, instead of leaving pictures out."""
    for _ in range(_TRIES):
        try:
            return await served.opening.run(request, work)
        except Problem as exc:
            if exc.kind != "queue-full":
                raise
        await asyncio.sleep(_PAUSE)
    return await served.opening.run(request, work)
