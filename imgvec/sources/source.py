"""A source as a value: where images are, and how to read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

from typing_extensions import TypedDict, Unpack

from imgvec.errors import SourceError, UnreadableImage, UsageError
from imgvec.options import Option, documented, settled
from imgvec.sources import files, registry, remote
from imgvec.sources.braces import expand, has_braces
from imgvec.sources.columns import Columns, FieldProblem, Fields
from imgvec.sources.frames import Table
from imgvec.sources.given import Given, read_given
from imgvec.sources.gone import gone_from
from imgvec.sources.guards import Guards
from imgvec.sources.keeping import Keeper
from imgvec.sources.kinds import Kind
from imgvec.sources.metadata import Metadata
from imgvec.sources.named import path_of, scheme_of
from imgvec.sources.passing import Excludes
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading, absolute, printable
from imgvec.sources.records import Found, PassedOver, Record
from imgvec.sources.spellings import check_encoding
from imgvec.sources.urls import not_fetched

Spec = str | Path | Record | Iterable[str | Path | Record | Given]
"""Anything a source can be. A tuple of paths is an iterable; an (id, picture, metadata) tuple must be inside one."""


class SourceOptions(TypedDict, total=False):
    """How a source is read."""

    root: Annotated[str | Path | None, Option(json=False, metavar="DIR", help="Store paths relative to this folder.")]
    uri_column: Annotated[str | None, Option(metavar="COLUMN", help="Manifest column with the location of the image.")]
    id_column: Annotated[
        str | None, Option(metavar="COLUMN", help="Manifest column with the ids; by default ids are made from uris.")
    ]
    image_column: Annotated[str | None, Option(metavar="COLUMN", help="Parquet or Arrow column with the image bytes.")]
    mapping: Annotated[
        Mapping[str, str] | None,
        Option(
            flags=("--map",),
            metavar="COLUMN=FIELD",
            help="Store COLUMN of the manifest, sidecars or metadata in FIELD; other columns are then ignored. "
            "Repeatable.",
        ),
    ]
    recursive: Annotated[bool, Option(True, shell=False, help="Include subfolders.")]
    follow_links: Annotated[
        bool, Option(False, json=False, help="Follow symbolic links below a folder; each target is read once.")
    ]
    exclude: Annotated[
        Sequence[str],
        Option(
            (),
            metavar="GLOB",
            help="Skip matching paths below the source, as in .gitignore ('raw/', '*.png', '/top'); repeatable.",
        ),
    ]
    name_encoding: Annotated[
        str | None,
        Option(metavar="ENCODING", help="Encoding of names in archives that do not declare one, such as cp932."),
    ]


@dataclass(frozen=True, slots=True, init=False)
class Source:
    """Images to ingest, and how to read them; iterating yields them one by one, in a stable order.

    `spec` is recognised by its scheme, its file extension or its content:

    - a folder, walked in the order of names, whatever the file system; hidden entries are left out without a word,
      folders of systems (`SYSTEM_FOLDERS`) and symbolic links are passed over and said; archives and manifests in it
      are not opened
    - a file: an image, or with the ending of one an archive (`.tar`, `.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`, `.zip`),
      a manifest (`.parquet`, `.arrow`, `.csv`, `.tsv`, `.jsonl`, `.ndjson`) or a list (`.txt`)
    - a data set of Hugging Face on disk: a folder that `save_to_disk` wrote
    - a glob of `*`, `?`, `[…]` and `**`, which takes files only; one that ends like an archive, a manifest or a list
      (`shards/*.tar`) reads each of these; a path that exists is never a glob
    - a brace pattern (`shard-{000..127}.tar`), each name of which is a source
    - an http(s) URL of an image, fetched as the `Guards` allow; or any other URL, which fsspec reads
    - what a plug-in adds (`registry`)
    - a `Record`, or a tuple (id, picture, metadata) within an iterable: the bytes of an image file, a PIL image or an
      array
    - an iterable of these, each read when its turn comes; a missing one is refused instead of raising an error.

    `~` is expanded, and a link given as the source itself is followed. A record's uri is the absolute path without
    resolving links, or the path relative to `root`; the URL; or `archive.tar!member`. With `follow_links` the uri is
    the link's own path, and each target is read only once: not again if the source contains it directly or through
    another link. `exclude` applies to paths below a folder, to members of an archive, and to what a manifest or list
    names below its own folder.
    """

    spec: Spec
    options: SourceOptions

    @documented(SourceOptions)
    def __init__(self, spec: Spec, **options: Unpack[SourceOptions]) -> None:
        """Raises `UsageError` for an invalid option; whether anything exists is checked when the source is read."""
        if isinstance(spec, Table | Mapping | bytes | bytearray | memoryview) or not isinstance(
            spec, str | Record | Iterable | Path
        ):
            raise UsageError(
                f"a {type(spec).__name__} is not a source: give a path, a URL, or an iterable of paths, records and "
                f"(id, picture, metadata)"
            )
        object.__setattr__(self, "spec", spec)
        object.__setattr__(self, "options", settled(SourceOptions, options))
        check_encoding(self.options["name_encoding"])

    def __iter__(self) -> Iterator[Found]:
        return self.read()

    def read(
        self,
        *,
        metadata: Metadata | None = None,
        part: tuple[int, int] | None = None,
        keep: str | Path | None = None,
        guards: Guards | None = None,
        field_problem: FieldProblem | None = None,
    ) -> Iterator[Found]:
        """Stream the images, what is refused before it is read, and what is passed over.

        `field_problem` says why a name cannot be a field: such columns are ignored, with one `Notice`. `part` = (rank,
        of) reads one of `of` disjoint parts that together are the source; the record's id alone decides. `keep` names a
        folder in which pictures given as bytes are stored by content hash; their uri is then that file. Refusals are
        values: nothing that could be an image is dropped silently, not even a folder that cannot be listed.

        Raises `UsageError` for an invalid part or mapping. Raises `SourceError` at once for a single path that is
        missing, cannot be listed or is outside the root, and later if an archive or a manifest ends early, after
        everything before that point.
        """
        options = self.options
        base = None if options["root"] is None else files.as_present(absolute(options["root"]))
        if base is not None and not os.path.isdir(base):  # noqa: PTH112
            raise SourceError(f"root {base} is not a folder")
        if part is not None and not 0 <= part[0] < part[1]:
            raise UsageError(
                f"part {part[0]} of {part[1]} does not exist: ranks count from 0 and must be below the number of parts"
            )
        reading = Reading(
            root=base,
            recursive=options["recursive"],
            metadata=metadata,
            columns=self.columns,
            fields=Fields(self.columns, field_problem),
            guards=guards or Guards(),
            part=part,
            keeper=None if keep is None else Keeper(files.as_present(absolute(keep))),
            follow_links=options["follow_links"],
            excludes=Excludes.of(options["exclude"]),
            name_encoding=options["name_encoding"],
        )
        if isinstance(self.spec, str | Path) and not has_braces(self.spec):
            found = _read(self.spec, reading, single=True)
        else:
            found = _each(self._specs, reading)
        refused = () if metadata is None else metadata.refused
        return _to_the_end(reading.told(reading.own(chain(refused, found))), reading)

    @property
    def columns(self) -> Columns:
        """What the columns of manifests, of the metadata and the keys of sidecars mean."""
        options = self.options
        return Columns(options["uri_column"], options["id_column"], options["image_column"], options["mapping"])

    def gone(self, *, on_unsure: Callable[[str], None] | None = None) -> Callable[[str], bool]:
        """A test of uris: whether an image that this source had is no longer there (`gone_from`)."""
        root, exclude = self.options["root"], self.options["exclude"]
        return gone_from(list(self._paths()), root=root, exclude=exclude, on_unsure=on_unsure)

    def each(self) -> Iterator[Source]:
        """A source for each path that the spec names; raises `UsageError` if it holds something else."""
        return (Source(one, **self.options) for one in self._paths())

    def held(self) -> Source:
        """The same source, which can be read more than once: a spec that is an iterator is gone through now."""
        return self if isinstance(self.spec, str | Path | Record) else Source(list(self.spec), **self.options)

    def of_paths(self) -> Source:
        """The same source, held, where all that it names are paths or addresses; raises `UsageError`."""
        return self if isinstance(self.spec, str | Path) else Source(list(self._paths()), **self.options)

    @property
    def is_listed_fast(self) -> bool:
        """Whether going through the records reads no image and no manifest: folders, files, globs on disk."""
        if isinstance(self.spec, str | Path):
            return _is_listed_fast(self.spec)
        return isinstance(self.spec, Sequence) and all(
            isinstance(one, str | Path) and _is_listed_fast(one) for one in self.spec
        )

    @property
    def _specs(self) -> Iterable[str | Path | Record | Given]:
        return [self.spec] if isinstance(self.spec, str | Path | Record) else self.spec

    def _paths(self) -> Iterator[str | Path]:
        for one in self._specs:
            if not isinstance(one, str | Path):
                raise UsageError(
                    "images given as bytes or records cannot be pruned, because there is no way to "
                    "tell whether they are gone"
                )
            yield one


def _is_listed_fast(spec: str | Path) -> bool:
    spec = str(spec)
    if scheme_of(spec) is not None or registry.by_ending(spec) is not None:
        return False
    path = absolute(spec)
    return not (os.path.isdir(path) and registry.by_folder(path))  # noqa: PTH112


def _to_the_end(items: Iterator[Found], reading: Reading) -> Iterator[Found]:
    with closing(reading.connections):
        yield from items


def _each(specs: Iterable[str | Path | Record | Given], reading: Reading) -> Iterator[Found]:
    for spec in specs:
        if isinstance(spec, str | Path):
            for one in expand(spec):
                yield from _read(one, reading, single=False)
        else:
            yield read_given(spec, reading)


def _read(spec: str | Path, reading: Reading, *, single: bool) -> Iterator[Found]:
    """One source, checked now; what is not there is an error where it is the single one, otherwise a refusal."""
    scheme = scheme_of(spec) if isinstance(spec, str) else None
    if scheme not in (None, "file"):
        return _at_url(str(spec), str(scheme), reading, single=single)
    path = files.as_present(absolute(path_of(str(spec)) if scheme else spec))
    uri = reading.uri(path)
    kind = registry.by_ending(path)
    if kind is not None and os.path.isfile(path):  # noqa: PTH113
        return kind.read(Place(path, uri), reading)
    if os.path.isdir(path) and (folder := registry.by_folder(path)):  # noqa: PTH112
        return folder.read(Place(path, uri), reading)
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
            raise SourceError(f"{printable(path)}: no file matches the pattern; {files.instead(passed)}")
    return (files.read_single if single else files.read_one)(path, reading)


def _contents(kind: Kind, places: Iterable[str | PassedOver], reading: Reading) -> Iterator[Found]:
    """What the archives, manifests or lists hold or name."""
    for one in places:
        if isinstance(one, PassedOver):
            yield one
        else:
            yield from kind.read(Place(one, one if "://" in one else reading.uri(one)), reading)


def _at_url(url: str, scheme: str, reading: Reading, *, single: bool) -> Iterator[Found]:
    by_scheme = registry.by_scheme(scheme)
    if scheme in ("http", "https") and registry.by_ending(url.partition("?")[0]):
        raise not_fetched(url)
    if by_scheme is not None:
        return by_scheme.read(Place(url, url), reading)
    kind = registry.by_ending(url)
    found = remote.find(url, reading, every_suffix=kind is not None)
    first = next(found, None)
    if first is None:
        if single:
            raise SourceError(f"{url}: nothing found there; check the address")
        return iter([UnreadableImage(url, "missing")])
    urls = chain([first], found)
    if kind is None:
        return (one if isinstance(one, PassedOver) else remote.read_object(one, reading) for one in urls)
    return _contents(kind, urls, reading)
