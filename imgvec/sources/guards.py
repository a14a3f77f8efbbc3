"""Limits on what reading an image may cost and reach."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgvec.images.fetch import FetchPolicy

MAX_BYTES = 256 * 2**20
"""A larger image is refused."""


@dataclass(frozen=True, slots=True)
class Guards:
    """The same for ingesting an image and for reopening one."""

    max_bytes: int = MAX_BYTES
    """An image with more bytes is refused."""
    fetch: FetchPolicy = field(default_factory=FetchPolicy)
    """What may be fetched from http(s) addresses, and for how long."""
