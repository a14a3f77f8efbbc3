"""Sources read through fsspec: object stores (s3://, gs://, hf://, az://), and anything else with a plug-in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from imgvec.errors import MissingExtra, SourceError, UnreadableImage
from imgvec.images.fetch import without_userinfo
from imgvec.images.readers import BytesReader
from imgvec.sources.files import MAGIC, OTHER_SUFFIXES
from imgvec.sources.passing import is_system
from imgvec.sources.reading import Item, Reading, printable
from imgvec.sources.records import EXCLUDED, SYSTEM, PassedOver

#: What a list or a manifest may name besides http(s) and paths. Its lines may be a stranger's: they do not choose among
#: all of fsspec's protocols, of which some (webhdfs, ftp, sftp, github, reference …) connect to any host.
OBJECT_STORES = frozenset({"abfs", "abfss", "az", "gcs", "gs", "hf", "memory", "s3", "s3a"})

_LOCAL = frozenset("file local http https data dir cached simplecache filecache blockcache".split())
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """One object, read through fsspec."""

    url: str

    def read(self, max_bytes: int) -> bytes:
        """Raises `UnreadableImage`: missing, permission denied, not a regular file, read failed, empty, too large."""
        shown = without_userinfo(self.url)
        try:
            with _translated(shown), open_object(self.url) as file:
                data = file.read(max_bytes + 1)
        except (SourceError, MissingExtra) as exc:
            raise UnreadableImage(shown, "read failed", str(exc)) from exc
        except FileNotFoundError as exc:
            raise UnreadableImage(shown, "missing") from exc
        except PermissionError as exc:
            raise UnreadableImage(shown, "permission denied", str(exc)) from exc
        except IsADirectoryError as exc:
            raise UnreadableImage(shown, "not a regular file", "a folder") from exc
        except OSError as exc:
            raise UnreadableImage(shown, "read failed", str(exc)) from exc
        return BytesReader(data, shown).read(max_bytes)


def open_object(url: str) -> BinaryIO:
    """The object, to read and to seek in; raises `SourceError` without the plug-in, `OSError` as fsspec has it."""
    with _translated(url):
        filesystem, path = _filesystem(url)
        return cast("BinaryIO", filesystem.open(path, "rb"))


def read_object(
    url: str, reading: Reading, fields: Mapping[str, Any] | None = None, row: Mapping[str, Any] | None = None
) -> Item:
    """The object at `url`; whether it is there shows when it is read."""
    if _has_password(url):
        return UnreadableImage(without_userinfo(printable(url)), "unusable name", _NO_USERINFO)
    return reading.image(url, ObjectReader(url), url, fields=fields, row=row)


def find(url: str, reading: Reading, *, every_suffix: bool = False) -> Iterator[str | PassedOver]:
    """URLs of the objects: one, those below a folder, or those that match a glob; hidden ones are passed over.

    One folder's names are held at a time, all of a glob's. Raises `SourceError` if they cannot be listed.
    """
    try:
        with _translated(url):
            filesystem, path = _filesystem(url)
            # fsspec's own paths leave out the protocol, and some the host: what it took off is put before them again
            prefix = url[: url.rindex(path)] if path in url else url.partition("://")[0] + "://"
            if filesystem.isfile(path):
                yield url
            elif magic := MAGIC.search(path):
                fixed = path[: path.rfind("/", 0, magic.start()) + 1]
                for found in sorted(filesystem.glob(path)):
                    if _is_taken(found, every_suffix) and filesystem.isfile(found):
                        why = _passed(found.removeprefix(fixed), reading)
                        yield PassedOver(prefix + found, why) if why else prefix + found
            else:
                base = path.strip("/")
                for folder, folders, names in filesystem.walk(path, maxdepth=None if reading.recursive else 1):
                    below = folder.strip("/").removeprefix(base).lstrip("/")
                    below = below and below + "/"
                    taken = []
                    for name in sorted(name for name in folders if not name.startswith(".")):
                        if not reading.recursive:
                            continue
                        if why := _passed(below + name, reading, folder=True):
                            yield PassedOver(f"{prefix}{folder.rstrip('/')}/{name}", why)
                        else:
                            taken.append(name)
                    folders[:] = taken
                    for name in sorted(names):
                        if _is_taken(name, every_suffix):
                            found = f"{prefix}{folder.rstrip('/')}/{name}"
                            why = EXCLUDED if reading.excludes.match(below + name) else None
                            yield PassedOver(found, why) if why else found
    except OSError as exc:
        raise SourceError(f"{url}: cannot list it: {exc}") from exc


def _passed(relative: str, reading: Reading, *, folder: bool = False) -> str | None:
    """Why what lies there below the source is passed over."""
    if any(map(is_system, relative.split("/") if folder else relative.split("/")[:-1])):
        return SYSTEM
    return EXCLUDED if reading.excludes.match(relative, folder=folder) else None


def _is_taken(path: str, every_suffix: bool) -> bool:
    name = path.rpartition("/")[2]
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return bool(name) and not name.startswith(".") and (every_suffix or suffix not in OTHER_SUFFIXES)


_NO_USERINFO = "a stored address must not contain a password"


def _has_password(url: str) -> bool:
    return re.match(r"[^/]*://[^/]*:[^/]*@", url) is not None


def _filesystem(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0].lower()
    if "::" in url or scheme in _LOCAL:
        raise SourceError(
            f"{url}: chained and cached addresses are not supported; use the address of the object itself"
        )
    if _has_password(url):
        raise SourceError(f"{without_userinfo(url)}: {_NO_USERINFO}")
    try:
        import fsspec
    except ImportError as exc:
        raise MissingExtra("remote", f"{url}: needs fsspec") from exc
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as exc:
        extra = _EXTRAS.get(scheme)
        if extra is not None:
            raise MissingExtra(extra, f"{url}: needs an fsspec plug-in") from exc
        raise SourceError(f"{url}: needs an fsspec plug-in: {exc}") from exc
    except ValueError as exc:
        raise SourceError(f"{url}: {exc}; supported are paths, http(s) and whatever fsspec reads") from exc
    return filesystem, path


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Whatever a plug-in raises as an `OSError`: each of them has errors of its own."""
    try:
        yield
    except (OSError, SourceError, MissingExtra):
        raise
    except Exception as exc:
        raise OSError(f"{url}: {type(exc).__name__}: {exc}") from exc
