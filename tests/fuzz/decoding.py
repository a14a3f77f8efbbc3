"""`decode` in a process of its own, so that a hang and a crash are seen and cost the file that is to blame alone."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_PIXELS = 4_000_000
SECONDS = 10.0
"""What one file may take, on a machine that is busy with other things."""
MEBIBYTES = 160.0
"""What one file may take beside its own bytes: five times its pixels at 4 bytes each (`decode`), and as much again."""

Answer = dict[str, Any]


class DecodingChild:
    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def decoded(self, path: Path, min_side: int | None = None) -> Answer:
        """What `decode` said of the file; `error` is "hangs" or "dies of signal N" where it said nothing."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\t{min_side or 0}\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(2 * SECONDS) else None
        if line:
            answer: Answer = json.loads(line)
            return answer
        if line is None:
            process.kill()
        status = process.wait()
        self.close()
        return {"error": "hangs" if line is None else f"dies with status {status}"}

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            root = str(Path(__file__).parents[2])
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", Path(__file__).with_name("decoding_child.py"), str(MAX_PIXELS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
            )
        return self._process


@contextmanager
def decoding_child() -> Iterator[DecodingChild]:
    child = DecodingChild()
    try:
        yield child
    finally:
        child.close()
