"""Checks what is reachable, what it supports, and what is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from imgvec import kept
from imgvec.database import CollectionInfo, list_collections
from imgvec.definition import Definition
from imgvec.encoders.projection import load_named
from imgvec.errors import ImgvecError
from imgvec.home import at_home
from imgvec.milvus import Capabilities, Connection, connect, faults
from imgvec.milvus.faults import FoundFault
from imgvec.settings import Settings

PACKAGES = ("imgvec", "pymilvus", "milvus-lite", "torch", "transformers", "pillow")
"""What a report of a problem should name."""
OPTIONAL = {
    "onnx": "pypi: models need it (pip install 'imgvec[offline]')",
    "pi-heif": "HEIC needs it (pip install 'imgvec[heif]')",
    "rawpy": "camera RAW needs it (pip install 'imgvec[raw]')",
    "pillow-jxl-plugin": "JPEG XL needs it (pip install 'imgvec[jxl]')",
}
"""The same of extras, with what is lost without them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    subject: str
    state: Literal["ok", "warning", "wrong"]
    said: str
    collections: tuple[str, ...] = ()
    """Of a fault of the server's release: the collections that it touches, if it is not the server's own."""
    mended: tuple[str, ...] = ()
    """The first good release of each line of Milvus that has one."""
    link: str = ""
    """The issue or the advisory."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Check everything imgvec needs, in the order in which it is needed; yields each finding at once."""
    yield from _packages()
    yield _device(settings)
    yield from _weights()
    there = "://" in settings.uri or at_home(settings.uri).exists()
    try:
        with _connected(settings, there) as connection:
            yield from _backend(connection, settings.uri if not there else connection.uri, there)
            held = list_collections(settings) if there else []
            yield from _encoders_of(connection, held)
            yield from _faults(connection, [each.name for each in held])
    except ImgvecError as exc:
        yield Finding("milvus", "wrong", str(exc))


@contextmanager
def _connected(settings: Settings, there: bool) -> Iterator[Connection]:
    """The backend. If the Milvus Lite file does not exist yet, a temporary one is used, so that checking creates
    nothing.
    """
    with ExitStack() as stack:
        uri = settings.uri
        if not there and uri.endswith(".db"):
            uri = str(Path(stack.enter_context(TemporaryDirectory())) / "looked_at.db")
        yield stack.enter_context(
            connect(uri, token=settings.token, db_name=settings.db_name, timeout=settings.timeout)
        )


def _packages() -> Iterator[Finding]:
    yield Finding("python", "ok", sys.version.split()[0])
    for name in (*PACKAGES, *OPTIONAL):
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            lost = OPTIONAL.get(name)
            yield Finding(name, "warning" if lost else "wrong", f"not installed; {lost}" if lost else "not installed")


def _device(settings: Settings) -> Finding:
    from imgvec.encoders.devices import choose_device, choose_dtype

    try:
        device = choose_device(settings.device)
        dtype = choose_dtype(settings.dtype, device)
    except ImgvecError as exc:
        return Finding("device", "wrong", str(exc))
    return Finding("device", "ok", f"{device}, {str(dtype).removeprefix('torch.')}; {os.cpu_count()} processors")


def _weights() -> Iterator[Finding]:
    """Whether the default model, or its fallback, is available."""
    from imgvec.encoders import describe

    section = Definition.load("photos").encoder
    for model, otherwise in ((section.model, section.fallback), (section.fallback, None)):
        if model is None:
            return
        try:
            found = describe(model)
        except ImgvecError as exc:
            yield Finding(model, "warning" if otherwise else "wrong", str(exc))
        else:
            said = f"{found['family']}, dim {found['dim']}, {found['pooling']} pooling, {found['image_size']} px"
            yield Finding(model, "ok", said)
            return


def _backend(connection: Connection, uri: str, there: bool) -> Iterator[Finding]:
    can = connection.capabilities
    yet = "" if there else "; the file does not exist yet, the first ingest creates it"
    yield Finding("milvus", "ok", f"{uri}: {can.name}{_kind(can)}{yet}")
    yield Finding("index types", "ok", ", ".join(sorted(can.index_types)))
    yield Finding("vector types", "ok", ", ".join(sorted(can.vector_types)))
    gpu = {True: "yes", False: "no", None: "unknown until one is tried"}[can.gpu]
    if danger := can.danger("IVF_SQ8"):
        yield Finding("stored vectors", "warning", danger)
    nullable, keys = ("yes" if each else "no" for each in (can.nullable, can.partition_key))
    said = f"nullable fields: {nullable}; partition keys: {keys}; vectors per collection: {can.max_vectors}"
    yield Finding("backend", "ok", f"{said}; GPU indexes: {gpu}")


def _kind(can: Capabilities) -> str:
    """What to know of a backend of that kind, after its name."""
    if can.kind == "lite":
        return ", inside this process: one process at a time opens it, without a login"
    if can.embedded:
        return ", the server of the milvus wheel, for tests and trials"
    if len(can.version) < 3:
        return f" (it says {can.reported!r}, without a patch release)"
    return f" (it says {can.reported!r})" if can.reported.removeprefix("v") != _dotted(can.version) else ""


def _faults(connection: Connection, names: Sequence[str]) -> Iterator[Finding]:
    """The known faults of the server's release that touch it, or one of these collections."""
    can, subject = connection.capabilities, "known faults"
    if can.kind == "lite":
        yield Finding(subject, "ok", "those of Milvus servers do not concern Milvus Lite")
        return
    collections = []
    for name in names:
        try:
            collections.append(connection.facts(name))
        except ImgvecError as exc:
            yield Finding(f"collection {name}", "wrong", str(exc))
    found = list(faults.found(can, collections))
    known = f"{len(found)} of {len(faults.FAULTS)} known" if found else f"none of {len(faults.FAULTS)} known"
    said = f"{known} faults of Milvus releases {'touches' if len(found) == 1 else 'touch'} this server as it is used"
    if release := faults.good_release(can.version, collections):
        said += f"; Milvus {_dotted(release)} is the nearest with all the fixes"
    yield Finding(subject, "ok", said)
    for each in found:
        yield _fault(each)


def _fault(found: FoundFault) -> Finding:
    fault = found.fault
    mended = tuple(map(_dotted, fault.mended))
    parts = [fault.says + (f" (collections: {', '.join(found.collections)})" if found.collections else "")]
    if mended:
        unsure = "" if found.sure else ", which this build may contain"
        parts.append(f"mended in Milvus {', '.join(mended)}{unsure}")
    else:
        parts.append("no release mends it")
    return Finding(
        fault.name,
        found.severity,
        "; ".join([*parts, f"{'until then ' if mended else ''}{fault.do}", fault.link]),
        found.collections,
        mended,
        fault.link,
    )


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _encoders_of(connection: Connection, collections: Sequence[CollectionInfo]) -> Iterator[Finding]:
    """Whether each collection can be asked with pictures."""
    from imgvec.encoders import describe

    for found in collections:
        model, projection = found.binding.model, found.binding.projection
        try:
            describe(model, found.binding.revision)
            if found.binding.keeps_projection:
                kept.kept(connection.open(found.name, load=False), found.binding)
            elif projection is not None:
                load_named(projection)
        except ImgvecError as exc:
            yield Finding(f"collection {found.name}", "wrong", f"its encoder is not available: {exc}")
        else:
            behind = f", behind it {projection}" if projection else ""
            yield Finding(f"collection {found.name}", "ok", f"{model}, dim {found.binding.dim}{behind}")
