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

from imgvec.errors import BackendError, BackendUnavailable, CollectionNotFound, FilterError, ImgvecError
from imgvec.milvus.forked import calling

#: merr codes that mean: not now, the same request may succeed later; with the text that merr gives them.
_LATER = {
    2: "service unavailable",
    4: "too many concurrent requests",
    8: "rate limit",
    11: "time tick long delay",
    103: "collection not fully loaded",
    202: "partition not fully loaded",
    401: "replica not available",
    503: "channel not available",
    601: "segment not loaded",
    901: "node not found",
    902: "node offline",
    903: "node lacks",
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


#: What means so whatever the code: a failure that a component has passed on comes under the code for everything else
#: (65535), and its text is all there is (milvus-io/milvus#37710, #48960).
_LATER_TEXT = re.compile(
    "|".join(
        (
            *_LATER.values(),
            "service not ready",
            "can not find client of node",  # a proxy's first reads at once, right after a start
            "on all shard leaders",
            # by a node that has just given the shard away
            "channel not found",
            r"QueryNode ID=\d+, reason=collection not found",
            "empty grpc client",
            r"find no available \w+coord",  # one that has just died, or is not registered yet
            "connection refused",
            "connection error",
            "client connection is closing",  # of the proxy to a query coordinator that has died
            # a proxy whose stream of a collection was closed beneath the write, as when the collection is dropped; the
            # next call makes another, or finds no collection
            "kafka producer is closed",
            "producer already been closed",  # Pulsar's words
        )
    ),
    re.IGNORECASE,
)
#: What follows it is the caller's own text, under the same code.
_NOT_PARSED = "cannot parse expression"
#: How a filter is refused. Milvus Lite draws an arrow below it, a server repeats it.
_LITE_REFUSAL = re.compile(r"(?s)(?P<why>[^\n]* at column \d+)\n(?P<filter>.*?)\n[ \t]*\^")
_SERVER_REFUSAL = re.compile(r"(?s)cannot parse expression: (?P<filter>.*?)(?:, error: (?P<why>.*))?\Z")
_SERVER_PREDICATE = re.compile(r"(?s)predicate is not a boolean expression: (?P<filter>.*?), data type")
_LITE_UNFIT = re.compile(
    r"Function '\w+' has no kernel matching input types .*|Python int too large to convert to C long|"
    r"Integer value -?\d+ not in range.*"
)
_CLOSED = "should create connection first"
_RETRIED_IN_VAIN = "Retry timeout"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise what the block's calls of pymilvus raise as a `BackendError` that says what was being done.

    `doing` completes "Milvus failed to …". imgvec's own errors pass. A fork waits for the block, as `calling` says.
    """
    try:
        with calling():
            yield
    except ImgvecError:
        raise
    except RAISED as exc:
        raise translate(exc, doing) from exc
    except (ValueError, TypeError, AttributeError) as exc:  # pymilvus's own checks
        raise BackendError(f"Milvus's client refused to {doing}: {reason_of(exc)}") from exc


def translate(exc: BaseException, doing: str) -> BackendError | FilterError:
    """The imgvec error for what pymilvus or gRPC raised."""
    state, code, reason = grpc_state(exc), milvus_code(exc), reason_of(exc)
    legacy = exc.compatible_code if isinstance(exc, MilvusException) else common_pb2.UnexpectedError
    if state is StatusCode.DEADLINE_EXCEEDED or _RETRIED_IN_VAIN in reason:
        return BackendUnavailable(f"cannot {doing}: Milvus did not answer in time", code=code, retryable=True)
    if state is StatusCode.UNAUTHENTICATED or code == _NOT_AUTHENTICATED:
        return BackendUnavailable(f"cannot {doing}: Milvus rejected the login; check the token", code=code)
    if _CLOSED in reason:
        return BackendUnavailable(f"cannot {doing}: the connection is closed; open another one", code=code)
    if state in _UNREACHABLE_STATES or isinstance(exc, ConnectError | MilvusUnavailableException):
        return BackendUnavailable(f"cannot {doing}: Milvus is unreachable", code=code, retryable=True)
    if code == _NO_COLLECTION or legacy in _LEGACY_NO_COLLECTION or isinstance(exc, CollectionNotExistException):
        return CollectionNotFound(f"cannot {doing}: Milvus has no such collection", code=code)
    if is_retryable(code, legacy) or _LATER_TEXT.search(_said(exc).partition(_NOT_PARSED)[0]):
        return BackendUnavailable(f"Milvus is not ready to {doing}: {reason}", code=code, retryable=True)
    if refused := filter_refusal(_said(exc)):
        return FilterError(f"Milvus rejects the filter {_one_line(refused)}")
    retryable = state in _LATER_STATES or (isinstance(exc, MilvusException) and exc.retriable)
    return BackendError(f"Milvus failed to {doing}: {reason}", code=code, retryable=retryable)


def filter_refusal(said: str) -> str | None:
    """The filter and what is wrong with it, where that is what Milvus said; None for every other failure."""
    if match := _LITE_REFUSAL.match(said):
        return f"{match['filter'].strip()}: {match['why']}"
    if match := _SERVER_REFUSAL.search(said):
        # ANTLR counts columns from 0
        said = match["why"] or "it is not an expression"
        why = re.sub(r"^line 1:(\d+) ", lambda at: f"at column {int(at[1]) + 1}: ", said)
        return f"{match['filter']}: {why}"
    if match := _SERVER_PREDICATE.search(said):
        return f"{match['filter']}: it is not a condition that is true or false"
    if "unsupported expr proto node" in said:
        return "given: part of it names no field"
    if match := _LITE_UNFIT.match(said):
        return f"given: {match[0]}"
    return None


def is_retryable(code: int | None, legacy: int) -> bool:
    """Whether Milvus's codes mean that the same request may succeed later."""
    if legacy in _LEGACY_LATER:
        return True
    # Milvus Lite repeats the older number in `code`, where a small one would mean something else
    return code in _LATER and not (code == legacy and code < _NO_COLLECTION)


def milvus_code(exc: BaseException) -> int | None:
    """Milvus's own code, where the exception carries one; pymilvus also puts gRPC's there."""
    return int(exc.code) if isinstance(exc, MilvusException) and isinstance(exc.code, int) else None


def grpc_state(exc: BaseException) -> StatusCode | None:
    """The gRPC status behind an exception: its own, or that of one it was raised from."""
    for each in _chain(exc):
        if isinstance(each, grpc.FutureTimeoutError):
            return StatusCode.DEADLINE_EXCEEDED
        if isinstance(each, MilvusException) and isinstance(each.code, StatusCode):
            return each.code
        if isinstance(each, grpc.RpcError) and isinstance(state := each.code(), StatusCode):
            return state
    return None


def grpc_details(exc: BaseException) -> str:
    """What gRPC says of an exception, or of one it was raised from."""
    return next((str(each.details()) for each in _chain(exc) if isinstance(each, grpc.RpcError)), "")


def reason_of(exc: BaseException) -> str:
    """What Milvus said, in one line."""
    return _one_line(_said(exc) or type(exc).__name__)


def _said(exc: BaseException) -> str:
    return str(exc.message) if isinstance(exc, MilvusException) else grpc_details(exc) or str(exc)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The exception and those it was raised from; pymilvus raises some from themselves."""
    seen: set[int] = set()
    following: BaseException | None = exc
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ if following.__cause__ is not following else following.__context__


def _one_line(text: str, most: int = 400) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= most else line[: most - 1] + "…"
