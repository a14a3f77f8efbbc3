"""`ImageCollection.ingest` and `prune`: add a source to a collection, and remove rows whose image is gone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typing_extensions import Unpack

from imgvec import kept, pruning
from imgvec.database import lite_file
from imgvec.definition import description
from imgvec.engines import LocalEngine
from imgvec.errors import SourceError, UsageError
from imgvec.faces import finder_of
from imgvec.filters import field as row_field
from imgvec.forgetting import forgetting_of
from imgvec.images import DecodePolicy, FetchPolicy
from imgvec.ingest import Grid, IngestOptions, Job, Regions, Resources, RunOptions, Views
from imgvec.ingest import prune as delete_gone
from imgvec.ingest.hints import hints
from imgvec.ingest.own_files import read_but_for
from imgvec.loading import loaded_encoder
from imgvec.milvus import bulk
from imgvec.opening import opened_journal, opened_store
from imgvec.options import settled, taken
from imgvec.plurals import counted
from imgvec.pruning import PruneOptions
from imgvec.report import IngestReport
from imgvec.rotating import rotating
from imgvec.rows import CONTENT_HASH, ID, URI
from imgvec.settings import Settings
from imgvec.sources import Guards, Metadata, Record, Source, Spec, load_metadata, reopen
from imgvec.sources.reopening import Roots
from imgvec.store import Writes

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.encoders.protocol import Encoder


def ingest(collection: ImageCollection, source: Source, chosen: IngestOptions) -> IngestReport:
    """`ImageCollection.ingest`, with every option settled."""
    part, via, on_notice = chosen["part"], chosen["via"], chosen["on_notice"]
    if via is not None and collection.definition.views is not None:
        raise UsageError(
            "a collection of views has a journal beside it, which files for a bulk import cannot fill: leave via out"
        )
    if chosen["prune"] and (part is not None or via is not None):
        raise UsageError("prune needs the whole source and the collection itself: do not use part or via")
    engine = chosen["engine"] or LocalEngine()
    is_local = isinstance(engine, LocalEngine)
    if chosen["prune"]:
        source = source.of_paths()
    elif not is_local:
        source = source.held()
    collection.store.link.check_meant()
    known: Metadata | None = None
    if chosen["metadata"] is not None:
        known = load_metadata(chosen["metadata"], path_column=source.options["uri_column"])
    read = partial(
        source.read,
        metadata=known,
        part=part,
        keep=chosen["keep"],
        guards=guards(collection.settings),
        field_problem=collection.definition.field_problem,
    )
    opened = collection.handle.target
    # a Milvus Lite file and a folder of Parquet have one process that writes them: this one
    alone = via is not None or collection.store.capabilities.kind == "lite"
    there = (collection.alias or collection.name, collection.settings, collection.store.incarnation)
    with _written_to(collection, via) as target:
        job = Job(
            records=partial(read_but_for, _own_files(collection.settings, source.options["root"]), read),
            row_fields=collection.definition.row_fields,
            resources=resources(collection),
            store=target,
            encoders={vector: partial(opened.encoders.of, vector) for vector in collection.bindings},
            views=views(collection),
            files=None if chosen["on_duplicate"] == "keep" else StoredFiles(collection),
            store_factory=None if alone else partial(opened_store, *there),
            journal_factory=None if alone or opened.journal is None else partial(opened_journal, *there),
            encoder_factories={} if is_local else encoder_factories(collection),
        )
        begun = _finish_forgetting(collection, on_notice)
        with rotating(opened) if via is None else nullcontext() as rotation:
            report = engine.ingest(job, **taken(RunOptions, chosen))
        if rotation is not None:
            rotation.report(report)
    if begun:  # pictures that had to be made again first
        _finish_forgetting(collection, on_notice)
    if on_notice and not report.interrupted:
        for hint in hints(report) if part is None or report.seen else ():
            on_notice(hint)
        # which rows of it were used is known where it was read
        if known is not None and known.unused and part is None and is_local:
            first = known.unused[0]
            on_notice(f"{counted(len(known.unused), 'row')} of the metadata without an image (the first: {first})")
    if chosen["prune"] and not report.interrupted:
        report.pruned = prune(collection, source, on_notice=on_notice)
    return report


def _finish_forgetting(collection: ImageCollection, on_notice: Callable[[str], None] | None) -> int:
    """Forget whom somebody began to forget and did not; returns how many pictures have to be made again first."""
    if not collection.definition.has_faces:
        return 0
    found = forgetting_of(collection.handle.target).finish()
    for each in found.people:
        if on_notice:
            on_notice(f"{each.person} is forgotten now, as was begun and not finished before")
    return found.waiting


def prune(collection: ImageCollection, source: Source, **options: Unpack[PruneOptions]) -> int:
    """`ImageCollection.prune`."""
    asked = settled(PruneOptions, options)
    on_notice = asked["on_notice"]
    source = source.of_paths()
    for one in source.each():
        way_out = pruning.way_out(collection.name, str(one.spec), source.options["root"])
        try:
            found = one.read()
        except SourceError as exc:
            raise SourceError(f"nothing was pruned: {exc}; {way_out}") from exc
        if not _knows_any(collection, (item.id for item in found if isinstance(item, Record))):
            raise SourceError(
                f"nothing was pruned: {one.spec} contains none of the collection's images; is its disk mounted? "
                f"Otherwise, {way_out}"
            )
    left = Counter[str]()
    is_gone = source.gone(on_unsure=lambda uri: left.update([pruning.archive_of(uri)]))
    pruned = delete_gone(collection.pictures, is_gone, confirm=asked["confirm"])
    if left and on_notice:
        on_notice(pruning.unsure(collection.name, left))
    return pruned


def reopened(settings: Settings, uri: str, hashed: str | None, roots: Roots | None, source: Source | None) -> bytes:
    """`ImageCollection.reopen`."""
    return reopen(
        uri,
        settings.roots if roots is None else roots,
        guards=guards(settings),
        columns=source.columns if source else None,
        hashed=hashed,
    )


def views(collection: ImageCollection) -> Views | None:
    """How the collection has several rows a picture; None where it has one."""
    wanted, journal = collection.definition.views, collection.handle.target.journal
    if wanted is None or journal is None:
        return None
    if wanted.faces is not None:
        return Views(finder_of(collection.encoder, wanted.faces), journal)
    return Views(Regions(wanted.regions) if wanted.regions is not None else Grid(wanted.grid or ()), journal)


class StoredFiles:
    """`ingest.Files` of a collection."""

    def __init__(self, collection: ImageCollection) -> None:
        self._store, self._journal = collection.store, collection.handle.target.journal

    def with_content(self, hashes: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """By content hash, the uris of the pictures that have it, by their ids."""
        rows = self._journal or self._store
        expression = self._store.rendered(row_field(CONTENT_HASH).in_(hashes))
        found: dict[str, dict[str, str]] = {}
        for row in (row for batch in rows.scan([CONTENT_HASH, URI], expression) for row in batch):
            found.setdefault(row[CONTENT_HASH], {})[row[ID]] = row[URI]
        return found


def encoder_factories(collection: ImageCollection) -> dict[str, Callable[[], Encoder]]:
    """What loads each encoder in another process, which is given the projection that the collection keeps."""
    return {
        vector: partial(
            loaded_encoder, collection.name, binding, collection.settings, vector, kept.kept(collection.store, binding)
        )
        for vector, binding in collection.bindings.items()
    }


def as_source(source: Source | Spec) -> Source:
    """What is given as a `Source`."""
    return source if isinstance(source, Source) else Source(source)


def guards(settings: Settings) -> Guards:
    """What the settings allow a source."""
    return Guards(settings.max_file_bytes, FetchPolicy(settings.allowed_networks, settings.fetch_timeout))


def resources(collection: ImageCollection) -> Resources:
    """What the settings give an ingest."""
    return resources_of(collection.settings, collection.definition.images.sixteen_bit)


def resources_of(settings: Settings, sixteen_bit: Literal["auto", "full"] | int = "auto") -> Resources:
    """What the settings give an ingest that reads pictures of 16 bits so."""
    return Resources(
        threads=settings.threads,
        max_pixels=settings.max_pixels,
        max_bytes=settings.max_file_bytes,
        processes=settings.decode_processes,
        decoding=DecodePolicy(settings.formats, sixteen_bit),
        retry_seconds=settings.retry_seconds,
    )


@contextmanager
def _written_to(collection: ImageCollection, via: str | Path | None) -> Iterator[Writes]:
    """What an ingest writes to: the collection, or a folder of bulk-import files for it."""
    if via is None:
        yield collection.store
        return
    with bulk.BulkFolder(via, collection.store) as folder:
        remembered = description.read(collection.name, bulk.description(via))
        description.check_bindings(collection.name, remembered.bindings, collection.bindings)
        keeps = kept.of_all(collection.store, collection.bindings)
        folder.keep({each.digest(): each.packed() for each in keeps.values()})
        yield folder


def _own_files(settings: Settings, root: str | Path | None) -> str | None:
    """The prefix of uris for this database's own files, which may be in the ingested folder."""
    lite = lite_file(settings)
    return f"{os.path.relpath(lite, root) if root is not None else lite}/" if lite else None


def _knows_any(collection: ImageCollection, ids: Iterator[str]) -> bool:
    while some := list(islice(ids, 1000)):
        if collection.pictures.has_any(some):
            return True
    return False
