"""A process that was forked after an encoder had been loaded.

OpenMP's threads stay behind in the parent, and the first operation that wants them waits for ever
(https://docs.pytorch.org/docs/stable/notes/multiprocessing.html). Such a child computes with one thread: the same
vectors, and one process a processor is what a server of forked workers wants anyway. A GPU's context does not follow.
"""

from __future__ import annotations

import logging
import os
import weakref
from typing import Protocol

import torch

logger = logging.getLogger(__name__)


class Inherited(Protocol):
    """An encoder that a child may inherit."""

    def after_fork(self) -> None:
        """In the child: lay down what belongs to threads of the parent."""


_encoders: weakref.WeakSet[Inherited] = weakref.WeakSet()
_registered = False
_child = _said = False


def watch(encoder: Inherited) -> None:
    """Have the encoder, and torch, fit for use in every child that is forked from now on."""
    global _registered
    if not _registered:
        _registered = True
        os.register_at_fork(after_in_child=_in_child)
    _encoders.add(encoder)


def one_thread() -> bool:
    """Whether this is such a child; said once, where somebody computes in it."""
    global _said
    if _child and not _said:
        _said = True
        logger.warning("the process was forked after an encoder was loaded, so it encodes with one thread")
    return _child


def _in_child() -> None:
    global _child, _said
    _child, _said = True, False
    torch.set_num_threads(1)
    for encoder in list(_encoders):
        encoder.after_fork()
