"""A rename, or what is learned, in a process of its own, killed at a named point.

    name_killer.py URI learn NAME SEED POINT
    name_killer.py URI rename NAME NEW POINT

POINT is `before N`, `after N` or `amid N`: the Nth call that writes (counted from 1), or the time from its start after
which the process is killed. With `nothing` it goes to its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from imgvec import ImageCollection
from imgvec.milvus import learned

_AMID_SECONDS = 0.004


def arrays(seed: int) -> dict[str, Any]:
    """Thirteen parts, at two in a call."""
    return {"matrix": np.random.default_rng(seed).standard_normal((180, 400))}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killer:
    """Counts the calls that it stands before."""

    def __init__(self, point: str) -> None:
        self.when, _, number = point.partition(" ")
        self.left = int(number or 0)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0 and self.when == "before":
                kill()
            if self.left == 0 and self.when == "amid":
                threading.Timer(_AMID_SECONDS, kill).start()
            done = call(*args, **options)
            if self.left == 0:
                kill()
            return done

        return called


def learn(uri: str, name: str, seed: str, point: str) -> None:
    learned._AT_ONCE = 2
    killer = Killer(point)
    with ImageCollection.open(name, uri=uri) as photos:
        taught = photos.learned
        taught.read("projection")
        for method in ("upsert", "delete"):
            setattr(taught._rows, method, killer.around(getattr(taught._rows, method)))
        taught.write("projection", arrays(int(seed)))


def rename(uri: str, name: str, new: str, point: str) -> None:
    import imgvec

    killer = Killer(point)
    with ImageCollection.open(name, uri=uri) as photos:
        if "://" in uri:
            client: Any = photos.store.link.client
            for method in ("rename_collection", "alter_collection_properties"):
                setattr(client, method, killer.around(getattr(client, method)))
        else:  # which runs in this process, and takes several steps
            from milvus_lite import db

            for place, call in ((db.os, "rename"), (db, "save_schema"), (db.MilvusLite, "_save_aliases")):
                setattr(place, call, killer.around(getattr(place, call)))
        imgvec.rename(photos, new)


if __name__ == "__main__":
    _, uri, doing, *words = sys.argv
    {"learn": learn, "rename": rename}[doing](uri, *words)
