"""What is kept of jobs in a folder, so that they go on after the server has stopped, however it did.

A job is a file of JSON, written whole or not at all whenever its state changes; beside it are the pictures that it
refused, its result, and a log of what it deleted, which stays when the job is forgotten. One process has the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from imgvec.collection import ImageCollection
from imgvec.database import lite_file
from imgvec.home import at_home
from imgvec.images.fetch import without_userinfo
from imgvec.serving.job import Job
from imgvec.serving.logs import log
from imgvec.settings import Settings

_JOB, _ERRORS, _RESULT, _DELETED = ".job.json", ".errors.jsonl", ".result.json", ".deleted.jsonl"


class Ledger:
    """The jobs in `folder`, which is made when the first is written. All that fails raises `OSError`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None

    def take(self, *, make: bool) -> bool:
        """Have the folder for this process, until `release`; False where another has it, or it is not there."""
        if self._lock is not None:
            return True
        if make:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not self.folder.is_dir():
            return False
        # the system gives it back when the process ends, also by force
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self) -> list[Job]:
        """The jobs, the oldest first; what cannot be read is passed over, and logged."""
        found = []
        for path in self.folder.glob(f"*{_JOB}"):
            try:
                found.append(Job.unpacked(json.loads(path.read_bytes())))
            except (OSError, ValueError, TypeError, KeyError):
                log.exception("a job cannot be read")
        return sorted(found, key=lambda job: (job.created_at, job.id))

    def write(self, job: Job) -> None:
        _replace(self._path(job, _JOB), job.packed())

    def write_result(self, job: Job, result: dict[str, Any]) -> None:
        _replace(self._path(job, _RESULT), result)

    def result(self, job: Job) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._path(job, _RESULT).read_bytes())
        return found

    def errors_file(self, job: Job) -> Path:
        """Where the pictures that it refuses are written, as lines of JSON."""
        return self._path(job, _ERRORS)

    def deleted_file(self, job: Job) -> Path:
        """Where it is written what it deletes."""
        return self._path(job, _DELETED)

    def errors(self, job: Job, most: int | None = None) -> list[dict[str, str]]:
        """The first refused pictures: uri, reason, detail."""
        try:
            with self._path(job, _ERRORS).open(encoding="utf-8") as lines:
                # the last line may be half written
                return [json.loads(line) for line in islice(lines, most) if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def forget(self, job: Job) -> None:
        """All but what it deleted."""
        for ending in (_JOB, _ERRORS, _RESULT):
            with suppress(OSError):
                self._path(job, ending).unlink(missing_ok=True)

    def _path(self, job: Job, ending: str) -> Path:
        return self.folder / f"{job.id}{ending}"


def jobs_folder(collections: Iterable[ImageCollection], given: str | None) -> Path:
    """The folder that is given; else one beside the Milvus Lite file, or in the user's state folder.

    (XDG Base Directory Specification: `$XDG_STATE_HOME`, or `~/.local/state`.)
    """
    if given is not None:
        return at_home(given).absolute()
    settings = next((each.settings for each in collections), Settings())
    if (lite := lite_file(settings)) is not None:
        return lite.with_name(f"{lite.name}.jobs")
    state = Path(os.environ.get("XDG_STATE_HOME") or at_home("~/.local/state"))
    where = hashlib.sha256(f"{without_userinfo(settings.uri)} {settings.db_name}".encode()).hexdigest()[:16]
    return state / "imgvec" / f"jobs-{where}"


def _replace(path: Path, value: Any) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
