"""Calibrations that go with a collection's rows: into an export, an import of it, and a copy.

A calibration is about all rows of a collection and the vectors that they have. So it goes only with all of them, to a
collection that had none, whose vectors are the same encoder's, by the same metric and an index that rounds alike.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from zipfile import BadZipFile

import numpy as np

from imgvec.milvus import Store
from imgvec.quality import calibration as kept
from imgvec.quality.calibration import Calibration, holds, kept_calibration


def packed_calibrations(store: Store) -> dict[str, bytes]:
    """The calibrations that the collection keeps and that hold, as .npz, by the names of their vectors."""
    found = {}
    for vector in store.vectors:
        if (calibration := kept_calibration(store, vector)) is not None:
            data = io.BytesIO()
            np.savez_compressed(data, **calibration.packed())
            found[vector] = data.getvalue()
    return found


def keep_calibrations(store: Store, packed: Mapping[str, bytes], *, all_rows: bool) -> list[str]:
    """Keep those that hold here too, where the collection has `all_rows` that they are about and no others.

    Gives the vectors of the others, which should be calibrated again. Raises `BackendError`.
    """
    left = []
    for vector, data in packed.items():
        if vector not in store.vectors or kept.made(store, vector) is not None:
            continue
        calibration = _unpacked(data) if all_rows else None
        if calibration is not None and holds(calibration, store, vector):
            kept.keep(store, calibration)
        else:
            left.append(vector)
    return left


def _unpacked(data: bytes) -> Calibration | None:
    """None of what is damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Calibration.unpacked(dict(arrays))
    except (BadZipFile, OSError, ValueError, KeyError, TypeError):
        return None


def again(name: str, vectors: list[str]) -> str:
    """What to say of vectors whose calibration did not come along."""
    commands = [f"imgvec calibrate -c {name}" + ("" if each == "vector" else f" --vector {each}") for each in vectors]
    return f"{name!r} is not calibrated, as the collection was whose rows these are: {'; '.join(commands)}"
