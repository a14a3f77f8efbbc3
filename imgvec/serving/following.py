"""Routes that follow jobs: all of them, one, its result, its events; and the end of one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from imgvec.serving.job import ENDED, EXAMPLE, MOST_ERRORS, Job, JobShown, State
from imgvec.serving.jobs import Jobs
from imgvec.serving.problems import busy
from imgvec.serving.served import KNOWN_ONLY, MAY_WRITE, Json, served_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[MAY_WRITE, KNOWN_ONLY])

_STREAMS = 64
"""Streams of events at once: each holds a connection."""
_HEARTBEAT_SECONDS = 15.0
_LEAST_SECONDS = 0.25
"""Between two events of one stream."""

JOB: dict[str, Any] = {"model": JobShown, "content": {"application/json": {"example": EXAMPLE}}}
"""For OpenAPI: an answer that is a job."""


class JobsShown(BaseModel):
    """The newest first."""

    model_config = ConfigDict(extra="forbid")

    jobs: list[JobShown]


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`state` with the whole job, first, whenever its state changes, and last; `progress` between.",
        "content": {
            "text/event-stream": {
                # of each event: OpenAPI has no word of its own for streams before 3.2
                "schema": {
                    "type": "object",
                    "required": ["id", "event", "data"],
                    "properties": {
                        "id": {"type": "string"},
                        "event": {"type": "string", "enum": ["state", "progress"]},
                        "data": {"type": "string", "description": "JSON: the job, or its progress."},
                    },
                },
                "example": {"id": "1f6c1e4f-3", "event": "progress", "data": '{"id": "8d3f…", "done": 120}'},
            }
        },
    },
    204: {"description": "It has ended, and the client has seen that."},
}


def asker(request: Request) -> str:
    """The name of the token that asks; empty where there are none."""
    return str(request.user.display_name)


def _whose(request: Request) -> str | None:
    """Whose jobs the token may see: None for all."""
    return None if "admin" in request.auth.scopes else asker(request)


def _job(request: Request, id: str) -> tuple[Jobs, Job]:
    jobs = served_of(request).jobs
    return jobs, jobs.find(id, _whose(request))


@router.get("", response_model=JobsShown, summary="Jobs")
async def listed(
    request: Request,
    collection: Annotated[str | None, Query(max_length=1024, description="Only of this collection.")] = None,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The jobs of this token, or all of them with the scope admin; the newest first, without their errors."""
    served = served_of(request)
    find = partial(served.jobs.shown, collection, state, _whose(request), limit)
    return Json({"jobs": await served.opening.run(request, find)})


@router.get("/{id}", responses={200: JOB}, summary="Job")
async def one(request: Request, id: str) -> Response:
    """How far a job is, what it has counted, and the first pictures that it refused."""
    jobs, job = _job(request, id)
    return Json(await served_of(request).opening.run(request, partial(jobs.detailed, job, MOST_ERRORS)))


@router.get("/{id}/result", summary="Result")
async def result(request: Request, id: str) -> Response:
    """What a job that has succeeded found out: the report of an ingest, groups of duplicates, a calibration."""
    jobs, job = _job(request, id)
    return Json(await served_of(request).opening.run(request, partial(jobs.result, job)))


@router.post("/{id}/cancel", responses={200: JOB}, summary="Cancel")
async def cancel(request: Request, id: str) -> Response:
    """End a job after what is under way; what it has written stays. Asked again, the answer is the same."""
    jobs, job = _job(request, id)
    return Json(await served_of(request).opening.run(request, partial(jobs.cancel, job)))


@router.get("/{id}/events", responses=_EVENTS, response_class=StreamingResponse, summary="Events")
async def events(request: Request, id: str) -> Response:
    """The job as it goes on, as server-sent events; each says all there is to know, so that none need be waited for.

    A client that was cut off says the last id that it has seen in `Last-Event-ID`, and is told only what is newer. The
    stream ends with the job, or with `paused` when the server stops.
    """
    jobs, job = _job(request, id)
    seen = request.headers.get("last-event-id", "")
    if seen == "end" and job.state in ENDED:
        return Response(status_code=204)
    if jobs.onlookers.number >= _STREAMS:
        raise busy("streams", f"{_STREAMS} streams of events are open: ask for the job itself")
    return StreamingResponse(_told(jobs, job, seen), media_type="text/event-stream")


async def _told(jobs: Jobs, job: Job, seen: str) -> AsyncIterator[str]:
    with jobs.onlookers.watching(job.id) as changed:
        last: State | None = None
        yield "retry: 2000\n\n"
        while True:
            changed.clear()
            # the lock of the jobs is held while one is written to disk
            version, shown, state = await asyncio.to_thread(jobs.latest, job)
            if version != seen:
                if state != last or shown["progress"] is None:
                    yield _event(version, "state", shown)
                else:
                    yield _event(version, "progress", {"id": job.id, **shown["progress"]})
            seen, last = version, state
            if state in ENDED or state == "paused":
                return
            await asyncio.sleep(_LEAST_SECONDS)
            try:
                await asyncio.wait_for(changed.wait(), _HEARTBEAT_SECONDS)
            except TimeoutError:
                yield ": alive\n\n"


def _event(version: str, name: str, data: dict[str, Any]) -> str:
    # JSON has no line breaks of its own
    return f"id: {version}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
