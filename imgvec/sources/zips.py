"""Zip archives; each member is read once, samples together."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from imgvec.errors import Reason, SourceError, UnreadableImage
from imgvec.images.readers import BytesReader
from imgvec.sources.columns import Columns
from imgvec.sources.guards import Guards
from imgvec.sources.kinds import Kind
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading, printable
from imgvec.sources.records import Found, Notice, PassedOver
from imgvec.sources.samples import Choice, Member, member_trouble, member_uri, plain_name, read_samples, sample_key
from imgvec.sources.spellings import every_spelling, zip_spellings

_EXPANSION, _FREE_BYTES = 200, 16 * 2**20
"""Images hardly compress. A larger member that expands by more than this is a bomb."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that Python expands in bounded steps."""
_ENCRYPTED = 0x1


def read_zip(place: Place, reading: Reading) -> Iterator[Found]:
    """The images of a zip, with their sidecars' metadata; raises `SourceError` if its directory cannot be read.

    A cut-off zip has lost its directory, so nothing of it is read. A broken member is a refusal.
    """
    return read_samples(_members(place, reading), place, reading)


def zip_names(place: Place) -> frozenset[str]:
    """The path of every member; raises `SourceError`."""
    with _opened(place) as archive:
        return frozenset(plain_name(one) for name in archive.namelist() for one in every_spelling(name))


def _reopen(place: Place, key: str, guards: Guards, _columns: Columns) -> bytes:
    uri = f"{place.uri}!{key}"
    with _opened(place) as archive:
        infos = archive.infolist()
        spelled, _ = zip_spellings(infos, None)
        for at, info in enumerate(infos):
            if key not in map(plain_name, {spelled.get(at, info.filename), *every_spelling(info.filename)}):
                continue
            trouble = member_trouble(key, _mode(info), info.file_size, guards.max_bytes) or _trouble(info)
            member = Member(key, trouble=trouble) if trouble else _read(archive, info, key)
            if member.trouble:
                raise UnreadableImage(uri, *member.trouble)
            return BytesReader(member.data, uri).read(guards.max_bytes)
    raise UnreadableImage(uri, "missing", "no such member in the archive")


def _members(place: Place, reading: Reading) -> Iterator[Member | PassedOver | Notice]:
    choice = Choice(place, reading)
    with _opened(place) as archive:
        spelled, notice = zip_spellings(archive.infolist(), reading.name_encoding)
        if notice:
            yield Notice(f"{place}: {notice}")
        named = [(plain_name(spelled.get(at, info.filename)), info) for at, info in enumerate(archive.infolist())]
        # the directory is in memory anyway; in this order the members of a sample follow each other
        for name, info in sorted(named, key=lambda pair: (sample_key(pair[0]), pair[0])):
            mode = _mode(info)
            why = choice.skips(name, mode)
            if why is not None:
                if why:
                    yield PassedOver(printable(member_uri(place, name)), why)
                continue
            trouble = choice.trouble(name, mode, info.file_size) or _trouble(info)
            yield Member(name, trouble=trouble) if trouble else _read(archive, info, name)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Member:
    try:
        with archive.open(info) as file:
            return Member(name, file.read(info.file_size + 1))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as exc:
        return Member(name, trouble=("read failed", str(exc) or "the member ends too early"))


def _trouble(info: zipfile.ZipInfo) -> tuple[Reason, str] | None:
    if info.flag_bits & _ENCRYPTED:
        return "permission denied", "it is encrypted"
    if info.compress_type not in _METHODS:
        return "read failed", f"compression method {info.compress_type} is not supported; only stored and deflated are"
    if info.file_size > _FREE_BYTES and info.file_size > _EXPANSION * max(info.compress_size, 1):
        return "too large", f"it expands more than {_EXPANSION}-fold, like a decompression bomb"
    return None


def _mode(info: zipfile.ZipInfo) -> int:
    if info.is_dir():
        return stat.S_IFDIR
    # archives made on other systems than Unix carry no mode
    return stat.S_IFMT(info.external_attr >> 16) or stat.S_IFREG


@contextmanager
def _opened(place: Place) -> Iterator[zipfile.ZipFile]:
    with place.opened() as file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as exc:
            raise SourceError(
                f"{place}: not a zip file, or truncated before its directory: {exc}; nothing was read"
            ) from exc
        with archive:
            yield archive


KIND = Kind(name="zip", read=read_zip, endings=(".zip",), reopen=_reopen, members=zip_names)
