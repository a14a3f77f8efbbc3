"""One ingest in its own process, killed at a named point: `killer.py URI NAME FOLDER ACKNOWLEDGED [POINT NTH]`.

Every acknowledged row's id is in the file ACKNOWLEDGED, on disk, before anything else happens. POINT is one of
`POINTS`, NTH how many times it is passed before the kill. Without a point the run goes to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fakes import FakeEncoder

from imgvec import ImageCollection
from imgvec.encoders.protocol import Pixels
from imgvec.images import decode as real_decode
from imgvec.ingest import decoding, pipeline, reading
from imgvec.vectors import Vectors

POINTS = ("after decode", "after encode", "before upsert", "after upsert")


def main(uri: str, name: str, folder: str, acknowledged: str, point: str = "", nth: str = "0") -> None:
    # small chunks, so that a small source passes every point often
    pipeline.WRITE_ROWS = reading.LOOKUP_ROWS = 16
    left = int(nth)

    def passing(here: str) -> None:
        nonlocal left
        if here == point:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    class Encoder(FakeEncoder):
        def encode(self, pixels: Pixels) -> Vectors:
            vectors = super().encode(pixels)
            passing("after encode")
            return vectors

    def decode(*args: Any, decode: Callable[..., Any] = real_decode, **options: Any) -> Any:
        decoded = decode(*args, **options)
        passing("after decode")
        return decoded

    decoding.decode = decode  # type: ignore[attr-defined]  # which decoding imports: in place of the real one
    with ImageCollection.open(name, uri=uri, encoder=Encoder()) as photos, Path(acknowledged).open("a") as log:
        send = photos.store.upsert

        def upsert(
            rows: Sequence[Mapping[str, Any]], vectors: Vectors, more: Mapping[str, Vectors] | None = None
        ) -> int:
            passing("before upsert")
            written = send(rows, vectors, more)
            log.writelines(f"{row['id']}\n" for row in rows)
            log.flush()
            os.fsync(log.fileno())
            passing("after upsert")
            return written

        photos.store.upsert = upsert  # type: ignore[method-assign]  # in place of the real one
        photos.ingest(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
