"""The replicas of a collection: loaded as they are wanted, looked at, and changed while it is in use."""

from __future__ import annotations

import logging
import time
from typing import Any

from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

from imgvec.definition.replicas import MOST_REPLICAS, groups_problem
from imgvec.errors import BackendError, BackendUnavailable, ImgvecError, UnsupportedByBackend, UsageError
from imgvec.milvus.collection_link import LOAD_SECONDS, CollectionLink
from imgvec.milvus.deployment import DEPLOYMENT, Deployment, Replica, Shard, lacking_nodes
from imgvec.milvus.errors import translated

_POLL_SECONDS = 0.05
_PARAMETER_INVALID = 1100
"""What 2.3 says to a load of a loaded collection with another number of replicas, for one."""
_NO_REPLICA = 400

log = logging.getLogger(__name__)


def load(link: CollectionLink, timeout: float = LOAD_SECONDS) -> None:
    """Load into memory what searches need, and wait for it.

    What is loaded stays as it is, in however many replicas. What is not is loaded in as many as are wanted now: another
    client may have changed that since this one opened the collection. Raises `BackendUnavailable` where there are too
    few query nodes for them: fewer replicas than wanted are never loaded instead.
    """
    deadline = time.monotonic() + timeout
    if link.is_lite:
        with translated(f"load {link.name!r}"):  # which waits: that is when Milvus Lite builds
            link.client.load_collection(link.name, timeout=max(link.timeout, timeout), _async=True)
    while (state := link.load_state()) != LoadState.Loaded:
        if time.monotonic() >= deadline:
            raise BackendUnavailable(f"{link.name!r} was not loaded within {timeout:g} s", retryable=True)
        if state != LoadState.Loading:
            _ask(link, link.deployment())
        time.sleep(_POLL_SECONDS)


def _ask(link: CollectionLink, wanted: Deployment) -> None:
    """Ask for a load; not waiting: in there each of its calls would be given the whole time."""
    if lacking := lacking_nodes(link.database, wanted):
        how = f"`imgvec collections load {link.name} --replicas N`"
        raise BackendUnavailable(f"cannot load {link.name!r}: {lacking} ({how})", retryable=True)
    with translated(f"load {link.name!r}"):
        try:
            link.client.load_collection(link.name, timeout=link.timeout, _async=True, **wanted.options)
        except MilvusException as exc:
            # another client may have been faster, with the number that was wanted before
            if exc.code != _PARAMETER_INVALID or link.load_state() == LoadState.NotLoad:
                raise


def loaded(link: CollectionLink) -> list[Replica]:
    """The replicas that are loaded, or being loaded; none on Milvus Lite, which has one and calls it nothing."""
    if link.is_lite:
        return []
    try:
        with translated(f"read the replicas of {link.name!r}"):
            found = link.client.describe_replica(link.name, timeout=link.timeout)
    except BackendError as exc:
        if exc.code == _NO_REPLICA:
            return []
        raise
    return sorted(
        (
            Replica(
                each.resource_group,
                tuple(sorted(each.group_nodes)),
                tuple(
                    Shard(shard.channel_name, int(shard.shard_leader), tuple(sorted(shard.shard_nodes)))
                    for shard in sorted(each.shards, key=lambda shard: shard.channel_name)
                ),
            )
            for each in found
        ),
        key=lambda replica: (replica.resource_group, replica.nodes),
    )


def told(link: CollectionLink) -> dict[str, Any]:
    """What is wanted and what is loaded where, for JSON; `on` is None where a login may not look."""
    on: list[dict[str, Any]] | None
    try:
        on = [each.json for each in loaded(link)]
    except BackendError as exc:
        if exc.retryable:
            raise
        log.info("%s", exc)
        on = None
    return {**link.deployment().json, "shards": link.schema.shards, "loaded": link.is_loaded(), "on": on}


def check(link: CollectionLink, wanted: Deployment) -> None:
    """Raise `UsageError` or `UnsupportedByBackend` where the collection cannot be loaded so; changes nothing."""
    if not 1 <= wanted.number <= MOST_REPLICAS:
        raise UsageError(f"replicas must be from 1 to {MOST_REPLICAS}, not {wanted.number}")
    if wrong := groups_problem(wanted.number, wanted.resource_groups):
        raise UsageError(f"resource_groups: {wrong}")
    link.capabilities.check_deployment(replicas=wanted.number, resource_groups=wanted.resource_groups)
    if lacking := lacking_nodes(link.database, wanted):
        raise UnsupportedByBackend(lacking)


def change(link: CollectionLink, wanted: Deployment, timeout: float = LOAD_SECONDS) -> float:
    """Load the collection so, and remember it for every client; returns for how many seconds it could not be searched.

    That is 0 where it was not loaded before, has such replicas already, or Milvus changes them meanwhile (from 2.4.13);
    an older one releases the collection and loads it again, and whoever searches then waits. What fails or takes longer
    than `timeout` seconds raises its error, and the collection is loaded as before. Raises also as `check`.
    """
    check(link, wanted)
    before = link.deployment()
    link.remember(DEPLOYMENT, wanted.json)
    try:
        return apply(link, wanted, timeout)
    except BaseException as exc:
        _put_back(link, before, exc)
        raise


def apply(link: CollectionLink, wanted: Deployment, timeout: float) -> float:
    """`change`, of what is remembered already."""
    started = time.monotonic()
    if link.is_lite or not link.is_loaded():
        load(link, timeout)
    if link.is_lite or wanted.is_met_by(loaded(link)):
        return 0.0
    if link.capabilities.live_replicas:
        with translated(f"change the replicas of {link.name!r}"):
            link.client.load_collection(link.name, timeout=link.timeout, _async=True, **wanted.options)
        if wanted.replicas is not None:  # else as many as the database says
            _wait(link, wanted, started + timeout)
        return 0.0
    began = time.monotonic()
    while True:
        link.release()
        load(link, max(1.0, started + timeout - time.monotonic()))
        # another client that searched in between may have read the former number just before it was changed
        if wanted.is_met_by(loaded(link)):
            return time.monotonic() - began
        if time.monotonic() >= started + timeout:
            raise BackendUnavailable(f"other clients keep loading {link.name!r} as it was", retryable=True)


def _wait(link: CollectionLink, wanted: Deployment, deadline: float) -> None:
    """Until there are such replicas, each with its leaders."""
    while True:
        found = loaded(link)
        if wanted.is_met_by(found) and all(each.has_leaders for each in found):
            return
        if time.monotonic() >= deadline:
            ready = sum(each.has_leaders for each in found)
            raise BackendUnavailable(
                f"{ready} of {wanted.number} replicas of {link.name!r} were ready in time", retryable=True
            )
        time.sleep(_POLL_SECONDS)


def _put_back(link: CollectionLink, before: Deployment, failure: BaseException) -> None:
    log.warning("%s: its replicas could not be changed; going back to %d", link.name, before.number)
    try:
        link.remember(DEPLOYMENT, before.json if before != Deployment() else None)
        apply(link, before, LOAD_SECONDS)
    except ImgvecError as exc:
        said = str(failure) or type(failure).__name__
        raise BackendError(
            f"{said}; and {link.name!r} could not be loaded as before ({exc}): load it once Milvus answers"
        ) from failure
