"""Members of an archive as records: names judged, sidecars joined to the images that they belong to.

As in WebDataset, members that share their path up to the first dot of the file name are one sample: the keys of its
`.json` and the text of its `.txt`, as `caption`, are the metadata of its images, wherever they stand in the sample.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from imgvec.errors import Reason, SourceError, UnreadableImage
from imgvec.images.readers import BytesReader
from imgvec.sources.files import IMAGE_SUFFIXES, OTHER_SUFFIXES
from imgvec.sources.passing import is_system
from imgvec.sources.places import Place
from imgvec.sources.reading import Item, Reading, printable
from imgvec.sources.records import EXCLUDED, SYSTEM, Found, Notice, PassedOver, record_id

SIDECAR_BYTES = 16 * 2**20
"""A larger sidecar is refused."""
_SAMPLE_MEMBERS, _SAMPLE_BYTES = 256, 64 * 2**20
"""A sample is given in pieces rather than hold more: names such as `2024.05.01-1.jpg` would all be one sample."""
_SIDECARS = frozenset({".json", ".txt"})


class Member(NamedTuple):
    """A member that was read, or is refused."""

    name: str
    """Path in the archive."""
    data: bytes = b""
    trouble: tuple[Reason, str] | None = None
    """Reason and detail of a refusal."""


class Choice:
    """Which members of one archive are read, and which are refused by their name."""

    def __init__(self, place: Place, reading: Reading) -> None:
        self._place, self._reading = place, reading
        self._seen: set[int] = set()

    def skips(self, name: str, mode: int) -> str | None:
        """Why a member is passed over, None if it is taken: "" for what is left out without a word.

        That are folders, hidden members, what is surely no image, and other parts' images.
        """
        suffix, parts = _suffix(name), name.split("/")
        if stat.S_ISDIR(mode) or (suffix in OTHER_SUFFIXES and suffix not in _SIDECARS):
            return ""
        is_other = suffix in _SIDECARS or self._reading.may_skip(member_uri(self._place, name))
        if any(map(is_system, parts[:-1])):
            return "" if is_other else SYSTEM
        if any(part.startswith(".") and part not in (".", "..") for part in parts):
            return ""
        if self._reading.excludes.match(name.lstrip("/")):
            return "" if is_other else EXCLUDED
        if not stat.S_ISREG(mode):
            return None if suffix in IMAGE_SUFFIXES else ""  # as in a folder, refused if it is named like an image
        return "" if is_other and suffix not in _SIDECARS else None

    def trouble(self, name: str, mode: int, size: int) -> tuple[Reason, str] | None:
        """Why the member is refused before it is read; its bytes are never asked for then."""
        limit = SIDECAR_BYTES if is_sidecar(name) else self._reading.guards.max_bytes
        trouble = member_trouble(name, mode, size, limit)
        if trouble is not None and trouble[0] != "too large":
            return trouble
        # 64 bits of a name instead of the name: a shard can have millions of members
        key = int(record_id(name)[:16], 16)
        if key in self._seen:
            return "unusable name", "it is in the archive twice; the first one is used"
        self._seen.add(key)
        return trouble


def member_trouble(name: str, mode: int, size: int, max_bytes: int) -> tuple[Reason, str] | None:
    """Why a member is refused by its header, as reason and detail; None if it can be read."""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name or not name:
        return "unusable name", "it points outside the archive"
    if not stat.S_ISREG(mode):
        return "not a regular file", "a link or device in the archive"
    if size > max_bytes:
        return "too large", f"{size:,} bytes, the limit is {max_bytes:,}"
    return None


def plain_name(name: str) -> str:
    """A member's path without the `./` that many archives begin theirs with."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def is_sidecar(name: str) -> bool:
    """Whether a member says something about images instead of being one."""
    return _suffix(name) in _SIDECARS


def sample_key(name: str) -> str:
    """What the members of one sample share."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def member_uri(place: Place, name: str) -> str:
    """What a member is called: `archive.tar!member`."""
    return f"{place.uri}!{name}"


def read_samples(members: Iterator[Member | PassedOver | Notice], place: Place, reading: Reading) -> Iterator[Found]:
    """The images of each sample with its sidecars; what was read before the archive broke is given before its error."""
    broken: SourceError | None = None
    sample: list[Member] = []
    key: str | None = None
    size = 0
    while True:
        try:
            member = next(members, None)
        except SourceError as exc:
            broken, member = exc, None
        if member is None:
            break
        if isinstance(member, PassedOver | Notice):
            yield member
            continue
        if sample and (sample_key(member.name) != key or len(sample) >= _SAMPLE_MEMBERS or size >= _SAMPLE_BYTES):
            yield from _records(sample, place, reading)
            sample, size = [], 0
        key = sample_key(member.name)
        sample.append(member)
        size += len(member.data)
    yield from _records(sample, place, reading)
    if broken is not None:
        raise broken


def _records(sample: list[Member], place: Place, reading: Reading) -> Iterator[Item]:
    images = [member for member in sample if not is_sidecar(member.name)]
    if not images:
        return
    trouble: tuple[Reason, str] | None = None
    row: dict[str, Any] = {}
    try:
        for member in sample:
            if is_sidecar(member.name):
                row = {**row, **_sidecar(member)} if _suffix(member.name) == ".json" else {**_sidecar(member), **row}
    except ValueError as exc:
        trouble = "metadata refused", str(exc)
    for member in images:
        uri = member_uri(place, member.name)
        if why := member.trouble or trouble:
            yield UnreadableImage(printable(uri), *why)
            continue
        fields = reading.fields.of(row, frozenset({reading.columns.id}))
        path = f"{place.where}!{member.name}"
        yield reading.image(uri, BytesReader(member.data, uri), path, member=member.name, fields=fields, row=row)


def _sidecar(member: Member) -> dict[str, Any]:
    """What a sidecar says; raises `ValueError`."""
    if member.trouble is not None:
        raise ValueError(f"{printable(member.name)}: {': '.join(member.trouble)}")
    try:
        text = member.data.decode("utf-8-sig")
        if _suffix(member.name) == ".txt":
            return {"caption": text.strip()}
        row = json.loads(text)
    except UnicodeDecodeError:
        raise ValueError(f"{printable(member.name)} is not UTF-8") from None
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"{printable(member.name)} is not JSON: {exc}") from exc
    if not isinstance(row, dict):
        raise ValueError(f"{printable(member.name)} is not a JSON object")
    return row


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122
