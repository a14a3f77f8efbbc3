"""Who answers for a collection: changes are seen, and what is given meanwhile is asked for again, merged, and said."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from pymilvus.exceptions import MilvusException

from imgvec.milvus import members
from imgvec.milvus.members import Standing, Watch
from imgvec.milvus.whole import merged, whole
from imgvec.stored import Found


def group(*nodes: int, leader: int | None = None, lacks: bool = False) -> Any:
    shard = SimpleNamespace(channel_name="c", shard_leader=leader or nodes[0], shard_nodes=() if lacks else nodes)
    return SimpleNamespace(group_nodes=nodes, shards=[shard])


class Milvus:
    """Describes its replicas as `now` says, or raises it."""

    def __init__(self, *groups: Any) -> None:
        self.now: Any = groups
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        if isinstance(self.now, Exception):
            raise self.now
        return list(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time on; looks happen at once."""
    now = [1000.0]
    monkeypatch.setattr(members, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(members, "in_a_thread", lambda job: job())

    def on(seconds: float) -> None:
        now[0] += seconds

    return on


SAME, OTHER = [["a", "b"], ["a", "b"]], [["a", "b"], ["b"]]


def standing(watch: Watch) -> Standing:
    watch.look()
    return watch.standing()


@pytest.mark.parametrize(
    "changed",
    [
        (group(4), group(9)),
        (group(4), group(5, 6)),
        (group(4), group(5, leader=4)),
        (group(4), group(5, lacks=True)),
        (group(4),),
        MilvusException(code=901, message="failed to get shard leader"),
        MilvusException(code=401, message="no available nodes in replica"),
    ],
    ids=repr,
)
def test_a_change_counts_for_half_a_minute_and_until_answers_agree(
    clock: Callable[[float], None], changed: Any
) -> None:
    milvus = Milvus(group(4), group(5))
    watch = Watch(milvus)
    assert standing(watch) is Standing.NEW
    assert watch.several
    clock(30.1)
    assert standing(watch) is Standing.SETTLED
    milvus.now = changed
    clock(0.3)
    assert standing(watch) is Standing.CHANGED
    clock(29.5)
    assert standing(watch) is Standing.CHANGED
    watch.compared(SAME)  # too early to mean anything
    clock(0.6)
    for _ in range(3):
        assert standing(watch) is Standing.CHANGED
        watch.compared(SAME)
    assert standing(watch) is Standing.SETTLED  # it has stayed so, and who is there has all rows by now
    milvus.now = (group(4), group(5))
    clock(0.3)
    assert standing(watch) is Standing.CHANGED


def test_answers_that_differ_put_off_when_members_are_trusted_but_not_for_ever(
    clock: Callable[[float], None],
) -> None:
    milvus = Milvus(group(4), group(5))
    watch = Watch(milvus)
    standing(watch)
    clock(40)
    milvus.now = (group(4), group(9))
    assert standing(watch) is Standing.CHANGED
    clock(34)
    for answers in (SAME, SAME, OTHER, SAME, SAME, SAME):
        watch.compared(answers)
    clock(9.9)
    assert standing(watch) is Standing.CHANGED
    clock(0.2)
    assert standing(watch) is Standing.SETTLED
    milvus.now = (group(4), group(10))  # what was compared before says nothing of another member
    clock(0.3)
    assert standing(watch) is Standing.CHANGED
    clock(40)
    assert standing(watch) is Standing.CHANGED
    for _ in range(79):
        watch.compared(OTHER)  # as an ingest makes them differ
        clock(1)
        assert standing(watch) is Standing.CHANGED
    watch.compared(OTHER)
    clock(1)
    assert standing(watch) is Standing.SETTLED


@pytest.mark.parametrize("error", [grpc.RpcError(), MilvusException(code=2, message="x"), ValueError("closed")])
def test_where_nobody_can_say_it_is_not_settled_however_long(clock: Callable[[float], None], error: Exception) -> None:
    milvus = Milvus(group(4))
    watch = Watch(milvus)
    standing(watch)
    milvus.now = error
    clock(100)
    assert standing(watch) is Standing.CHANGED
    clock(100)
    assert standing(watch) is Standing.CHANGED
    milvus.now = [group(4)]  # the same nodes as before: only the way to them was away
    clock(1)
    assert standing(watch) is Standing.SETTLED
    assert not watch.several


def test_a_released_collection_has_not_changed_its_members(clock: Callable[[float], None]) -> None:
    milvus = Milvus(group(4))
    watch = Watch(milvus)
    standing(watch)
    for now in (MilvusException(code=101, message="collection not loaded"), []):
        milvus.now = now
        clock(40)
        assert standing(watch) is Standing.SETTLED


def test_a_new_collection_has_all_of_its_members_before_anything_is_sealed(clock: Callable[[float], None]) -> None:
    milvus = Milvus(group(4, lacks=True), group(5, lacks=True))
    watch = Watch(milvus)
    assert standing(watch) is Standing.NEW
    for now in [(group(4), group(5, lacks=True)), (group(4), group(5))]:  # one replica sees the first flush before both
        milvus.now = now
        clock(1)
        assert standing(watch) is Standing.NEW
    clock(30)
    assert standing(watch) is Standing.SETTLED


def test_reads_share_a_look(clock: Callable[[float], None]) -> None:
    milvus = Milvus(group(4))
    watch = Watch(milvus)
    for _ in range(10):
        standing(watch)
        clock(0.02)
    assert milvus.asked == 1
    clock(0.1)
    standing(watch)
    assert milvus.asked == 2


def test_an_answer_that_took_long_wants_a_look_that_is_younger_than_its_beginning(
    clock: Callable[[float], None],
) -> None:
    milvus = Milvus(group(4))
    watch = Watch(milvus)
    standing(watch)
    clock(40)
    watch.look()
    milvus.now = [group(9)]  # while the answer is under way
    clock(3)
    assert watch.standing() is Standing.CHANGED


def test_a_look_that_does_not_come_back_is_no_reason_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "in_a_thread", lambda job: None)
    monkeypatch.setattr(members, "_LOOK_PATIENCE", 0.05)
    watch = Watch(Milvus(group(4)))
    watch.look()
    assert watch.standing() is Standing.CHANGED


def found(*scores: tuple[str, float]) -> list[Found]:
    return [Found(id_, score, score) for id_, score in scores]


def test_the_best_of_two_answers() -> None:
    one, other = found(("a", 0.9), ("b", 0.5), ("c", 0.4)), found(("d", 0.7), ("b", 0.6), ("e", 0.6))
    assert [(each.id, each.score) for each in merged(one, other, 4)] == [("a", 0.9), ("d", 0.7), ("b", 0.6), ("e", 0.6)]
    assert merged([], other, 2) == other[:2]


RIGHT, HALF = (("a", 0.9), ("b", 0.8)), (("b", 0.8), ("c", 0.1))


@pytest.mark.parametrize(
    ("now", "several", "given", "want", "asked", "complete"),
    [
        (Standing.SETTLED, True, [HALF], HALF, 1, True),
        (Standing.NEW, False, [RIGHT], RIGHT, 1, True),
        (Standing.NEW, True, [RIGHT, RIGHT], RIGHT, 2, True),
        (Standing.NEW, True, [HALF, RIGHT, RIGHT], RIGHT, 3, True),
        (Standing.NEW, False, [(), RIGHT, RIGHT], RIGHT, 3, True),
        (Standing.CHANGED, False, [RIGHT, RIGHT], RIGHT, 2, False),
        (Standing.CHANGED, True, [HALF, HALF, RIGHT, RIGHT], RIGHT, 4, False),
        (Standing.CHANGED, True, [RIGHT, RIGHT, RIGHT, RIGHT], RIGHT, 4, False),
        (Standing.CHANGED, True, [(), HALF, RIGHT, ()], RIGHT, 4, False),
    ],
)
def test_an_answer_is_repeated_until_two_agree(
    now: Standing, several: bool, given: list[Any], want: Any, asked: int, complete: bool
) -> None:
    compared: list[list[Any]] = []
    watch: Any = SimpleNamespace(look=lambda: None, standing=lambda: now, several=several, compared=compared.append)
    asks = iter([*given, *[None] * 4])
    made = []

    def ask() -> list[list[Found]]:
        made.append(next(asks))
        return [found(*made[-1])]

    (answer,) = whole(ask, 2, watch)
    assert [(each.id, each.score) for each in answer] == list(want)
    assert (len(made), answer.complete) == (asked, complete)
    assert len(compared) == (1 if now is Standing.CHANGED and several else asked - 1)
    # the last one of those that are asked for one after another says that they agree
    if compared:
        last = compared[-1]
        assert all(each == last[0] for each in last) is (len(set(given)) == 1 or now is not Standing.CHANGED)
