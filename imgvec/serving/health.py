"""Routes for whoever looks after the server: is it alive, is it ready, what does it do."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from imgvec.serving.served import MAY_READ, Json, served_of

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Alive")
async def alive() -> Response:
    """Answers as long as the process does; asks nothing else, and takes no token."""
    return Json({"alive": True})


@router.get("/readyz", summary="Ready", responses={503: {"description": "Not yet, or not any more."}})
async def ready(request: Request) -> Response:
    """Whether Milvus answers for every collection, and every encoder is warm; takes no token."""
    checks = await served_of(request).ready()
    return Json({"ready": all(checks.values()), "checks": checks}, 200 if all(checks.values()) else 503)


@router.get("/metrics", summary="Metrics", response_class=Response, dependencies=[MAY_READ])
async def metrics(request: Request) -> Response:
    """For Prometheus, in its text format."""
    return Response(served_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
