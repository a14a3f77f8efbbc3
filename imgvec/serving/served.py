"""What is served: the collections, the lanes that their requests take, and whether all of it is ready."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imgvec.abandoned import Abandoned, Call, of_call
from imgvec.awaiting import Workers
from imgvec.collection import ImageCollection
from imgvec.encoders.turns import Tally
from imgvec.errors import CollectionNotFound, EncoderMismatch, EncoderUnavailable, ImgvecError, MissingExtra
from imgvec.exchange.unbound import MODEL as NO_MODEL
from imgvec.home import at_home
from imgvec.meant import suggestion
from imgvec.nulls import finite
from imgvec.rows import VECTOR
from imgvec.search.forms import Pixels
from imgvec.serving.jobs import Jobs
from imgvec.serving.lanes import Lane
from imgvec.serving.ledger import jobs_folder
from imgvec.serving.logs import log
from imgvec.serving.metrics import Metrics
from imgvec.serving.options import ServeOptions
from imgvec.serving.problems import Problem
from imgvec.serving.remembering import Remembered
from imgvec.serving.uploads import Uploads
from imgvec.sharing import Sharing
from imgvec.verbs.watching import is_watched, watch_index

_EXPECTED = 1000
"""Pictures that encoders are tuned for: enough to measure them, too few to compile a model that is not slow."""
STOP_SECONDS = 30
"""How long requests that are under way may take once the server is to stop; and after these, what warms encoders."""
_LOOK_SECONDS = 1.0
"""How old an answer to whether all is ready may be: anybody may ask for it."""


class Served:
    """The state of one application, which has the collections to itself; `close` ends what is under way."""

    def __init__(self, collections: Mapping[str, ImageCollection], options: ServeOptions) -> None:
        self.collections, self.metrics = dict(collections), Metrics()
        lane = partial(Lane, at_once=options["at_once"], queue=options["queue"], deadline=options["deadline"])
        self.stored = lane("stored")
        """What Milvus answers alone."""
        self.encoding = lane("encoding")
        """What needs the encoder."""
        self.opening = lane("opening")
        """Pictures that are opened again, or fetched."""
        self.remembered = Remembered()
        """What takes looking at all rows."""
        self.lanes = (self.stored, self.encoding, self.opening)
        self.metrics.watch(self.lanes)
        self.archives = 0
        """Zip files that are being sent."""
        upload_dir = options["upload_dir"]
        self.uploads = Uploads(None if upload_dir is None else at_home(upload_dir).absolute(), options["upload_space"])
        """Where uploaded pictures are kept."""
        folder = jobs_folder(collections.values(), options["jobs_dir"])
        self.jobs = Jobs(collections, folder, self.uploads, queue=options["job_queue"], on_end=self.metrics.job_ended)
        """What goes on while nobody waits."""
        self.metrics.watch_jobs(self.jobs)
        self._sharing = {
            (lane.name, name): Sharing(collection, lane.workers)
            for lane in self.lanes
            for name, collection in self.collections.items()
        }
        self._warming = Call()
        self._warmer = threading.Thread(target=of_call(self._warming, self._warm_all), name="imgvec-warm", daemon=True)
        self._warm: set[str] = set()
        self._failed: set[str] = set()
        self._ready: tuple[float, dict[str, bool]] = (-math.inf, {})
        self._looking = asyncio.Lock()
        self._probing = Workers(1)
        self.metrics.watch_encoders(self._tallies)

    def collection(self, name: str) -> ImageCollection:
        """Raises `Problem` for one that is not served, whether it exists or not."""
        found = self.collections.get(name)
        if found is None:
            raise Problem(404, "collection-not-found", "no collection of this name is served")
        return found

    def sharing(self, lane: Lane, name: str) -> Sharing:
        """Asks one that is served, in the threads of a lane."""
        return self._sharing[lane.name, name]

    def begin(self) -> None:
        """Take up jobs, and in a thread load every encoder and let it make a vector, so that no query waits for that.

        Then it tunes them all, which measures for some seconds, once on a machine; what is asked meanwhile is answered.
        """
        self.jobs.start()
        self._warmer.start()

    def _warm_all(self) -> None:
        with suppress(Abandoned):
            self._load_all()
            self._tune_all()

    def _load_all(self) -> None:
        for name, collection in self.collections.items():
            self._warming.check()
            try:
                if has_encoder(collection):
                    collection.vectors([Pixels(np.full((64, 64, 3), 128, np.uint8))])
                self._warm.add(name)
            except (EncoderUnavailable, EncoderMismatch, MissingExtra):
                log.exception("an encoder cannot be loaded")
                self._failed.add(name)
            except ImgvecError:  # grey has no face, or no direction; it is loaded all the same
                self._warm.add(name)
            except Exception:  # noqa: BLE001  somebody's own encoder; the others are warmed all the same
                log.exception("an encoder cannot make a vector")
                self._failed.add(name)

    def _tune_all(self) -> None:
        for collection in self.collections.values():
            self._warming.check()
            try:
                collection.handle.target.encoders.tune(_EXPECTED)
            except Exception:  # noqa: BLE001  somebody's own; it runs as it was loaded
                log.exception("an encoder cannot be tuned")

    def _tallies(self) -> Iterator[tuple[str, Tally]]:
        """Of the encoders that are loaded, those that several collections share once."""
        seen: set[int] = set()
        for name in sorted(self._warm):
            collection = self.collections[name]
            if not has_encoder(collection):
                continue
            encoder = collection.handle.target.encoders.of(VECTOR)
            tally = getattr(encoder, "tally", None)
            if tally is not None and id(tally) not in seen:
                seen.add(id(tally))
                yield encoder.binding.model, tally

    async def probe(self, every: float) -> None:
        """Measure the recall of the standing probes of the collections that have them, every so many seconds."""
        while True:
            for name, collection in self.collections.items():
                try:
                    found = await self._probing.run(partial(_recall, collection))
                except ImgvecError:
                    log.exception("the standing probes cannot be asked")
                else:
                    for limit, recall in found.items():
                        self.metrics.recalled(name, limit, recall)
            await asyncio.sleep(every)

    def takes(self, name: str) -> dict[str, bool | None]:
        """Whether new pictures and words can be searched for, None until its encoder is loaded; and uploads be kept."""
        uploads = self.uploads.are_kept
        collection = self.collections[name]
        if name in self._failed or not has_encoder(collection):
            return {"image": False, "text": False, "uploads": uploads}
        if name not in self._warm:
            return {"image": None, "text": None, "uploads": uploads}
        return {"image": True, "text": collection.encoder.supports_text, "uploads": uploads}

    async def ready(self) -> dict[str, bool]:
        """Whether Milvus answers for every collection, and whether every encoder is warm."""
        async with self._looking:
            at, found = self._ready
            if time.monotonic() - at > _LOOK_SECONDS:
                answers = await asyncio.gather(
                    *(asyncio.to_thread(_answers, each) for each in self.collections.values())
                )
                found = {"milvus": all(answers), "encoders": self._warm == self.collections.keys()}
                self._ready = (time.monotonic(), found)
        return found

    def pause(self) -> None:
        """Begin nothing more that nobody waits for, and stop what is under way of that. Returns at once."""
        self.jobs.pause()
        self._warming.abandon()

    def close(self) -> None:
        self.pause()
        if self._warmer.ident is not None:
            self._warmer.join(STOP_SECONDS)
        if self._warmer.is_alive():  # a download, or a compiler: it ends with the process
            log.warning("an encoder was still being loaded or compiled")
        self.jobs.close()
        self._probing.end()
        for lane in self.lanes:
            lane.end()
        for collection in self.collections.values():
            collection.close()


def _recall(collection: ImageCollection) -> dict[int, float]:
    """Recall by limit; of a collection without standing probes nothing, and none are made."""
    found = watch_index(collection, no_scan=True) if is_watched(collection) else None
    return {} if found is None else {limit: each.mean for limit, each in found.recall.items() if each.queries}


def has_encoder(collection: ImageCollection) -> bool:
    """Whether queries can be encoded: vectors that came from elsewhere have none."""
    return collection.binding.model != NO_MODEL


def _answers(collection: ImageCollection) -> bool:
    try:
        collection.count()
    except CollectionNotFound:  # dropped: requests for it are told so, and the others are answered
        return True
    except ImgvecError:
        return False
    return True


def served_of(request: Request) -> Served:
    found: Served = request.app.state.served
    return found


def allowed(
    request: Request,
    scopes: SecurityScopes,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Raises `Problem` where the token lacks the scope; whose token it is was found out before the body was read."""
    if not set(scopes.scopes) <= set(request.auth.scopes):
        raise Problem(403, "scope", f"this takes a token with the scope {scopes.scope_str}")


MAY_READ = Security(allowed, scopes=["read"])
MAY_WRITE = Security(allowed, scopes=["write"])
MAY_ADMIN = Security(allowed, scopes=["admin"])


def only_known(request: Request) -> None:
    """Raises `Problem` for a parameter of the address that the route does not have, instead of passing over it."""
    known = {each.alias for each in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            has = f"(it has {', '.join(sorted(known))})" if known else "(it has none)"
            raise Problem(422, "invalid", f"no parameter {name[:64]!r}{suggestion(name[:64], known)} {has}")


KNOWN_ONLY = Depends(only_known)


def thumbnail_at(name: str, id: str, version: object) -> str:
    """The address of a row's thumbnail, which caches keep where the row's content_hash is known."""
    at = f"/v1/collections/{quote(name, safe='')}/images/{quote(id, safe='')}/thumbnail"
    return f"{at}?v={quote(str(version), safe='')}" if version else at


def json_response(body: bytes) -> Response:
    """Of JSON that `Json` has rendered."""
    return Response(body, media_type=Json.media_type)


class Json(JSONResponse):
    """JSON, with null for numbers that are none: a field may hold what somebody else wrote."""

    def render(self, content: Any) -> bytes:
        try:
            return super().render(content)
        except ValueError:
            return super().render(finite(content))
