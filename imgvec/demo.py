"""The whole workflow at once: ingest real photos, search with edited copies, write a page with the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgvec.collection import ImageCollection
from imgvec.errors import MissingExtra, SourceError, UnreadableImage
from imgvec.filters import field
from imgvec.gallery import Picture, Section, page
from imgvec.images import DecodePolicy, FileReader, decode
from imgvec.images.edits import EDITS
from imgvec.report import IngestReport
from imgvec.search.answer import Answer, Hit
from imgvec.search.forms import ImageFile
from imgvec.settings import Settings
from imgvec.sources import Record, Source, record_id

PHOTOS = (
    "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png grass.png "
    "gravel.png hubble_deep_field.jpg ihc.png microaneurysms.png moon.png motorcycle_left.png page.png retina.jpg "
    "rocket.jpg text.png"
).split()
"""The photographs inside scikit-image's wheel."""

COLLECTION = "demo"
ORIGINALS, COPIES = "originals", "copies"
"""Albums."""
SHOWN = 5
"""Hits shown for a query."""


@dataclass(frozen=True, slots=True)
class Query:
    """One edited copy that was searched for."""

    edit: str
    copy: Path
    original: str
    """uri of the image it was made from."""
    hits: Answer

    @property
    def found(self) -> bool:
        return bool(self.hits) and self.hits[0].uri == self.original


@dataclass(frozen=True, slots=True)
class DemoResult:
    report: IngestReport
    queries: list[Query]
    model: str
    page: Path
    settings: Settings
    """Open the collection again, with leave to show its pictures."""

    def by_edit(self) -> dict[str, tuple[int, int]]:
        """For each edit, how many copies found their original at rank 1, and how many there were."""
        return {
            edit: (sum(q.found for q in self.queries if q.edit == edit), sum(q.edit == edit for q in self.queries))
            for edit in EDITS
        }


def run(
    folder: str | Path | None,
    out: Path,
    settings: Settings,
    *,
    with_copies: bool = False,
    on_notice: Callable[[str], None] | None = None,
) -> DemoResult:
    """Ingest the images of `folder`, search with an edited copy of each, and write the page into the folder `out`.

    The default `folder` is the photos shipped with scikit-image. The collection is a Milvus Lite file in `out`, or is
    on the server of `settings.uri` if that is set. `with_copies` also ingests one edited copy of each image, for who
    looks for duplicates; the album says which are copies.
    """
    # a folder that holds the output of an earlier run does not take its own copies for originals
    originals = [path for path in _originals(folder) if not path.is_relative_to(out.absolute())]
    out.mkdir(parents=True, exist_ok=True)
    if settings.uri == Settings.model_fields["uri"].default:
        settings = settings.model_copy(update={"uri": str(out / "demo.db")})
    with ImageCollection.create(
        COLLECTION, definition="photos", exist_ok=True, settings=settings, on_notice=on_notice
    ) as photos:
        report = photos.ingest(originals, metadata={str(path): {"album": ORIGINALS} for path in originals})
        copies = [made for path in originals for made in _copies(path, out / "copies", settings)]
        # an earlier run may have ingested copies, which would find themselves
        answers = photos.search_many(
            [ImageFile(copy) for _, copy, _ in copies], limit=SHOWN, where=field("album") == ORIGINALS
        )
        queries = [Query(*copy, hits) for copy, hits in zip(copies, answers, strict=True)]
        if with_copies:
            some = _one_of_each(queries)
            photos.ingest(some, metadata={str(path): {"album": COPIES} for path in some})
        model = photos.binding.model
    roots = {path.parent.resolve() for path in originals} | {out.resolve()}
    shown = settings.model_copy(update={"roots": tuple(sorted(roots))})
    result = DemoResult(report, queries, model, out / "index.html", shown)
    result.page.write_text(_page(result), encoding="utf-8")
    return result


def _originals(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        found = [Path(item.uri) for item in Source(folder) if isinstance(item, Record)]
        if not found:
            raise SourceError(f"{folder}: contains no images")
        yield from found
        return
    try:
        import skimage
    except ImportError as exc:
        raise MissingExtra(
            "demo", "the demo uses the photos shipped with scikit-image", otherwise="use a folder of your own"
        ) from exc
    data = Path(skimage.__file__).parent / "data"
    yield from (data / name for name in PHOTOS)


def _copies(path: Path, folder: Path, settings: Settings) -> Iterator[tuple[str, Path, str]]:
    """The edited copies of one image, written below `folder`: edit, file, the original's uri."""
    uri = str(path)
    try:
        data = FileReader(path, uri).read(settings.max_file_bytes)
        image = decode(data, uri=uri, max_pixels=settings.max_pixels, policy=DecodePolicy(settings.formats)).image
    except UnreadableImage:  # ingest has refused and counted it
        return
    for edit, made in EDITS.items():
        # two originals of one name lie in two folders; the id keeps their copies apart
        copy = folder / edit.replace(" ", "-") / f"{path.stem}-{record_id(uri)[:8]}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(made(image))
        yield edit, copy, uri


def _one_of_each(queries: Sequence[Query]) -> list[Path]:
    """A copy of each original, now by one edit, now by another."""
    edits = list(EDITS)
    numbers = {original: number for number, original in enumerate(dict.fromkeys(each.original for each in queries))}
    return [each.copy for each in queries if each.edit == edits[numbers[each.original] % len(edits)]]


def _page(result: DemoResult) -> str:
    found = sum(query.found for query in result.queries)
    rows = {
        edit: [(_query(q), [_hit(hit, q) for hit in q.hits]) for q in result.queries if q.edit == edit]
        for edit in EDITS
    }
    return page(
        "imgvec demo",
        f"{found} of {len(result.queries)} edited copies found their original first, with vectors of "
        f"{result.model}. Each row shows a copy and then its hits, best first; the original has a green frame.",
        [(edit, f"{hit} of {of} at rank 1") for edit, (hit, of) in result.by_edit().items()],
        [Section(edit, pictures) for edit, pictures in rows.items()],
    )


def _query(query: Query) -> Picture:
    return Picture(str(query.copy), f"{Path(query.original).stem}, {query.edit}")


def _hit(hit: Hit, query: Query) -> Picture:
    return Picture(hit.uri, f"{hit.score:.3f} {Path(hit.uri).stem}", right=hit.uri == query.original, box=hit.box)
