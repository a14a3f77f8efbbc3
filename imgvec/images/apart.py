"""Decoding in a separate process, for formats whose libraries may crash, hang, or use unbounded memory.

The helper is a fresh interpreter that imports neither the application's main module nor torch. It is started when the
first such image comes, serves one image after another, and ends with this process, or after some minutes without work.
What comes back is a header in JSON and pixels; nothing is unpickled. A helper that dies costs the image that it was
given; so does one that takes too long. Its memory is bounded where the system does that (Linux).

The way there and back costs 0.3 ms, and 0.9 ms a megabyte of file (two x86-64 cores); a HEIC of 12 megapixels takes
hundreds to decode.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from imgvec.errors import UnreadableImage

SECONDS = 120.0
"""An image that is not decoded by then is refused."""
_IDLE_SECONDS = 300.0
_IDLE_HELPERS = 16
_BASE_BYTES, _BYTES_PER_PIXEL = 1 << 30, 64
"""Of memory that an image may take in a helper: libjxl holds several copies of it in 32-bit floats."""

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from imgvec.images.apart import serve; serve()"

Answer = tuple[dict[str, Any], bytes]


class _Died(Exception):
    pass


class _Helper:
    """A process that decodes, and the way to it."""

    def __init__(self) -> None:
        self._line, there = Pipe()
        with there:
            # a session of its own: Ctrl-C is for the run, which still writes what is in hand
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", _BOOT, str(there.fileno()), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                start_new_session=True,
                env={**os.environ, "TZ": "UTC"},
            )

    def ask(self, question: dict[str, Any], data: bytes) -> Answer:
        """Raises `_Died`, and `TimeoutError`."""
        try:
            self._line.send_bytes(json.dumps(question).encode())
            self._line.send_bytes(data)
            if not self._line.poll(SECONDS):
                raise TimeoutError
            answer = json.loads(self._line.recv_bytes())
            return answer, self._line.recv_bytes()
        except (OSError, EOFError, ValueError) as exc:
            if isinstance(exc, TimeoutError):
                raise
            raise _Died from exc

    def end(self) -> None:
        self._line.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """In a fork: the helper is the parent's."""
        self._line.close()
        self._process.returncode = 0


class _Helpers:
    """Those that wait for work; each caller takes one for itself."""

    def __init__(self) -> None:
        self._idle: list[_Helper] = []
        self._lock = threading.Lock()

    def ask(self, question: dict[str, Any], data: bytes) -> Answer:
        """What a helper answers. One that dies may have been at its end already: a fresh one is asked once more."""
        with self._lock:
            helper = self._idle.pop() if self._idle else None
        if helper is not None:
            with suppress(_Died):
                return self._asked(helper, question, data)
        return self._asked(_Helper(), question, data)

    def _asked(self, helper: _Helper, question: dict[str, Any], data: bytes) -> Answer:
        try:
            answer = helper.ask(question, data)
        except BaseException:
            helper.end()
            raise
        with self._lock:
            if len(self._idle) < _IDLE_HELPERS:
                self._idle.append(helper)
                return answer
        helper.end()
        return answer

    def end(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for helper in idle:
            helper.end()

    def forget(self) -> None:
        idle, self._idle, self._lock = self._idle, [], threading.Lock()
        for helper in idle:
            helper.forget()


_helpers = _Helpers()
atexit.register(_helpers.end)
os.register_at_fork(after_in_child=_helpers.forget)


def decoded_apart(
    name: str, data: bytes, *, uri: str, max_pixels: int, min_side: int | None
) -> tuple[Image.Image, dict[str, Any]]:
    """The upright RGB image, and width, height, media_type, taken_at and caption; raises `UnreadableImage`."""
    question = {"name": name, "max_pixels": max_pixels, "min_side": min_side}
    try:
        answer, pixels = _helpers.ask(question, data)
    except _Died as exc:
        raise UnreadableImage(uri, "broken", "it crashed the process that decoded it") from exc
    except TimeoutError as exc:
        raise UnreadableImage(uri, "broken", f"decoding took more than {SECONDS:g} s") from exc
    except OSError as exc:
        raise UnreadableImage(uri, "read failed", f"cannot start a process to decode it: {exc}") from exc
    if "reason" in answer:
        raise UnreadableImage(uri, answer["reason"], answer["detail"])
    try:
        return Image.frombytes("RGB", tuple(answer.pop("size")), pixels), answer
    except (KeyError, TypeError, ValueError) as exc:  # a decoder that was made to write over its own memory
        raise UnreadableImage(uri, "broken", "the process that decoded it returned garbage") from exc


def serve() -> None:
    """The helper's side: answers until the line is closed."""
    from imgvec.images.native import decode_native

    at_first = _data_bytes()
    with Connection(int(sys.argv[1])) as line, suppress(EOFError, OSError):
        while line.poll(_IDLE_SECONDS):
            question = json.loads(line.recv_bytes())
            data = line.recv_bytes()
            _bound_memory(at_first + _BASE_BYTES + _BYTES_PER_PIXEL * question["max_pixels"])
            try:
                image, answer = decode_native(data, **question)
                pixels = image.tobytes()
            except UnreadableImage as exc:
                answer, pixels = {"reason": exc.reason, "detail": exc.detail}, b""
            except BaseException as exc:  # noqa: BLE001 - what a panic of Rust comes as is not an `Exception`
                detail = f"{type(exc).__name__}: {exc}".splitlines()[0][:200]
                answer, pixels = {"reason": "broken", "detail": detail}, b""
            line.send_bytes(json.dumps(answer).encode())
            line.send_bytes(pixels)


def _data_bytes() -> int:
    """What this process has allocated by itself, as RLIMIT_DATA counts it; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _bound_memory(limit: int) -> None:
    if sys.platform == "linux":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        with suppress(ValueError, OSError):
            bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
