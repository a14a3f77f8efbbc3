"""The jobs of one application: asked for, run one at a time for each collection, watched, stopped, taken up again."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from imgvec.abandoned import Abandoned
from imgvec.collection import ImageCollection
from imgvec.progress import Progress
from imgvec.serving import works
from imgvec.serving.job import ENDED, MOST_NOTICES, Job, JobKind, State, Upload, now
from imgvec.serving.ledger import Ledger
from imgvec.serving.logs import FIELDS, log
from imgvec.serving.onlookers import Onlookers
from imgvec.serving.problems import Problem, busy, problem_of
from imgvec.serving.uploads import Uploads

_AT_ONCE = 2
"""Jobs of different collections that run side by side."""
_KEPT = 200
"""Ended jobs that are remembered."""
_DEATHS = 10
"""A job with which the server ended so often, without a word, is not taken up again: it may be the reason."""
_RETRY_SECONDS = 30
_PATIENCE = 60.0
"""Seconds for a batch that is under way to end when the server stops; what is cut off then, the next start repeats."""
Ended = Callable[[JobKind, State], None]


class Jobs:
    """Each change of state is written to the folder, so that no job is lost; repeated, it passes over what is there."""

    def __init__(
        self, collections: Mapping[str, ImageCollection], folder: Path, uploads: Uploads, *, queue: int,
        on_end: Ended | None = None,
    ) -> None:  # fmt: skip
        self._collections, self._uploads, self._queue, self._on_end = collections, uploads, queue, on_end
        self._ledger, self._name = Ledger(folder), uuid.uuid4().hex[:8]
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        """The oldest first."""
        self._running: dict[str, tuple[works.Doing, threading.Thread]] = {}
        """By id."""
        self._pausing = self._loaded = False
        self.onlookers = Onlookers()

    def start(self) -> None:
        """Take up what an earlier process has left."""
        try:
            if self._ledger.take(make=False):
                self._load()
        except OSError:
            log.exception("the folder of jobs cannot be read")

    def check_room(self, collection: str) -> None:
        """Raises `Problem` where no job of this collection can be taken on now."""
        with self._lock:
            if self._pausing:
                raise busy("stopping", "the server is stopping: ask again once it has started")
            waiting = sum(job.collection == collection and job.state == "waiting" for job in self._jobs.values())
            is_free = not waiting and len(self._running) < _AT_ONCE and not self._is_busy(collection)
            if not is_free and waiting >= self._queue:
                raise busy("jobs-full", f"{waiting:,} jobs of this collection wait already", seconds=_RETRY_SECONDS)
            try:
                taken = self._ledger.take(make=True)
            except OSError as exc:
                log.exception("the folder of jobs cannot be written")
                raise Problem(507, "jobs-unavailable", "jobs cannot be remembered here, so none is begun") from exc
            if not taken:
                raise busy("jobs-elsewhere", "another server of this machine has the jobs", seconds=_RETRY_SECONDS)
            if not self._loaded:  # they were another's before
                self._load()

    def submit(
        self,
        kind: JobKind,
        collection: str,
        request: dict[str, Any],
        *,
        by: str,
        uploads: Sequence[Upload] = (),
        metadata: Mapping[str, dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """A new job, as it is shown; it runs when it is its turn. Raises `Problem` as `check_room`."""
        job = Job(uuid.uuid4().hex, kind, collection, by, request, list(uploads), dict(metadata or {}))
        with self._lock:
            self.check_room(collection)
            try:
                self._ledger.write(job)
            except OSError as exc:
                log.exception("a job cannot be written")
                raise Problem(507, "jobs-unavailable", "the job cannot be remembered, so it is not begun") from exc
            self._jobs[job.id] = job
            self._forget_old()
            self._go_on()
            return {**job.shown(), **({"uploads": job.shown_uploads()} if uploads else {})}

    def shown(self, collection: str | None, state: str | None, by: str | None, most: int) -> list[dict[str, Any]]:
        """The newest first: of one collection, in one state, of one token, or all."""
        with self._lock:
            fitting = (
                job
                for job in reversed(self._jobs.values())
                if collection in (None, job.collection) and state in (None, job.state) and by in (None, job.by)
            )
            return [job.shown() for job, _ in zip(fitting, range(most), strict=False)]

    def find(self, id: str, by: str | None) -> Job:
        """The job; raises `Problem` where there is none, or it is not of this token (None: of any)."""
        with self._lock:
            job = self._jobs.get(id)
        if job is None or by not in (None, job.by):
            raise Problem(404, "job-not-found", "no job of yours has this id")
        return job

    def detailed(self, job: Job, most: int) -> dict[str, Any]:
        """As shown, with its errors and uploads; reads a file."""
        errors = self._ledger.errors(job, most)
        with self._lock:
            return {**job.shown(), "errors": errors, **({"uploads": job.shown_uploads()} if job.uploads else {})}

    def result(self, job: Job) -> dict[str, Any]:
        """Raises `Problem` before it has succeeded."""
        if job.state != "succeeded":
            raise Problem(409, "no-result", f"the job has no result: it is {job.state}")
        try:
            return self._ledger.result(job)
        except OSError as exc:
            raise Problem(404, "result-gone", "the result is not kept any more") from exc

    def cancel(self, job: Job) -> dict[str, Any]:
        """End it; what is written stays. Again is the same; raises `Problem` where it has ended otherwise."""
        with self._lock:
            if job.state in ("succeeded", "failed"):
                raise Problem(409, "job-ended", f"the job has {job.state} already")
            if job.state in ("waiting", "paused"):
                self._end(job, "cancelled")
            elif job.state == "running":
                self._change(job, "cancelling")
                self._running[job.id][0].end()
            shown = job.shown()
        if shown["state"] == "cancelled":
            self._clear(job)
        return shown

    def count(self, state: State) -> int:
        with self._lock:
            return sum(job.state == state for job in self._jobs.values())

    def latest(self, job: Job) -> tuple[str, dict[str, Any], State]:
        """What there is to know of it now, with a word that changes whenever that does."""
        with self._lock:
            version = "end" if job.state in ENDED else f"{self._name}-{self.onlookers.version(job.id)}"
            return version, job.shown(), job.state

    def pause(self) -> None:
        """Begin nothing more; what runs stops where it can go on from at the next start. Returns at once."""
        with self._lock:
            self._pausing = True
            for doing, _ in self._running.values():
                doing.end()
            for job in self._jobs.values():
                if job.state == "waiting":
                    self._change(job, "paused")

    def close(self) -> None:
        """`pause`, and wait until all of it has stopped."""
        self.pause()
        with self._lock:
            threads = [thread for _, thread in self._running.values()]
        for thread in threads:
            thread.join(_PATIENCE)
        self._ledger.release()

    def _load(self) -> None:
        with self._lock:
            self._loaded = True
            for job in self._ledger.read():
                if job.id in self._jobs:
                    continue
                self._jobs[job.id] = job
                if job.state == "cancelling":
                    self._end(job, "cancelled")
                elif job.state == "running":  # the server ended without a word
                    job.deaths += 1
                    if job.deaths >= _DEATHS:
                        problem = Problem(500, "server-ended", f"the server ended {job.deaths} times while it ran")
                        job.problem = problem.document()
                        self._end(job, "failed")
                    else:
                        self._change(job, "waiting" if job.collection in self._collections else "paused")
                elif job.state == "paused" and job.collection in self._collections:
                    self._change(job, "waiting")
            self._forget_old()
            self._go_on()

    def _is_busy(self, collection: str) -> bool:
        return any(self._jobs[id].collection == collection for id in self._running)

    def _go_on(self) -> None:
        """Begin what may run now, in the order in which it was asked for."""
        for job in list(self._jobs.values()):
            if self._pausing or len(self._running) >= _AT_ONCE:
                return
            if job.state != "waiting" or self._is_busy(job.collection):
                continue
            doing = works.Doing(
                partial(self._progress, job),
                partial(self._notice, job),
                self._ledger.errors_file(job),
                self._ledger.deleted_file(job),
            )
            thread = threading.Thread(target=self._run, args=(job, doing), name=f"imgvec-job-{job.kind}", daemon=True)
            job.started_at, job.starts, job.notices = now(), job.starts + 1, []
            self._running[job.id] = (doing, thread)
            self._change(job, "running")
            thread.start()

    def _run(self, job: Job, doing: works.Doing) -> None:
        state: State = "failed"
        try:
            outcome = works.run(self._collections[job.collection], job, doing)
            self._ledger.write_result(job, outcome.result)
            job.counts, state = outcome.counts, "succeeded"
        except (works.Interrupted, Abandoned):
            state = "paused"
        except Exception as exc:  # noqa: BLE001  told to whoever asked
            if doing.stop.is_set():  # it was stopped in the middle of something that took this for a failure
                state = "paused"
            else:
                job.problem = problem_of(exc).document()
                if job.problem["status"] >= 500:
                    log.exception("a job failed")
        finally:
            if state == "paused" and job.state == "cancelling":
                state = "cancelled"
            try:
                if state != "paused":
                    self._clear(job)
            finally:  # others wait for it to be over, whatever its files do
                with self._lock:
                    del self._running[job.id]
                    if state == "paused":
                        self._change(job, state)
                    else:
                        self._end(job, state)
                    self._go_on()

    def _end(self, job: Job, state: State) -> None:
        job.ended_at = now()
        self._change(job, state)
        if self._on_end is not None:
            self._on_end(job.kind, state)

    def _clear(self, job: Job) -> None:
        """Remove what it brought and nobody needs: not under the lock, since Milvus is asked."""
        if not job.uploads:
            return
        with self._uploads.lock:
            with self._lock:
                others = [other for other in self._jobs.values() if other is not job and other.state not in ENDED]
                needed = {each.uri for other in others for each in other.uploads}
            gone = [each.uri for each in job.uploads if each.is_new and each.uri not in needed]
            self._uploads.clear(gone, self._collections)

    def _change(self, job: Job, state: State) -> None:
        job.state = state
        try:
            self._ledger.write(job)
        except OSError:  # it goes on; after a stop it is repeated, which does nothing twice
            log.exception("a job cannot be written")
        fields = {"job": job.id, "kind": job.kind, "collection": job.collection, "state": state, "user": job.by}
        log.info("job", extra={FIELDS: fields})
        self.onlookers.tell(job.id)

    def _progress(self, job: Job, event: Progress) -> None:
        shown = event.to_dict()
        with self._lock:
            job.progress = shown
            if shown["counts"]:
                job.counts = shown["counts"]
            self.onlookers.tell(job.id)

    def _notice(self, job: Job, text: str) -> None:
        with self._lock:
            if len(job.notices) < MOST_NOTICES and text not in job.notices:
                job.notices.append(text)
                self.onlookers.tell(job.id)

    def _forget_old(self) -> None:
        ended = [job for job in self._jobs.values() if job.state in ENDED]
        for job in ended[: max(0, len(ended) - _KEPT)]:
            del self._jobs[job.id]
            self.onlookers.forget(job.id)
            self._ledger.forget(job)
