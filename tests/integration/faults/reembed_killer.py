"""A re-embedding in a process of its own, killed before or after the Nth call that changes something.

    reembed_killer.py URI NAME POINT        POINT is `before N`, `after N` or `nothing`

It prints the number of such calls when it comes to its end. Of a collection of views the new encoder looks at pictures.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from changing_models import encoder_of, looking_encoder_of, new_encoder

import imgvec
from imgvec import ImageCollection, loading
from imgvec.ingest import pipeline
from imgvec.milvus import aliases
from imgvec.milvus.collection_link import CollectionLink
from imgvec.milvus.learned import Learned
from imgvec.milvus.store import Store


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killer:
    def __init__(self, point: str) -> None:
        self.when, _, number = point.partition(" ")
        self.number, self.calls = int(number or 0), 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            self.calls += 1
            is_now = self.calls == self.number
            if is_now and self.when == "before":
                kill()
            done = call(*args, **options)
            if is_now and self.when == "after":
                kill()
            return done

        return called


if __name__ == "__main__":
    _, uri, name, point = sys.argv
    killer = Killer(point)
    encoder = new_encoder()
    loading.loaded_encoder = encoder_of  # type: ignore[assignment]  # its stand-in takes whatever it is given
    with ImageCollection.open(name, uri=uri) as photos:
        if photos.definition.views is not None:
            encoder = looking_encoder_of(name, encoder.binding)
            pipeline.WRITE_ROWS = 16  # several writes
        for place, method in (
            (Store, "upsert"),
            (Store, "discard"),
            (CollectionLink, "remember"),
            (Learned, "write"),
            (aliases, "rename"),
            (aliases, "_point"),
        ):
            setattr(place, method, killer.around(getattr(place, method)))
        done = imgvec.reembed(photos, encoder)
        assert done.swapped
    print(killer.calls)
