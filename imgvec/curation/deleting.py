"""Deletes the copies that are not kept, and writes down which, before and after."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgvec.curation.judging import Kind
from imgvec.curation.outcome import Group, Member
from imgvec.curation.subjects import Subject
from imgvec.dates import iso
from imgvec.errors import TargetError

COPIES: tuple[Kind, ...] = ("file", "pixels", "copy")
"""What is deleted if nothing else is said: bursts are pictures of their own, and vectors alone are no proof."""
_AT_ONCE = 200

Rows = Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]]
Delete = Callable[[Sequence[str]], int]


@dataclass(frozen=True, slots=True)
class Deleted:
    """What `delete_duplicates` did."""

    pictures: int
    """That are gone from the collection; no file is touched."""
    left: int
    """That are as they were, as they, or the picture that was to stay, have changed or gone meanwhile; or as that can
    not be opened any more, and they can."""
    log: str
    """The file of JSON lines that says which."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"pictures": self.pictures, "left": self.left, "log": self.log}


def to_delete(groups: Sequence[Group], kinds: Collection[Kind]) -> list[tuple[Group, Member]]:
    """The pictures of these kinds that are not the best of their group."""
    return [(group, each) for group in groups for each in group.others if each.kind in kinds]


def delete(
    collection: str,
    groups: Sequence[Group],
    kinds: Collection[Kind],
    log: Path,
    *,
    rows: Rows,
    remove: Delete,
    opens: Callable[[Subject], bool],
) -> Deleted:
    """Delete them from the collection, a batch at a time; `opens` says whether a picture can be opened.

    Each batch is in the log before it is deleted, with all fields of its rows, and again when it is. Raises
    `TargetError` where the log cannot be written, and then deletes no more.
    """
    pictures = left = 0
    lost: dict[str, bool] = {}
    """Whether the picture that is to stay cannot be opened, by its id."""

    def worth_keeping(best: Subject, other: Subject) -> bool:
        if best.id not in lost:
            lost[best.id] = not opens(best)
        return not lost[best.id] or not opens(other)

    try:
        with log.open("a", encoding="utf-8") as file:
            for batch in _batches(to_delete(groups, kinds)):
                ids = {each.subject.id for _, each in batch} | {group.best.id for group, _ in batch}
                now = rows(sorted(ids))
                sure = [
                    (group, each)
                    for group, each in batch
                    if _is_same(now, group.best)
                    and _is_same(now, each.subject)
                    and worth_keeping(group.best, each.subject)
                ]
                left += len(batch) - len(sure)
                if not sure:
                    continue
                at = iso(time.time_ns() // 1_000_000)
                for group, each in sure:
                    entry = {
                        "at": at,
                        "event": "to delete",
                        "collection": collection,
                        **each.to_dict(),
                        "row": now[each.subject.id],
                        "kept": {"id": group.best.id, "uri": group.best.uri},
                    }
                    file.write(json.dumps(entry, ensure_ascii=False, default=str) + "\n")
                _to_disk(file)
                gone = remove([each.subject.id for _, each in sure])
                pictures += gone
                done = {
                    "at": at, "event": "deleted", "collection": collection, "pictures": gone,
                    "ids": [each.subject.id for _, each in sure],
                }  # fmt: skip
                file.write(json.dumps(done, ensure_ascii=False) + "\n")
                _to_disk(file)
    except OSError as exc:
        raise TargetError(f"{log}: the log of what is deleted cannot be written: {exc.strerror or exc}") from exc
    return Deleted(pictures, left, str(log))


def _is_same(now: Mapping[str, Mapping[str, Any]], subject: Any) -> bool:
    row = now.get(subject.id)
    return row is not None and str(row.get("content_hash") or "") == subject.content_hash


def _batches(pairs: Sequence[tuple[Group, Member]]) -> Iterator[Sequence[tuple[Group, Member]]]:
    for start in range(0, len(pairs), _AT_ONCE):
        yield pairs[start : start + _AT_ONCE]


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
