"""Reopens pictures for the second look, each once in a run as far as there is room, and notes which cannot be."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from types import TracebackType
from typing import Any, Self

import numpy as np

from imgvec.curation.looks import SIDE, Look, look
from imgvec.curation.subjects import Subject
from imgvec.errors import UnreadableImage
from imgvec.images import DecodePolicy, decode

HELD = 1000
"""Looks in memory, of some 200 kB each."""
SPOOLED_BYTES = 4 * 2**30
"""Of looks in a temporary file: those of 20,000 pictures; of any others some are made again."""
NAMED = 1000
"""Pictures that are named where they could not be reopened; any more are counted."""

Reopen = Callable[[Subject], bytes]
"""The bytes of the file as it was ingested; raises `UnreadableImage`."""


class Seeing:
    """The looks of pictures, and digests of their pixels; any number of threads may ask."""

    def __init__(self, reopen: Reopen, *, threads: int, max_pixels: int, policy: DecodePolicy) -> None:
        self._reopen, self._max_pixels, self._policy = reopen, max_pixels, policy
        self._looks: OrderedDict[str, Look] = OrderedDict()
        self._digests: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._spool = _Spool()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="imgvec-look")
        self.unseen: set[str] = set()
        """The ids of those that could not be reopened."""
        self.reasons: dict[str, str] = {}
        """By uri, of the first `NAMED`."""
        self.opened = 0
        """Pictures that were decoded."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._spool.close()

    def map(self, call: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """`call` of each, in threads, in order."""
        return list(self._pool.map(call, items))

    def look(self, subject: Subject) -> Look | None:
        """None where it cannot be reopened, or is not the picture that was ingested."""
        with self._lock:
            if subject.id in self.unseen:
                return None
            if (found := self._looks.get(subject.id)) is not None:
                self._looks.move_to_end(subject.id)
                return found
        found = self._spool.read(subject.id)
        if found is None:
            picture = self._decoded(subject, min_side=SIDE // 2)
            if picture is None:
                return None
            found = look(np.asarray(picture.image), (picture.width, picture.height))
            self._spool.write(subject.id, found)
        with self._lock:
            self._looks[subject.id] = found
            while len(self._looks) > HELD:
                self._looks.popitem(last=False)
        return found

    def pixels(self, subject: Subject) -> bytes | None:
        """A digest of the upright picture's pixels; None where it cannot be reopened."""
        with self._lock:
            if (found := self._digests.get(subject.id)) is not None:
                return found
            if subject.id in self.unseen:
                return None
        picture = self._decoded(subject, min_side=None)
        if picture is None:
            return None
        array = np.ascontiguousarray(np.asarray(picture.image))
        found = blake2b(array.tobytes() + repr(array.shape).encode(), digest_size=16).digest()
        with self._lock:
            self._digests[subject.id] = found
            while len(self._digests) > 100 * HELD:
                self._digests.popitem(last=False)
        return found

    def _decoded(self, subject: Subject, *, min_side: int | None) -> Any:
        try:
            data = self._reopen(subject)
            found = decode(data, uri=subject.uri, max_pixels=self._max_pixels, min_side=min_side, policy=self._policy)
        except UnreadableImage as exc:
            with self._lock:
                self.unseen.add(subject.id)
                if len(self.reasons) < NAMED:
                    self.reasons[subject.uri] = f"{exc.reason}{f' ({exc.detail})' if exc.detail else ''}"
            return None
        with self._lock:
            self.opened += 1
        return found


class _Spool:
    """Looks in a temporary file, up to `SPOOLED_BYTES`: which is many times quicker than to decode again."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0, prefix="imgvec-looks-")  # noqa: SIM115  it lives as long as this: see `close`
        self._full = False
        self._places: dict[str, tuple[int, Mapping[str, Any]]] = {}
        self._end = 0
        self._lock = threading.Lock()

    def write(self, id_: str, one: Look) -> None:
        parts = (one.grey, one.points, one.descriptors)
        data = b"".join(each.tobytes() for each in parts)
        with self._lock:
            if self._full or id_ in self._places or self._end + len(data) > SPOOLED_BYTES:
                return
            try:
                self._file.seek(self._end)
                self._full = self._file.write(data) < len(data)
            except OSError:
                self._full = True
            if self._full:  # the disk is: any more are made again
                return
            about = {
                "width": one.width,
                "height": one.height,
                "sharpness": one.sharpness,
                "colour": one.colour,
                "shapes": [each.shape for each in parts],
            }
            self._places[id_] = (self._end, about)
            self._end += len(data)

    def read(self, id_: str) -> Look | None:
        with self._lock:
            if id_ not in self._places:
                return None
            start, about = self._places[id_]
            self._file.seek(start)
            arrays: list[Any] = []
            for shape, kind in zip(about["shapes"], (np.uint8, np.float32, np.uint8), strict=True):
                size = int(np.prod(shape)) * np.dtype(kind).itemsize
                arrays.append(np.frombuffer(self._file.read(size), kind).reshape(shape))
        grey, points, descriptors = arrays
        return Look(about["width"], about["height"], grey, points, descriptors, about["sharpness"], about["colour"])

    def close(self) -> None:
        self._file.close()
