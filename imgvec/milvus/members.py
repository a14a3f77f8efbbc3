"""Watches who answers for a collection, since a query node that has just come may answer too little without an error.

On a server before 2.4.17 a query node that takes over a shard answers reads with no rows of it, or with some, until the
query coordinator has moved its view on, which it does every 10 s (`queryCoord.updateNextTargetInterval`;
milvus-io/milvus#36293, #37364). Nothing in the answer tells: with two shards the hits of one are a full list of wrong
neighbours. Counts are as wrong, and the server's own lists (loaded segments, shards and their nodes) already look
whole. What does tell is that the members have changed: a node that comes back has another id. Measured on 2.3.5: the
new member is listed 0.7 to 1.8 s before its first short answer. The last one came 7.6 s after that, and on a busy
machine, where the node had not ended by itself when it was drained, up to 34 s after the change. So time alone is not
enough: several answers to one question must have agreed, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from pymilvus.exceptions import MilvusException

from imgvec.milvus.errors import RAISED, milvus_code
from imgvec.milvus.forked import calling
from imgvec.milvus.repeating import in_a_thread

SETTLED = 30.0
"""Seconds after a change in which a new member may not have all rows: three times the 10 s of Milvus's default, as a
busy server leaves a turn out."""
SETTLED_AT_LAST = 120.0
"""Seconds after a change when members are trusted even if answers still differ: an ingest makes them differ, too."""
_AGREED_FOR = 10.0
_AGREED_TIMES = 3
"""After `SETTLED`: for how long answers must not have differed, and how many must have been compared."""
LOOK_SECONDS = 0.25
"""How old a look may be. All reads of a collection share one; a change shows at least 0.7 s before it does harm."""
_LOOK_PATIENCE = 1.0
_NOT_LOADED = 101
_LACKING = frozenset((401, 503, 901, 902, 903, 904, 905))
"""Codes that say: a replica has no member for some shard."""

Members = frozenset[Any]
_SOME_LACK: Members = frozenset(("some replica lacks a member",))


class Standing(Enum):
    """How far the members can be trusted."""

    SETTLED = "the same for long enough"
    NEW = "the same since this client began to look, which was a moment ago"
    CHANGED = "changed a moment ago, or nobody can say"


class Watch:
    """The members of one collection's replicas; `describe` asks Milvus for them. Any number of threads may use it.

    What remains unseen: a change less than 30 s before the first look of a new client, and one that does harm within
    0.25 s.
    """

    def __init__(self, describe: Callable[[], Any]) -> None:
        self._describe = describe
        self._state = threading.Condition()
        self._members: Members | None = None
        self._first_at = self._changed_at = self._looked_at = self._differed_at = -float("inf")
        self._agreed = 0
        self._sure = False
        self._sealed: set[tuple[tuple[int, ...], str]] = set()
        """The shards that have had sealed segments: a replica's nodes, and the channel."""
        self._looking = False
        self.several = False
        """There is more than one replica, as far as known."""

    def look(self) -> None:
        """Begin to look, beside whatever the caller does, unless the last look is young or another is under way."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        with self._state:
            if self._looking:
                return
            self._looking = True
        in_a_thread(self._look)

    def standing(self) -> Standing:
        """How far to trust an answer that has just come: by a look that is young now; waits a second for one."""
        now = answered = time.monotonic()
        while self._looked_at < answered - LOOK_SECONDS and now < answered + _LOOK_PATIENCE:
            self.look()
            with self._state:  # the one under way may have begun too early
                self._state.wait_for(lambda: not self._looking, answered + _LOOK_PATIENCE - now)
            now = time.monotonic()
        with self._state:
            seen = self._looked_at >= answered - LOOK_SECONDS
            if not seen or not self._sure or self._may_lack(now):
                return Standing.CHANGED
            return Standing.NEW if now - self._first_at < SETTLED else Standing.SETTLED

    def compared(self, answers: Sequence[object]) -> None:
        """Note whether several answers to one question were the same."""
        if len(answers) == 1:  # the others failed
            return
        now, agreed = time.monotonic(), all(each == answers[0] for each in answers)
        with self._state:
            if not agreed:
                self._agreed, self._differed_at = 0, now
            elif now - self._changed_at >= SETTLED:
                self._agreed += 1

    def _may_lack(self, now: float) -> bool:
        """Whether a member that came with the last change may still leave rows out."""
        since = now - self._changed_at
        if since < SETTLED:
            return True
        if since >= SETTLED_AT_LAST:
            return False
        return self._agreed < _AGREED_TIMES or now - self._differed_at < _AGREED_FOR

    def _look(self) -> None:
        began = time.monotonic()
        found = None
        try:
            found = self._found()
        finally:
            with self._state:
                self._note(found, began)
                self._looking = False
                self._state.notify_all()

    def _found(self) -> Members | None:
        """None where Milvus cannot say; what it last said still holds if it says so again."""
        try:
            with calling():
                groups = self._describe()
        except MilvusException as exc:
            code = milvus_code(exc)
            if code in _LACKING:
                return _SOME_LACK
            # released, or a query coordinator that has just begun: reads fail then, and do not come short
            return self._members if code == _NOT_LOADED else None
        except RAISED:
            return None
        except Exception:  # noqa: BLE001  a closed or a forked connection: the read itself says so
            return None
        if not groups:
            return self._members
        self.several = len(groups) > 1
        shards = [(tuple(sorted(group.group_nodes)), shard) for group in groups for shard in group.shards]
        # Nodes hold sealed segments: before the first is sealed a shard has none, and that is nothing to wait for
        # (on a new collection, and on one that nobody has flushed). One that had some and has none has lost them.
        self._sealed |= {(nodes, shard.channel_name) for nodes, shard in shards if shard.shard_nodes}
        if not all(
            shard.shard_leader > 0 and (shard.shard_nodes or (nodes, shard.channel_name) not in self._sealed)
            for nodes, shard in shards
        ):
            return _SOME_LACK
        return frozenset((nodes, shard.channel_name, shard.shard_leader) for nodes, shard in shards)

    def _note(self, found: Members | None, began: float) -> None:
        self._looked_at = began
        self._sure = found is not None
        if found is None or found == self._members:
            return
        now = time.monotonic()
        if self._members is None:
            self._first_at = now
            if found is _SOME_LACK:
                self._changed_at = now
        else:
            self._changed_at, self._agreed = now, 0
        self._members = found
