"""A route that deletes pictures from a collection: by their ids, by an admin, and only if it says that it means it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from imgvec.rows import CONTENT_HASH
from imgvec.serving import bodies
from imgvec.serving.logs import FIELDS, log
from imgvec.serving.selected import DeleteBody
from imgvec.serving.served import KNOWN_ONLY, MAY_ADMIN, Json, served_of

router = APIRouter(prefix="/v1/collections/{collection}/images", tags=["images"], dependencies=[MAY_ADMIN, KNOWN_ONLY])


@router.post("/delete", openapi_extra=bodies.described(DeleteBody), summary="Delete")
async def delete(request: Request, collection: str) -> Response:
    """Delete pictures, with all of their rows, from the collection; their files stay. Unknown ids are passed over.

    `deleted` says how many pictures there were. An ingest of the files brings them back.
    """
    served = served_of(request)
    photos = served.collection(collection)
    body = await bodies.json_body(request, DeleteBody)

    def remove() -> int:
        ids = list(dict.fromkeys(body.ids))
        asked = [id for id in ids if id in body.unchanged]
        rows = photos.get(asked) if asked else {}
        changed = {id for id, row in rows.items() if str(row.get(CONTENT_HASH) or "") != body.unchanged[id]}
        sure = [id for id in ids if id not in changed]
        return photos.delete(sure) if sure else 0

    deleted = await served.stored.run(request, remove)
    log.info("deleted", extra={FIELDS: {"request_id": request.state.request_id, "pictures": deleted}})
    return Json({"deleted": deleted})
