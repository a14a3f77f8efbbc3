"""Everything that pymilvus raises becomes one of imgvec's errors."""

from __future__ import annotations

import inspect

import grpc
import pymilvus.exceptions
import pytest
from pymilvus.exceptions import ErrorCode, MilvusException
from pymilvus.grpc_gen import common_pb2

from imgvec.errors import BackendError, BackendUnavailable, CollectionNotFound, FilterError, QueryError
from imgvec.milvus.errors import translate, translated

#: milvus 2.3.5, pkg/util/merr/errors.go: code to whether the same request may succeed later.
MERR = {
    **dict.fromkeys((2, 4, 8, 103, 202, 401, 503, 601, 901, 902, 903, 904, 905), True),
    **dict.fromkeys((3, 5, 6, 7, 9, 10, 100, 101, 102, 104, 200, 201, 300, 301, 400), False),
    **dict.fromkeys((500, 501, 502, 600, 602, 603, 700, 701, 702, 800, 801, 802, 1000, 1001), False),
    **dict.fromkeys((1100, 1101, 1200, 1300, 1301, 1302, 1303, 1400, 1401, 1600, 1601, 1602), False),
    **dict.fromkeys((1700, 1701, 2000, 2001, 65535), False),
}
EXCEPTIONS = [
    each for _, each in inspect.getmembers(pymilvus.exceptions, inspect.isclass) if issubclass(each, MilvusException)
]


class RpcFailure(grpc.RpcError):
    """What gRPC raises from a call, as far as anything looks at it."""

    def __init__(self, state: grpc.StatusCode, details: str = "") -> None:
        self._state, self._details = state, details

    def code(self) -> grpc.StatusCode:
        return self._state

    def details(self) -> str:
        return self._details


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda each: each.__name__)
def test_each_exception_class_is_translated(exception: type[MilvusException]) -> None:
    with pytest.raises(BackendError) as raised, translated("do it"):
        raise exception(message="because")
    assert isinstance(raised.value.__cause__, exception)
    assert "do it" in str(raised.value)


@pytest.mark.parametrize(("code", "retryable"), MERR.items())
def test_each_code_of_the_server_says_whether_to_try_again(code: int, retryable: bool) -> None:
    error = translate(MilvusException(code=code, message="because"), "do it")
    assert (error.code, error.retryable) == (code, retryable)


@pytest.mark.parametrize("name", common_pb2.ErrorCode.keys())
def test_each_older_code_is_translated(name: str) -> None:
    legacy = common_pb2.ErrorCode.Value(name)
    error = translate(MilvusException(code=65535, message="because", compatible_code=legacy), "do it")
    later = "Rate|NotReady|NoReplica|NotShardLeader|NodeID|TimeTick|NA|Race|SchemaMismatch"
    assert error.retryable == any(part in name for part in later.split("|"))
    assert isinstance(error, CollectionNotFound) == (name in ("CollectionNotExists", "CollectionNameNotFound"))


@pytest.mark.parametrize("code", ErrorCode)
def test_each_code_of_pymilvus_is_kept(code: ErrorCode) -> None:
    assert translate(MilvusException(code=code, message="because"), "do it").code == int(code)


@pytest.mark.parametrize("state", grpc.StatusCode)
def test_each_state_of_grpc_is_translated(state: grpc.StatusCode) -> None:
    later = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED"}
    with pytest.raises(BackendError) as raised, translated("do it"):
        raise RpcFailure(state, "because")
    assert raised.value.retryable == (state.name in later)
    unavailable = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNAUTHENTICATED"}
    assert isinstance(raised.value, BackendUnavailable) == (state.name in unavailable)


def test_a_timeout_is_told_from_a_server_that_is_down() -> None:
    down, late = RpcFailure(grpc.StatusCode.UNAVAILABLE), RpcFailure(grpc.StatusCode.DEADLINE_EXCEEDED)
    assert "Milvus is unreachable" in str(translate(down, "do it"))
    assert "did not answer in time" in str(translate(late, "do it"))
    # pymilvus puts gRPC's state where Milvus's code belongs, when it has retried in vain
    assert translate(MilvusException(code=grpc.StatusCode.UNAVAILABLE, message="x"), "do it").code is None


def test_an_exception_that_was_raised_from_itself_is_followed_no_further() -> None:
    inner = RpcFailure(grpc.StatusCode.UNAVAILABLE)
    outer = MilvusException(message="x")
    outer.__cause__, outer.__context__ = outer, inner
    assert "Milvus is unreachable" in str(translate(outer, "do it"))


def test_milvus_lite_repeats_older_numbers_which_mean_something_else() -> None:
    assert not translate(MilvusException(code=11, message="no index", compatible_code=11), "do it").retryable
    assert translate(MilvusException(code=11, message="tick", compatible_code=55), "do it").retryable


def test_missing_collections_and_logins_have_their_own_error() -> None:
    assert isinstance(translate(MilvusException(code=100, message="not found"), "do it"), CollectionNotFound)
    assert "check the token" in str(translate(MilvusException(code=1400, message="auth"), "do it"))


@pytest.mark.parametrize(
    "said",
    [
        "empty grpc client: failed to connect 127.0.0.1:15450, reason: connection error",
        "find no available querycoord, check querycoord state",
        # Milvus 2.3.5, when its query coordinator was killed
        "attempt #5: rpc error: code = Canceled desc = grpc: the client connection is closing",
        # Milvus 2.3.5, the first reads of a proxy at once; it clears its cache after saying so
        "failed to query: attempt #0: failed to get delegator 1 for channel by-dev-rootcoord-dml_0_4v0: "
        "can not find client of node 1: attempt #1: failed to get delegator 1 for channel "
        "by-dev-rootcoord-dml_0_4v0: can not find client of node 1",
        # milvus-io/milvus#25905 and #48960
        "attempt #0: all available nodes are unreachable: service unavailable: fail to query on all shard leaders",
        "node not match[expectedNodeID=2][actualNodeID=10]",
        "attempt #0: " + "x" * 500 + ": channel not available",
        # Milvus 2.3.5 on a cluster, a write while the collection is dropped
        "kafka producer is closed",
        # the same, a search while the collection is released and loaded again
        "failed to search/query delegator 15 for channel by-dev-_11_4v1: fail to Search, QueryNode ID=15, "
        "reason=channel not found[channel=by-dev-_11_4v1]",
        "failed to search/query delegator 15 for channel by-dev-_11_4v1: fail to Search, QueryNode ID=15, "
        "reason=collection not found[collection=470729419517407538]",
    ],
)
def test_a_component_that_the_server_cannot_reach_is_a_reason_to_try_again(said: str) -> None:
    error = translate(MilvusException(code=65535, message=said), "do it")
    assert isinstance(error, BackendUnavailable)
    assert error.retryable


def test_what_a_refused_filter_says_is_no_reason_to_try_again() -> None:
    said = 'failed to create query plan: cannot parse expression: nope == "rate limit", error: field nope not exist'
    error = translate(MilvusException(code=65535, message=said), "search")
    assert isinstance(error, FilterError)
    assert str(error) == 'Milvus rejects the filter nope == "rate limit": field nope not exist'


@pytest.mark.parametrize(
    ("code", "said", "shown"),
    [
        (
            6,  # Milvus Lite draws an arrow
            "comparison '==' between incompatible types at column 7\n  n + 1 == \"a\"\n        ^^\nleft side is int",
            "n + 1 == \"a\": comparison '==' between incompatible types at column 7",
        ),
        (
            6,
            "unexpected end of expression at column 5\n  n ==\n      ^",
            "n ==: unexpected end of expression at column 5",
        ),
        (6, "unexpected token 'or' at column 1\n  or\n  n\n  ^^\nexpected", "or n: unexpected token 'or' at column 1"),
        (65535, "failed to create query plan: cannot parse expression: not .5", "not .5: it is not an expression"),
        (
            65535,
            "fail to Query, reason=worker(1) query failed:  => unsupported expr proto node: value_expr",
            "given: part of it names no field",
        ),
        (1, "Python int too large to convert to C long", "given: Python int too large to convert to C long"),
        (
            65535,
            "failed to create query plan: cannot parse expression: n ==, error: line 1:4 mismatched input '<EOF>'",
            "n ==: at column 5: mismatched input '<EOF>'",
        ),
        (
            65535,
            "failed to create query plan: predicate is not a boolean expression: n, data type: Int32",
            "n: it is not a condition that is true or false",
        ),
    ],
)
def test_a_filter_that_milvus_refuses_is_a_filter_error(code: int, said: str, shown: str) -> None:
    with pytest.raises(FilterError) as raised, translated("search"):
        raise MilvusException(code=code, message=said)
    assert str(raised.value) == f"Milvus rejects the filter {shown}"


def test_own_errors_pass_and_client_side_checks_are_translated() -> None:
    with pytest.raises(QueryError), translated("do it"):
        raise QueryError("mine")
    with pytest.raises(BackendError, match=r"client refused to do it: bad"), translated("do it"):
        raise ValueError("bad")


def test_a_message_is_one_line_of_bounded_length() -> None:
    error = translate(MilvusException(code=1, message="a\n  b\n" + "x" * 5000), "do it")
    assert "a b x" in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 500
