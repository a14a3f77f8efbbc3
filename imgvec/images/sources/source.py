"""The one entry to every kind of source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images.fetch import FetchPolicy, without_userinfo
from imgvec.images.metadata import Metadata
from imgvec.images.records import Found, PassedOver
from imgvec.images.sources import files, remote
from imgvec.images.sources.braces import expand, has_braces
from imgvec.images.sources.lists import read_list
from imgvec.images.sources.manifests import read_manifest
from imgvec.images.sources.named import path_of, read_url, scheme_of
from imgvec.images.sources.parquets import read_parquet
from imgvec.images.sources.passing import Excludes
from imgvec.images.sources.places import Place, kind_of
from imgvec.images.sources.reading import Columns, Reading, absolute, printable
from imgvec.images.sources.spellings import check_encoding
from imgvec.images.sources.tars import read_tar
from imgvec.images.sources.zips import read_zip

MAX_BYTES = 256 * 2**20
"""A larger image is refused."""

_READERS: Mapping[str, Callable[[Place, Reading], Iterator[Found]]] = {
    "tar": read_tar,
    "zip": read_zip,
    "parquet": read_parquet,
    "manifest": read_manifest,
    "list": read_list,
}


def read_source(
    source: str | Path | Iterable[str | Path],
    *,
    root: str | Path | None = None,
    recursive: bool = True,
    metadata: Metadata | None = None,
    uri_column: str | None = None,
    id_column: str | None = None,
    image_column: str | None = None,
    mapping: Mapping[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
    policy: FetchPolicy | None = None,
    part: tuple[int, int] | None = None,
    follow_links: bool = False,
    exclude: Iterable[str] = (),
    name_encoding: str | None = None,
    field_problem: Callable[[str], str | None] | None = None,
) -> Iterator[Found]:
    """Stream the images of a source, what is refused before it is read, and what is passed over, in a stable order.

    By its scheme or its ending a source is

    - a folder, walked in the order of names, whatever the file system; hidden entries are left out without a word,
      folders of systems (`SYSTEM_FOLDERS`) and symbolic links are passed over and said; archives and manifests in it
      are not opened
    - a file: an image, or with the ending of one an archive (`.tar`, `.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`, `.zip`),
      a manifest (`.parquet`, `.csv`, `.tsv`, `.jsonl`, `.ndjson`) or a list (`.txt`)
    - a glob of `*`, `?`, `[…]` and `**`, which takes files only; one that ends like an archive, a manifest or a list
      (`shards/*.tar`) reads each of these; a path that exists is never a glob
    - a brace pattern (`shard-{000..127}.tar`), each name of which is a source
    - an http(s) URL of an image, fetched as `policy` allows; or any other URL, which fsspec reads
    - an iterable of these, each taken when its turn comes; one that is not there is refused rather than an error.

    `~` is expanded; a link that is named itself is followed. A record's uri is the absolute path without resolving
    links, or, with `root`, the path relative to it; the URL; or `archive.tar!member`.

    With `follow_links` links below a folder are followed; the uri is the link's own path, and what a link leads to is
    taken once: not where the source has it by itself, or from another link. `exclude` are patterns as in .gitignore for
    paths below the source (in an archive: its members; in a manifest or list: what it names, below its folder).
    `name_encoding` is that of names in archives that do not say theirs, such as `cp932`; one of `ENCODINGS`.

    `uri_column`, `id_column`, `image_column` and `mapping` (column to field) say what the columns of manifests, of the
    metadata and the keys of sidecars mean. `field_problem` says why there can be no field of a name: such a column is
    passed over, with one `Notice`. `part` = (rank, of) reads one of `of` disjoint parts that together are the source;
    the record's id alone decides. Refusals are values: nothing that could be an image is lost without a word, and a
    folder that cannot be listed is one too.

    Raises `SourceError`, for a single path at the call: nothing is there, it cannot be listed, or it is outside `root`;
    and where an archive or a manifest breaks off, after what came before.
    """
    base = None if root is None else files.as_present(absolute(root))
    if base is not None and not os.path.isdir(base):  # noqa: PTH112
        raise SourceError(f"{base}: the root is not a folder")
    if part is not None and not 0 <= part[0] < part[1]:
        raise SourceError(f"part {part[0]} of {part[1]}: the rank counts from 0 and stays below the number of parts")
    columns = Columns(uri_column, id_column, image_column, mapping, field_problem or (lambda _: None))
    columns.check()
    check_encoding(name_encoding)
    reading = Reading(
        root=base,
        recursive=recursive,
        metadata=metadata,
        columns=columns,
        max_bytes=max_bytes,
        policy=policy or FetchPolicy(),
        part=part,
        follow_links=follow_links,
        excludes=Excludes.of(exclude),
        name_encoding=name_encoding,
    )
    if isinstance(source, str | Path) and not has_braces(source):
        found = _read(source, reading, single=True)
    else:
        found = _each([source] if isinstance(source, str | Path) else source, reading)
    refused = metadata.refused if metadata is not None else ()
    return _to_the_end(reading.told(reading.own(chain(refused, found))), reading)


def is_listed_fast(source: str | Path | Iterable[str | Path]) -> bool:
    """Whether going through the source's records reads no image and no manifest: folders, files, globs on disk."""
    sources = [source] if isinstance(source, str | Path) else source
    return all(scheme_of(str(one)) is None and kind_of(str(one)) is None for one in sources)


def _to_the_end(items: Iterator[Found], reading: Reading) -> Iterator[Found]:
    with closing(reading.connections):
        yield from items


def _each(sources: Iterable[str | Path], reading: Reading) -> Iterator[Found]:
    for source in sources:
        for one in expand(source):
            yield from _read(one, reading, single=False)


def _read(source: str | Path, reading: Reading, *, single: bool) -> Iterator[Found]:
    """One source, checked now; what is not there is an error where it is the single one, otherwise a refusal."""
    scheme = scheme_of(source) if isinstance(source, str) else None
    if scheme in ("http", "https"):
        return _fetched(str(source), reading)
    if scheme not in (None, "file"):
        return _remote(str(source), reading, single=single)
    path = files.as_present(absolute(path_of(str(source)) if scheme else source))
    uri = reading.uri(path)
    kind = kind_of(path)
    if kind is not None and os.path.isfile(path):  # noqa: PTH113
        return _READERS[kind](Place(path, uri), reading)
    if kind is not None and files.MAGIC.search(path) and not os.path.lexists(path):
        matching = files.files_matching(path, reading)
        passed: list[PassedOver] = []
        for one in matching:
            if isinstance(one, str):
                return chain(passed, _contents(kind, chain([one], matching), reading))
            passed.append(one)
        if passed and not single:
            return iter(passed)
        if passed:
            raise SourceError(f"{printable(path)}: nothing matches the pattern; {files.instead(passed)}")
    return (files.read_single if single else files.read_one)(path, reading)


def _contents(kind: str, places: Iterable[str | PassedOver], reading: Reading) -> Iterator[Found]:
    """What the archives, manifests or lists hold or name."""
    for one in places:
        if isinstance(one, PassedOver):
            yield one
        else:
            yield from _READERS[kind](Place(one, one if "://" in one else reading.uri(one)), reading)


def _fetched(url: str, reading: Reading) -> Iterator[Found]:
    if kind_of(url.partition("?")[0]):
        shown = without_userinfo(printable(url))
        raise SourceError(f"{shown}: archives, manifests and lists are read from disk or an object store: download it")
    return iter([read_url(url, reading)])


def _remote(url: str, reading: Reading, *, single: bool) -> Iterator[Found]:
    kind = kind_of(url)
    found = remote.find(url, reading, every_suffix=kind is not None)
    first = next(found, None)
    if first is None:
        if single:
            raise SourceError(f"{url}: nothing is there; check the address")
        return iter([UnreadableImage(url, "missing")])
    urls = chain([first], found)
    if kind is None:
        return (one if isinstance(one, PassedOver) else remote.read_object(one, reading) for one in urls)
    return _contents(kind, urls, reading)
