"""The boundary: what pymilvus and gRPC raise becomes one of imgvec's errors, always `from` the original.

Milvus has two sets of codes. `code` is the server's own since 2.3 (milvus/pkg/util/merr/errors.go); `compatible_code`
is the older enum of milvus-proto. Milvus Lite puts numbers of the older one into both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]
from grpc import StatusCode as StatusCode
from pymilvus.exceptions import (
    CollectionNotExistException,
    ConnectError,
    MilvusException,
    MilvusUnavailableException,
)
from pymilvus.grpc_gen import common_pb2

from imgvec.errors import BackendError, BackendUnavailable, CollectionNotFound, ImgvecError

#: merr codes that mean: not now, the same request may succeed later.
_LATER = {
    2: "service unavailable",
    4: "too many requests",
    8: "rate limit",
    11: "time tick long delay",
    103: "collection not fully loaded",
    202: "partition not fully loaded",
    401: "replica not available",
    503: "channel not available",
    601: "segment not loaded",
    901: "node not found",
    902: "node offline",
    903: "node lack",
    904: "node not match",
    905: "node not available",
}
_LEGACY_LATER = frozenset(
    common_pb2.ErrorCode.Value(name)
    for name in (
        "NotShardLeader NoReplicaAvailable RateLimit NodeIDNotMatch TimeTickLongDelay NotReadyServe "
        "NotReadyCoordActivating DataCoordNA DDRequestRace SchemaMismatch"
    ).split()
)
_NO_COLLECTION = 100
_LEGACY_NO_COLLECTION = frozenset((common_pb2.CollectionNotExists, common_pb2.CollectionNameNotFound))
_NOT_AUTHENTICATED = 1400

#: gRPC states after which the same request may succeed later; cancelled is what a closed channel says.
_LATER_STATES = frozenset(
    (
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.ABORTED,
        StatusCode.CANCELLED,
    )
)
#: What pymilvus lets out of a call.
RAISED = (MilvusException, grpc.RpcError, grpc.FutureTimeoutError)

_UNREACHABLE_STATES = frozenset((StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise what the block's calls of pymilvus raise as a `BackendError` that says what was being done.

    `doing` completes "Milvus failed to …". imgvec's own errors pass.
    """
    try:
        yield
    except ImgvecError:
        raise
    except RAISED as exc:
        raise translate(exc, doing) from exc
    except (ValueError, TypeError, AttributeError) as exc:  # pymilvus's own checks, and calls on a closed client
        raise BackendError(f"Milvus's client refused to {doing}: {_one_line(str(exc))}") from exc


def translate(exc: BaseException, doing: str) -> BackendError:
    """The imgvec error for what pymilvus or gRPC raised."""
    state = grpc_state(exc)
    code = exc.code if isinstance(exc, MilvusException) and isinstance(exc.code, int) else None
    reason = reason_of(exc)
    if state is StatusCode.DEADLINE_EXCEEDED or "Retry timeout" in reason:
        return BackendUnavailable(f"Milvus did not answer in time to {doing}", code=code, retryable=True)
    if state is StatusCode.UNAUTHENTICATED or code == _NOT_AUTHENTICATED:
        return BackendUnavailable(f"Milvus refused the login to {doing}: check the token", code=code)
    if state in _UNREACHABLE_STATES or isinstance(exc, ConnectError | MilvusUnavailableException):
        return BackendUnavailable(f"Milvus cannot be reached to {doing}", code=code, retryable=True)
    if isinstance(exc, MilvusException):
        legacy = exc.compatible_code
        if code == _NO_COLLECTION or legacy in _LEGACY_NO_COLLECTION or isinstance(exc, CollectionNotExistException):
            return CollectionNotFound(f"Milvus has no such collection (while trying to {doing})", code=code)
        retryable = state in _LATER_STATES or is_retryable(code, legacy) or exc.retriable
    else:
        retryable = state in _LATER_STATES
    return BackendError(f"Milvus failed to {doing}: {reason}", code=code, retryable=retryable)


def is_retryable(code: int | None, legacy: int) -> bool:
    """Whether Milvus's codes mean that the same request may succeed later."""
    if legacy in _LEGACY_LATER:
        return True
    # Milvus Lite repeats the older number in `code`, where a small one would mean something else
    return code in _LATER and not (code == legacy and code < _NO_COLLECTION)


def grpc_state(exc: BaseException | None) -> StatusCode | None:
    """The gRPC status behind an exception: its own, or that of the exception it was raised from."""
    seen = 0
    while exc is not None and seen < 8:
        if isinstance(exc, grpc.FutureTimeoutError):
            return StatusCode.DEADLINE_EXCEEDED
        if isinstance(exc, MilvusException) and isinstance(exc.code, StatusCode):
            return exc.code
        if isinstance(exc, grpc.RpcError) and callable(getattr(exc, "code", None)):
            state = exc.code()
            return state if isinstance(state, StatusCode) else None
        exc, seen = exc.__cause__ or exc.__context__, seen + 1
    return None


def reason_of(exc: BaseException) -> str:
    """What Milvus said, in one line without the trace of its components."""
    if isinstance(exc, MilvusException):
        return _one_line(str(exc.message) or type(exc).__name__)
    if isinstance(exc, grpc.RpcError) and callable(getattr(exc, "details", None)):
        return _one_line(str(exc.details()))
    return _one_line(str(exc) or type(exc).__name__)


def _one_line(text: str, most: int = 400) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= most else line[: most - 1] + "…"
