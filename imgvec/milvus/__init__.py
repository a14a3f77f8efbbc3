"""Everything that talks to Milvus: the only room that imports pymilvus.

link.py          what every call shares: the client, timeouts, failures, how reads wait for writes
connecting.py    connect to Milvus Lite or a server;  connection.py  make, open and drop collections
store.py         one collection: reading.py brings its rows and hits out, writing.py brings rows in, vector_index.py
                 builds its index
capabilities.py  what a backend can do;  faults.py  what is known to be wrong with releases of servers
companions.py    small collections beside a collection;  names.py  what collections may be called
learned.py       arrays that a collection has learned, in the companion of that name
aliases.py       second names, which can be moved; renaming
schema.py        a definition as Milvus's schema and indexes
described.py     a collection as Milvus describes it
errors.py        translates pymilvus's exceptions
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Import pymilvus without what it takes from the environment.

    At import it loads a `.env` found from the working directory or above its own folder, and refuses to be imported
    where `MILVUS_URI` is not of its liking (a path, for one). imgvec hands the address over itself.
    """
    quiet = {"PYTHON_DOTENV_DISABLED": "1", "MILVUS_URI": "", "MILVUS_DEFAULT_CONNECTION": ""}
    # gRPC's C++ side prints handshakes that fail to stderr; they come as exceptions too
    quiet["GRPC_VERBOSITY"] = os.environ.get("GRPC_VERBOSITY", "NONE")
    before = {name: os.environ.get(name) for name in quiet}
    os.environ.update(quiet)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


with _undisturbed():
    import pymilvus as pymilvus

# pymilvus logs each failed call, traceback and all, besides raising it, through a handler of its own to stderr.
for _name in ("pymilvus.decorators", "pymilvus.client.connection_manager", "pymilvus.client.grpc_handler"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
# Milvus Lite's server side does the same; without any handler Python prints to stderr what it logs.
logging.getLogger("milvus_lite").addHandler(logging.NullHandler())

# not at the top (E402): these import pymilvus, which is imported first, above, with its noise turned off
from imgvec.milvus.capabilities import Capabilities  # noqa: E402
from imgvec.milvus.connecting import connect  # noqa: E402
from imgvec.milvus.connection import Connection  # noqa: E402
from imgvec.milvus.store import Store  # noqa: E402

__all__ = ["Capabilities", "Connection", "Store", "connect"]
