"""Support for processes forked after torch was used, by an encoder or by exact search.

OpenMP's threads stay behind in the parent, and the first operation that wants them waits forever
(https://docs.pytorch.org/docs/stable/notes/multiprocessing.html). Such a child computes with one thread: the same
vectors, and one process per processor is what a server of forked workers wants anyway. A GPU's context does not follow.
"""

from __future__ import annotations

import logging
import os
import weakref
from typing import Protocol

import torch

logger = logging.getLogger(__name__)


class Inherited(Protocol):
    """What a child may inherit, an encoder."""

    def after_fork(self) -> None:
        """In the child: lay down what belongs to threads of the parent."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()
_registered = False
_child = _gpu = _said = False


def guard() -> None:
    """Have torch fit for use in every child that is forked from now on: whoever computes with it calls this first."""
    global _registered
    if not _registered:
        _registered = True
        os.register_at_fork(before=_before, after_in_child=_in_child)


def watch(encoder: Inherited) -> None:
    """Have the encoder, and torch, fit for use in every child that is forked from now on."""
    guard()
    _inherited.add(encoder)


def one_thread() -> bool:
    """Whether this is such a child; said once, where somebody computes in it."""
    global _said
    if _child and not _said:
        _said = True
        logger.warning("the process was forked after torch was used, so it computes with one thread")
    return _child


def gpu_left_behind() -> bool:
    """Whether this is a child of a process that had used a GPU: CUDA cannot be used in it."""
    return _child and _gpu


def _before() -> None:
    global _gpu
    # asked in the parent: of a child torch says no; what a parent's parent had used is as lost
    _gpu = _gpu or torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch's own lack


def _in_child() -> None:
    global _child, _said
    _child, _said = True, False
    torch.set_num_threads(1)
    for one in list(_inherited):
        one.after_fork()
