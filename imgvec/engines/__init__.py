"""Engines that run an ingest, for `ImageCollection.ingest(engine=…)`.

local.py   this process, which is the default
ray.py     the driver: starts or joins a cluster, and adds up what its workers report
worker.py  what runs on the cluster: the reader of the source, and the actors, each with an encoder
stores.py  the driver's store, for workers that cannot open it themselves
"""

from __future__ import annotations

from imgvec.engines.local import LocalEngine
from imgvec.engines.ray import RayEngine

__all__ = ["LocalEngine", "RayEngine"]
