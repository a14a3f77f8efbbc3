"""Routes that ask for jobs: ingest, duplicates, calibrate. Each is answered with the job, which runs meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from imgvec.curation.options import DuplicatesOptions
from imgvec.ingest.options import IngestOptions
from imgvec.options import settled, taken
from imgvec.quality.options import CalibrateOptions
from imgvec.serving import bodies, orders
from imgvec.serving.following import JOB, asker
from imgvec.serving.job import JobKind
from imgvec.serving.places import below_roots
from imgvec.serving.problems import Problem
from imgvec.serving.served import KNOWN_ONLY, MAY_ADMIN, MAY_WRITE, Json, Served, served_of
from imgvec.sources import Source, SourceOptions

router = APIRouter(prefix="/v1/collections/{collection}", tags=["jobs"], dependencies=[KNOWN_ONLY])

_TAKEN: dict[int | str, dict[str, Any]] = {
    202: {
        **JOB,
        "description": "The job, which waits or runs.",
        "headers": {"Location": {"description": "Where it is asked after.", "schema": {"type": "string"}}},
    }
}


@router.post(
    "/ingest",
    status_code=202,
    responses=_TAKEN,
    dependencies=[MAY_WRITE],
    openapi_extra=bodies.described(
        orders.IngestBody, upload=orders.UploadedIngest, example='{"on_duplicate": "skip"}', texts=orders.TEXTS
    ),
    summary="Ingest",
)
async def ingest(request: Request, collection: str) -> Response:
    """Add pictures: those of a folder or an archive below an allowed root, or such that are uploaded.

    What is there already is passed over, so that asking again is not dangerous. `prune` takes the scope admin.
    """
    served = served_of(request)
    photos = served.collection(collection)
    if bodies.is_upload(request):
        return await _uploaded(request, served, collection)
    body = orders.given(await bodies.json_body(request, orders.IngestBody))
    settled(IngestOptions, taken(IngestOptions, body))
    Source(body["source"], **taken(SourceOptions, body))
    _check_deletes(request, "prune", body)

    def order() -> dict[str, Any]:
        below_roots(body["source"], photos.settings.roots or ())
        return served.jobs.submit("ingest", collection, body, by=asker(request))

    return await _ordered(request, served, order)


@router.post(
    "/duplicates",
    status_code=202,
    responses=_TAKEN,
    dependencies=[MAY_WRITE],
    openapi_extra=bodies.described(orders.DuplicatesBody),
    summary="Duplicates",
)
async def duplicates(request: Request, collection: str) -> Response:
    """Find the pictures that are one, and keep what was found with the collection. `delete` takes the scope admin."""
    body = orders.given(await bodies.json_body(request, orders.DuplicatesBody))
    settled(DuplicatesOptions, taken(DuplicatesOptions, body))
    _check_deletes(request, "delete", body)
    return await _plain(request, "duplicates", collection, body)


@router.post(
    "/calibrate",
    status_code=202,
    responses=_TAKEN,
    dependencies=[MAY_ADMIN],
    openapi_extra=bodies.described(orders.CalibrateBody),
    summary="Calibrate",
)
async def calibrate(request: Request, collection: str) -> Response:
    """Measure from which score on a hit is a match: everybody's answers have a verdict by it from then on."""
    body = orders.given(await bodies.json_body(request, orders.CalibrateBody))
    settled(CalibrateOptions, taken(CalibrateOptions, body))
    return await _plain(request, "calibrate", collection, body)


async def _plain(request: Request, kind: JobKind, collection: str, body: dict[str, Any]) -> Response:
    served = served_of(request)
    served.collection(collection)
    return await _ordered(request, served, partial(served.jobs.submit, kind, collection, body, by=asker(request)))


async def _uploaded(request: Request, served: Served, collection: str) -> Response:
    await asyncio.to_thread(served.uploads.check_room)  # before all of it is read
    await asyncio.to_thread(served.jobs.check_room, collection)
    async with bodies.form_of(request, ("metadata", "options")) as form:
        files = [each.file for each in bodies.files_in(form)]
        options = orders.given(bodies.validated(orders.UploadedIngest, bodies.text_in(form, "options", "{}")))
        fields = bodies.json_part(form, "metadata", orders.Fields, "{}")
        if isinstance(fields, list) and len(fields) != len(files):
            raise Problem(422, "invalid", f"metadata has {len(fields)} entries for {len(files)} pictures")

        def order() -> dict[str, Any]:
            with served.uploads.lock:
                uploads = served.uploads.keep_all(files)
                each = fields if isinstance(fields, list) else [fields] * len(uploads)
                metadata = {upload.uri: some for upload, some in zip(uploads, each, strict=True) if some}
                try:
                    return served.jobs.submit(
                        "ingest", collection, options, by=asker(request), uploads=uploads, metadata=metadata
                    )
                except Problem:  # others were before it
                    served.uploads.remove(uploads)
                    raise

        return await _ordered(request, served, order)


async def _ordered(request: Request, served: Served, order: Callable[[], dict[str, Any]]) -> Response:
    job = await served.opening.run(request, order)
    return Json(job, 202, headers={"Location": f"/v1/jobs/{job['id']}"})


def _check_deletes(request: Request, option: str, body: dict[str, Any]) -> None:
    """Raises `Problem` where something would be deleted that may not be, or was not confirmed."""
    if not body.get(option):
        return
    if "admin" not in request.auth.scopes:
        raise Problem(403, "scope", f"{option} deletes rows: that takes a token with the scope admin")
    if not body.get("confirm"):
        raise Problem(422, "unconfirmed", f'{option} deletes rows: ask again with "confirm": true', option=option)
