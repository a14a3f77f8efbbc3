"""What a collection has learned, as arrays: kept beside it in Milvus, for every client that opens it.

    learned = Learned(connection, store)
    learned.write("projection", {"matrix": matrix, "mean": mean})
    learned.read("projection")

Each write is a generation: rows of the companion `learned` that hold its bytes in parts, base64, since a server takes
no bytes in a field; then a pointer, the row whose id is the key, which names the generation, its parts and its SHA-256.
The pointer is written last, and what is read is held against it: a write that was killed leaves what was there before.
The former generation is removed after the pointer has moved; what a killed write has left, by a write an hour later:
until then it may be another client's, which is not done.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import BackendError, UsageError
from imgvec.filters.fields import text_literal
from imgvec.milvus.companions import Companion, Kind
from imgvec.milvus.connection import Connection
from imgvec.milvus.store import Store
from imgvec.rows import MAX_ID_BYTES, MAX_VARCHAR_BYTES, RowField

LEARNED = Kind(
    "learned",
    {
        "key": RowField("VARCHAR", MAX_ID_BYTES),
        "generation": RowField("VARCHAR", 32),
        "data": RowField("VARCHAR", MAX_VARCHAR_BYTES),
        "at": RowField("INT64"),
    },
)
PART_BYTES = 60_000
"""Of base64, a character a byte; a VARCHAR holds 65,535."""
MAX_BYTES = 256 * 2**20
"""Of one generation, before base64: what a search needs to begin with should not take longer than that to read."""
_AT_ONCE = 128
"""Parts in one call, of at most 8 MB."""
_TRIES = 5
"""How often a generation is looked for that goes away while it is read, or that a server hides for a moment."""
_ABANDONED_MS = 3_600_000

Arrays = Mapping[str, NDArray[Any]]


class Learned:
    """The arrays of one collection, by keys of at most 64 bytes. Of several who write at once, one is the last."""

    def __init__(self, connection: Connection, store: Store) -> None:
        self._rows: Companion = connection.companion(store, LEARNED)

    def write(self, key: str, arrays: Arrays) -> None:
        """Keep the arrays, all of them or none, in place of those that the key had.

        Raises `UsageError` for a key that is none, for arrays of objects, and for more than 256 MiB; `BackendError`,
        and then the former ones are still there.
        """
        if not 0 < len(key.encode(errors="replace")) <= MAX_ID_BYTES:
            raise UsageError(f"{key!r} is not a key of 1 to {MAX_ID_BYTES} bytes")
        data = packed(arrays)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{key}: {len(data):,} bytes are more than a collection keeps of one kind ({MAX_BYTES:,})")
        text, generation, at = base64.b64encode(data).decode("ascii"), token_hex(16), time.time_ns() // 1_000_000
        former = self._pointer(key)
        same = {"key": key, "generation": generation, "at": at}
        parts = [text[start : start + PART_BYTES] for start in range(0, len(text), PART_BYTES)]
        rows = [{**same, "id": _part_id(generation, number), "data": part} for number, part in enumerate(parts)]
        for start in range(0, len(rows), _AT_ONCE):
            self._rows.upsert(rows[start : start + _AT_ONCE])
        pointer = json.dumps({"parts": len(parts), "sha256": hashlib.sha256(data).hexdigest()})
        self._rows.upsert([{**same, "id": key, "data": pointer}])
        self._clean(key, former["generation"] if former else "", kept=generation, before=at - _ABANDONED_MS)

    def read(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays as they were written; None where the key has none.

        Raises `BackendError` where parts of them are lost, which no write leaves behind.
        """
        for _ in range(_TRIES):
            if (pointer := self._pointer(key)) is None:
                return None
            try:
                told = json.loads(pointer["data"])
                text = self._text(pointer["generation"], told["parts"])
                if text is not None:
                    data = base64.b64decode(text)
                    if hashlib.sha256(data).hexdigest() == told["sha256"]:
                        return unpacked(data)
            except (ValueError, TypeError, KeyError):  # no write leaves such a pointer
                break
            # another client has written meanwhile, and removed what this pointer named
        raise BackendError(f"{self._rows.name}: parts of what was learned as {key!r} are lost: learn it again")

    def forget(self, key: str) -> None:
        """Remove the arrays of a key: the pointer first."""
        former = self._pointer(key)
        self._rows.delete([key])
        self._clean(key, former["generation"] if former else "", kept="", before=0)

    def keys(self) -> list[str]:
        """The keys that have arrays, sorted."""
        found = (row for rows in self._rows.scan(["key"]) for row in rows)
        return sorted(row["id"] for row in found if row["id"] == row["key"])

    def _text(self, generation: str, parts: int) -> str | None:
        ids = [_part_id(generation, number) for number in range(parts)]
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, parts, _AT_ONCE):
            found |= self._rows.get(ids[start : start + _AT_ONCE], output_fields=["data"])
        return "".join(found[each]["data"] for each in ids) if len(found) == parts else None

    def _pointer(self, key: str) -> dict[str, Any] | None:
        """The row that names the key's generation; a server may hide it for the moment in which it is replaced."""
        for _ in range(_TRIES):
            if (found := self._rows.get([key]).get(key)) is not None:
                return found
            if not self._rows.count(f"key == {text_literal(key)}"):
                break
        return None

    def _clean(self, key: str, former: str, *, kept: str, before: int) -> None:
        """Remove the parts of the former generation, and of those that were begun long ago and never named."""
        mine = f"key == {text_literal(key)}"
        gone = [
            row["id"]
            for rows in self._rows.scan(["generation", "at"], mine)
            for row in rows
            if row["id"] != key and row["generation"] != kept and (row["generation"] == former or row["at"] < before)
        ]
        self._rows.delete(gone)


def packed(arrays: Arrays) -> bytes:
    """The arrays as bytes: NumPy's own .npz, which holds shapes and types; nothing is pickled."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # `np.savez` takes names as keywords, and not all of them
        for name, array in arrays.items():
            if np.asarray(array).dtype.hasobject:
                raise UsageError(f"{name} is an array of objects, which is not kept")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    """The reverse of `packed`."""
    # `np.load` takes `x.npy` for `x` where it has both
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {member.filename.removesuffix(".npy"): _array(archive, member) for member in archive.infolist()}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return found


def _part_id(generation: str, number: int) -> str:
    return f"{generation}.{number}"
