"""Faiss index files: the vectors are reconstructed from the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import MissingExtra, SourceError
from imgvec.exchange.source import Chunk, Row, VectorSource, numbered
from imgvec.vectors import Vectors

#: Index classes that keep the vectors as they were added, or hand them to an index inside that may.
_EXACT = ("IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexIVFFlat", "IndexIVFFlatDedup", "IndexHNSWFlat",
          "IndexNSGFlat", "IndexRefineFlat")  # fmt: skip
_METRICS = {0: "IP", 1: "L2"}

Ids = NDArray[np.int64]


def is_faiss(head: bytes) -> bool:
    """Whether a file that starts like this is a Faiss index: it starts with a name of four letters (`IxF2`, `IwFl`)."""
    return len(head) >= 4 and head[:1] == b"I" and head[1:4].isalnum()


def open_faiss(path: Path) -> VectorSource:
    """A Faiss index; each row's id is the number that the index answers with.

    Rows come in the order in which they were added, those of an inverted file with ids of its own in the order of their
    ids. Raises `SourceError` if the index cannot give its vectors back.
    """
    try:
        import faiss
    except ImportError as exc:
        raise MissingExtra("faiss", f"{path}: a Faiss index needs faiss") from exc
    try:
        # mapped into memory where the index type can be: only the pages in use are in memory
        index = faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP))
    except RuntimeError as exc:
        raise SourceError(f"{path} cannot be read as a Faiss index of float vectors: {_last_line(exc)}") from exc
    ids, vectors_of = _rows(faiss, index, path)

    def read(start: int, stop: int) -> tuple[Vectors, list[Row]]:
        return vectors_of(start, stop), [{"id": int(each)} for each in ids[start:stop]]

    def chunks(size: int) -> Iterator[Chunk]:
        return numbered(len(ids), size, read)

    notes = []
    if lossy := _lossy(faiss, index):
        notes.append(f"the vectors are approximate: {path.name} is quantized or transformed ({lossy})")
    metric = int(index.metric_type)
    name = _METRICS.get(metric, f"Faiss metric {metric}")
    return VectorSource(path, len(ids), int(index.d), chunks, name, tuple(notes))


def _rows(faiss: Any, index: Any, path: Path) -> tuple[Ids, Callable[[int, int], Vectors]]:
    """The ids, and what gives the vectors of rows [start, stop)."""
    ids: Ids | None = None
    while isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        ids = faiss.vector_to_array(index.id_map) if ids is None else ids
        index = _inside(faiss, index)
    keys: Ids = np.arange(index.ntotal)
    # an index that refines another's answers has the vectors itself, by position
    if not isinstance(index, faiss.IndexRefine) and (ivf := faiss.try_extract_index_ivf(index)) is not None:
        kind = type(faiss.downcast_index(ivf)).__name__
        if "FastScan" in kind:  # Faiss 1.15 ends the process
            raise SourceError(f"{path}: {kind} cannot return its vectors: import the vectors it was made from")
        keys = _ivf_ids(faiss, ivf, path)
        sequential = np.array_equal(keys, np.arange(len(keys)))
        ivf.set_direct_map_type(faiss.DirectMap.Array if sequential else faiss.DirectMap.Hashtable)
    if len(keys):
        try:
            # one by itself: where Faiss cannot do it, it would end the process from within a parallel loop
            index.reconstruct(int(keys[0]))
        except RuntimeError as exc:
            kind = type(index).__name__
            raise SourceError(f"{path}: {kind} cannot return its vectors: {_last_line(exc)}") from exc

    def vectors_of(start: int, stop: int) -> Vectors:
        found: Vectors = index.reconstruct_batch(np.ascontiguousarray(keys[start:stop], np.int64))
        return found

    return keys if ids is None else ids, vectors_of


def _ivf_ids(faiss: Any, ivf: Any, path: Path) -> Ids:
    """The ids in an inverted file, in their order."""
    lists, found = ivf.invlists, [np.empty(0, np.int64)]
    for number in range(lists.nlist):
        if size := lists.list_size(number):
            pointer = lists.get_ids(number)
            found.append(faiss.rev_swig_ptr(pointer, size).copy())
            lists.release_ids(number, pointer)
    ids = np.sort(np.concatenate(found))
    if (same := np.flatnonzero(np.diff(ids) == 0)).size:
        raise SourceError(f"{path}: the id {ids[same[0]]} was added twice, but ids must be unique")
    return ids


def _inside(faiss: Any, index: Any) -> Any:
    inner = faiss.downcast_index(index.index)
    inner.referenced_objects = [index]  # its owner: freed, it would take this one with it
    return inner


def _lossy(faiss: Any, index: Any) -> str | None:
    """The class of the index that loses digits, or None if every vector is as it was added."""
    while isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        index = _inside(faiss, index)
    kind = type(index).__name__
    return None if kind in _EXACT else kind


def _last_line(exc: Exception) -> str:
    return str(exc).strip().splitlines()[-1].rpartition(": ")[2]
