"""Names in archives that do not say how they are encoded: a zip from a Japanese Windows, an old tar."""

from __future__ import annotations

import codecs
import struct
import zlib
from collections.abc import Iterable, Mapping
from zipfile import ZipInfo

from imgvec.errors import UsageError
from imgvec.plurals import counted

ENCODINGS = (
    *("cp932", "euc_jp", "gbk", "gb18030", "big5", "cp949", "cp1251", "cp866", "koi8_r", "cp1250", "cp852", "cp1252"),
    *("cp850", "cp437", "cp1253", "cp737", "cp1254", "cp857", "cp1255", "cp862", "cp1256", "cp720", "cp874", "cp1258"),
    *("iso8859_1", "iso8859_2", "iso8859_15", "mac_roman"),
)
"""Code pages that names can be read in, the likelier ones first; and UTF-8."""
_UTF8 = 0x800
_UNICODE_PATH = 0x7075
_SHOWN = ("cp932", "gbk", "big5", "cp949", "cp1251", "cp866", "cp1252", "cp850")


def check_encoding(name: str | None) -> None:
    """Raise `UsageError` unless it is one of `ENCODINGS`."""
    known = {codecs.lookup(one).name for one in (*ENCODINGS, "utf-8")}
    try:
        if name is None or codecs.lookup(name).name in known:
            return
    except LookupError:
        pass
    raise UsageError(f"--name-encoding {name}: must be one of utf-8, {', '.join(ENCODINGS)}")


def zip_spellings(infos: Iterable[ZipInfo], encoding: str | None) -> tuple[Mapping[int, str], str | None]:
    """The names of those members whose name zipfile could only guess, by their place, and what to say of the guess.

    A name is in UTF-8 where the zip says so, or has it in the field that Info-ZIP adds. Others are read in `encoding`;
    without one in UTF-8 where all of them can be, or else in cp437, as the format has it.
    """
    unsaid: dict[int, bytes] = {}
    names: dict[int, str] = {}
    for place, info in enumerate(infos):
        if info.flag_bits & _UTF8 or info.filename.isascii():
            continue
        raw = _out(info.filename, "cp437")
        if raw is None:  # later Pythons read the field that Info-ZIP adds themselves
            continue
        said = _unicode_path(info.extra, raw)
        if said is None:
            unsaid[place] = raw
        else:
            names[place] = said
    if not unsaid:
        return names, None
    for one in (encoding,) if encoding else ("utf-8",):
        if (read := _all_in(unsaid, one)) is not None:
            return names | read, None
    first = next(iter(unsaid.values()))
    readings = [f"{text!r} in {one}" for one in ("cp437", *_SHOWN) if (text := _in(first, one)) is not None]
    why = f"not valid {encoding}" if encoding else "read as cp437"
    return names, (
        f"{counted(len(unsaid), 'name')} without a declared encoding, {why}; the first is {', '.join(readings)}: "
        "choose with --name-encoding (name_encoding= in Python)"
    )


def every_spelling(name: str) -> frozenset[str]:
    """All names that a member can have been stored under, whichever encoding it was read in then."""
    if name.isascii():
        return frozenset([name])
    found = {name}
    for raw in (_out(name, "cp437"), _out(name, "utf-8")):
        found.update(text for one in (*ENCODINGS, "utf-8") if raw and (text := _in(raw, one)) is not None)
    return frozenset(found)


def _all_in(names: Mapping[int, bytes], encoding: str) -> dict[int, str] | None:
    read = {place: _in(raw, encoding) for place, raw in names.items()}
    whole = {place: text for place, text in read.items() if text is not None}
    return whole if len(whole) == len(read) else None


def _in(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def _out(name: str, encoding: str) -> bytes | None:
    try:
        return name.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return None


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in Info-ZIP's Unicode Path field, where it is about this name (APPNOTE 4.6.9)."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        body, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(body) > 5 and body[0] == 1:
            (checksum,) = struct.unpack("<L", body[1:5])
            return _in(body[5:], "utf-8") if checksum == zlib.crc32(raw) else None
    return None
