"""Uploaded pictures as files: named by their content, never by what a stranger calls them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from imgvec.collection import ImageCollection
from imgvec.errors import ImgvecError, SourceError
from imgvec.images import content_hash
from imgvec.serving.job import Upload
from imgvec.serving.logs import log
from imgvec.serving.problems import Problem
from imgvec.sources import Keeper, record_id


def keep_all(files: Sequence[BinaryIO], folder: Path) -> list[Upload]:
    """A file below the folder for each, in their order; all of them or none. Raises `Problem`."""
    keeper, kept = Keeper(str(folder)), list[Upload]()
    try:
        for file in files:
            data = file.read()
            hashed = content_hash(data)
            is_new = not keeper.path(hashed).exists()
            kept.append(Upload(keeper.keep(data), hashed, is_new))
    except SourceError as exc:
        _remove(each.uri for each in kept if each.is_new)
        log.exception("an upload cannot be kept")
        raise Problem(507, "upload-not-kept", "the upload cannot be kept here") from exc
    return kept


def clear(uploads: Iterable[str], collections: Mapping[str, ImageCollection]) -> None:
    """Remove the files of these uris that have become no picture of any of the collections."""
    ids = {record_id(uri): uri for uri in uploads}
    try:
        for collection in collections.values():
            for id_ in [id_ for id_ in ids if collection.pictures.has_any([id_])]:
                del ids[id_]
    except ImgvecError:  # whether they are is not known, so they stay
        return
    _remove(ids.values())


def _remove(uris: Iterable[str]) -> None:
    for uri in uris:
        with suppress(OSError):
            Path(uri).unlink()
