"""Connections in a forked child: gRPC's threads and sockets are the parent's, and so is a Milvus Lite database."""

from __future__ import annotations

import os
from typing import NoReturn

from imgvec.errors import BackendUnavailable


class Owner:
    """The process that opened something."""

    def __init__(self) -> None:
        self._process = os.getpid()

    @property
    def is_this(self) -> bool:
        return self._process == os.getpid()

    def check(self, what: str) -> None:
        """Raise `BackendUnavailable` in a child that was forked from it."""
        if not self.is_this:
            self._refuse(what)

    def _refuse(self, what: str) -> NoReturn:
        raise BackendUnavailable(
            f"{what} was opened before this process was forked and cannot be used here: open it again in this "
            f"process (if it is a Milvus Lite file, close it before forking)"
        )
