"""Tar archives and WebDataset shards, plain or compressed, read once from start to end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images.readers import BytesReader
from imgvec.plurals import counted
from imgvec.sources.columns import Columns
from imgvec.sources.guards import Guards
from imgvec.sources.kinds import Kind
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading, printable
from imgvec.sources.records import Found, PassedOver
from imgvec.sources.samples import Choice, Member, is_sidecar, member_trouble, member_uri, plain_name, read_samples
from imgvec.sources.spellings import every_spelling

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_EXPANSION = 200
"""Images hardly compress. An archive that expands by more than this, counted from `_FREE_BYTES` on, is a bomb."""
_FREE_BYTES = 256 * 2**20
_HEADER_BYTES = 2**20
"""Longest extended header: a path and a few attributes."""
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, RecursionError, ValueError, OverflowError)


def read_tar(place: Place, reading: Reading) -> Iterator[Found]:
    """The images of a tar, with their sidecars' metadata; raises `SourceError` if the archive is broken or cut off.

    Compression is told by the first bytes. Links, devices, and names that lead out of the archive are refused; of a
    name that stands there twice the first member is taken.
    """
    return read_samples(_members(place, reading), place, reading)


def tar_names(place: Place) -> frozenset[str]:
    """The path of every member; raises `SourceError` if the archive cannot be read to its end."""
    names: set[str] = set()
    with _listed(place) as (archive, progress):
        for header in _headers(archive):
            names.update(map(plain_name, every_spelling(header.name)))
            progress.images += 1
    return frozenset(names)


def _reopen(place: Place, key: str, guards: Guards, _columns: Columns) -> bytes:
    uri = f"{place.uri}!{key}"
    with _listed(place) as (archive, _):
        for header in _headers(archive):
            if key not in map(plain_name, every_spelling(header.name)):
                continue
            if trouble := member_trouble(key, _mode(header), header.size, guards.max_bytes):
                raise UnreadableImage(uri, *trouble)
            file = archive.extractfile(header)
            return BytesReader(b"" if file is None else file.read(), uri).read(guards.max_bytes)
    raise UnreadableImage(uri, "missing", "no such member in the archive")


def _members(place: Place, reading: Reading) -> Iterator[Member | PassedOver]:
    choice = Choice(place, reading)
    with _listed(place, reading.name_encoding) as (archive, progress):
        for header in _headers(archive):
            name, mode = plain_name(header.name), _mode(header)
            why = choice.skips(name, mode)
            if why is not None:
                if why:
                    yield PassedOver(printable(member_uri(place, name)), why)
                continue
            trouble = choice.trouble(name, mode, header.size)
            file = None if trouble else archive.extractfile(header)
            yield Member(name, b"" if file is None else file.read(), trouble)
            progress.images += not is_sidecar(name)


def _headers(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (header := archive.next()) is not None:
        yield header
        archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header that it has read


def _mode(header: tarfile.TarInfo) -> int:
    if header.isdir():
        return stat.S_IFDIR
    return stat.S_IFREG if header.isreg() else stat.S_IFLNK


class _Progress:
    images = 0


@contextmanager
def _listed(place: Place, encoding: str | None = None) -> Iterator[tuple[tarfile.TarFile, _Progress]]:
    """The open archive; whatever is wrong with it becomes a `SourceError` that says how far it came."""
    progress = _Progress()
    with place.opened() as file:
        try:
            with _archive(file, encoding or "utf-8") as archive:
                yield archive, progress
        except _BROKEN as exc:
            raise SourceError(
                f"{place}: damaged or truncated after {counted(progress.images, 'image')} "
                f"({str(exc) or type(exc).__name__}), which were read; repair the archive and run the same "
                f"command to continue"
            ) from exc


@contextmanager
def _archive(file: BinaryIO, encoding: str) -> Iterator[tarfile.TarFile]:
    start = file.read(6)
    file.seek(0)
    expanded: io.BufferedIOBase | None = None
    if start.startswith(b"\x1f\x8b"):
        expanded = gzip.GzipFile(fileobj=file)
    elif start.startswith(b"BZh"):
        expanded = bz2.BZ2File(file)
    elif start == b"\xfd7zXZ\0":
        expanded = lzma.LZMAFile(file)  # noqa: SIM115 - needs no closing
    if expanded is None:
        with tarfile.TarFile.open(fileobj=file, mode="r:", tarinfo=_Header, errorlevel=2, encoding=encoding) as archive:
            yield archive
        return
    stream = cast("BinaryIO", io.BufferedReader(_Bounded(expanded, file), 2**16))
    with tarfile.TarFile.open(fileobj=stream, mode="r|", tarinfo=_Header, errorlevel=2, encoding=encoding) as archive:
        yield archive


class _Header(tarfile.TarInfo):
    """A header whose faults are errors. By itself tarfile takes a broken or a missing header for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as exc:
            raise tarfile.ReadError(str(exc)) from exc

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED and header.size > _HEADER_BYTES):
            raise tarfile.HeaderError(f"a header of {header.size:,} bytes")
        return header


class _Bounded(io.RawIOBase):
    """What `expanded` gives, until that is out of all proportion to what was read of `packed`."""

    def __init__(self, expanded: io.BufferedIOBase, packed: BinaryIO) -> None:
        self._expanded, self._packed = expanded, packed
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        number = self._expanded.readinto1(buffer)
        self._given += number
        if self._given > _FREE_BYTES + _EXPANSION * self._packed.tell():
            raise tarfile.ReadError(f"it expands more than {_EXPANSION}-fold, like a decompression bomb")
        return number


KIND = Kind(
    name="tar",
    read=read_tar,
    endings=(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
    reopen=_reopen,
    members=tar_names,
)
