"""Duplicates in a collection: found, shown on a contact sheet, deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from typing_extensions import Unpack

from imgvec import dates, filling
from imgvec.by_vector import searches_by
from imgvec.collection import ImageCollection
from imgvec.curation import COPIES, Deleted, Duplicates, Group, Subject, deleting, remembering, sheet
from imgvec.curation.finding import Finder
from imgvec.curation.groups import grouped
from imgvec.curation.judging import Kind
from imgvec.curation.looks import opencv
from imgvec.curation.options import DuplicatesOptions, FindOptions
from imgvec.curation.seeing import Seeing
from imgvec.curation.subjects import Subjects
from imgvec.errors import OptionError, TargetError, UnreadableImage
from imgvec.filters import field
from imgvec.images import DecodePolicy, decode
from imgvec.images.edits import thumbnail
from imgvec.options import documented, settled, taken
from imgvec.plurals import counted
from imgvec.quality.calibration import kept_calibration
from imgvec.rows import VIEW

_THUMBNAIL = 176
_GOT_AT_ONCE = 1000


@documented(DuplicatesOptions)
def duplicates(collection: ImageCollection, **options: Unpack[DuplicatesOptions]) -> Duplicates:
    """Find the pictures of a collection that are one: the same file, the same pixels, an edited copy, a burst.

    Each picture's nearest are its candidates; both are reopened and held against each other by keypoints, straight and
    mirrored, so that a copy that was cropped, framed, mirrored, made small or pressed hard is found, and pictures that
    are merely alike are not. A group is a best picture and those that were compared with it. What cannot be reopened is
    `not_looked_at`, and no duplicate unless `vectors_alone` says from which score it is.

    What was found is kept with the collection: the next run looks only at pictures that are new, and tries again those
    that could not be reopened; one that was stopped or killed goes on where it was. `keep=False` uses what earlier runs
    kept, and writes nothing. No picture is deleted: see `delete_duplicates`. Memory holds some 1,000 pictures' looks
    (200 MB at most) and what was found; up to 4 GB lie in a temporary file. Raises `MissingExtra` without OpenCV unless
    `exact`, `OptionError`, `QueryError` where there is no such `vector`, `BackendError`.
    """
    asked = settled(DuplicatesOptions, options)
    how = settled(FindOptions, taken(FindOptions, asked))
    vector, on_notice = asked["vector"], asked["on_notice"]
    if not asked["exact"]:
        opencv()
    collection = collection.pinned()
    store = searches_by(collection.store, vector)
    subjects = _subjects(collection)
    least_score = _least_score(collection, vector, asked["false_match_rate"])
    question = {
        "vector": vector,
        "incarnation": collection.store.incarnation.key,
        **{name: asked[name] for name in ("exact", "candidates", "vectors_alone", "burst_seconds")},
        "least_score": least_score,
    }
    key = remembering.key(vector, exact=asked["exact"])
    learned = collection.learned
    if on_notice:
        _tell_of_the_rest(collection, on_notice)
    state = remembering.Remembered(question) if asked["again"] else remembering.load(learned, key, question)
    since = _since(asked["since"], state.last)
    remembering.warn_of_old_rows(store, state, on_notice)
    with _seeing(collection) as seeing:
        finder = Finder(
            store,
            subjects,
            seeing,
            state,
            partial(remembering.save, learned, key) if asked["keep"] else _not_saved,
            how,
            params=collection.handle.target.search_defaults(vector).params,
            least_score=least_score,
        )
        work = finder.run()
        with work.timed("group"):
            known = _known(collection, subjects, state)
            groups = grouped(state.edges.values(), known, finder.compared)
        if least_score is None and work.candidates and on_notice:
            on_notice(
                f"{collection.name!r} is not calibrated, so each picture's {asked['candidates']} nearest were looked "
                f"at, whatever their score; `imgvec calibrate -c {collection.name}` makes that quicker"
            )
        if seeing.unseen and on_notice:
            uri, why = next(iter(seeing.reasons.items()))
            on_notice(
                f"{counted(len(seeing.unseen), 'picture')} could not be reopened, and "
                f"{'was' if len(seeing.unseen) == 1 else 'were'} not looked at; the next run tries again "
                f"({uri or 'no uri'}: {why})"
            )
        return Duplicates(
            collection=collection.name,
            vector=vector,
            groups=tuple(each for each in groups if _is_since(each, since)),
            pictures=collection.count_pictures(),
            looked_at=work.looked_at,
            candidates=work.candidates,
            least_score=least_score,
            not_looked_at=seeing.reasons,
            unseen=len(seeing.unseen),
            calls=work.calls,
            seconds=work.seconds,
            interrupted=work.interrupted,
        )


def _not_saved(_state: remembering.Remembered) -> None:
    """What a run leaves that keeps nothing: what earlier ones kept."""


def contact_sheet(
    collection: ImageCollection, found: Duplicates, file: str | Path, *, kinds: Collection[Kind] | None = None
) -> None:
    """Write the groups to one HTML page with small pictures inside; of more than 500 the largest.

    `kinds` are those to show, as by `Duplicates.of`; None for all. Raises `TargetError` where the file cannot be
    written.
    """
    groups = [*(found.groups if kinds is None else found.of(*kinds))]
    try:
        with Path(file).open("w", encoding="utf-8") as page:
            page.writelines(sheet.parts(found, groups, partial(_small, collection)))
    except OSError as exc:
        raise TargetError(f"{file}: the contact sheet cannot be written: {exc.strerror or exc}") from exc


def delete_duplicates(
    collection: ImageCollection, found: Duplicates, *, log: str | Path, kinds: Collection[Kind] = COPIES
) -> Deleted:
    """Delete from the collection all pictures but the best of each group; files are not touched.

    Only members of these `kinds` go: bursts, and what `vectors_alone` found, only where they are named. A picture that
    has changed since it was looked at stays, and so do the copies of a best one that has changed or gone, and those
    that can be opened where the best one cannot. To `log`, a file of JSON lines, is appended what is deleted: all
    fields before, and that it is gone after. Raises `TargetError`, `BackendError`.
    """
    return deleting.delete(
        collection.name,
        found.groups,
        kinds,
        Path(log),
        rows=collection.get,
        remove=collection.delete,
        opens=partial(_opens, collection),
    )


def _subjects(collection: ImageCollection) -> Subjects:
    fields = collection.definition.fields
    dated = next((name for name, each in fields.items() if "taken_at" in each.image_parts), None)
    return Subjects(collection.store, dated, fields[dated].default if dated else None)


def _least_score(collection: ImageCollection, vector: str, rate: float) -> float | None:
    """From which score a candidate is looked at; None where the collection is not calibrated."""
    calibration = kept_calibration(collection.store, vector=vector)
    return None if calibration is None else calibration.least_score(max(rate, calibration.least_rate))


def _tell_of_the_rest(collection: ImageCollection, on_notice: Callable[[str], None]) -> None:
    """Of a collection of views, pictures without a row for the whole of them are not compared: say how many."""
    if collection.definition.views is None:
        return
    whole = collection.count(field(VIEW) == "whole")
    if rest := collection.count_pictures() - whole:
        on_notice(
            f"{counted(rest, 'picture')} without a view of the whole, which {'is' if rest == 1 else 'are'} left out"
        )


def _seeing(collection: ImageCollection) -> Seeing:
    settings = collection.settings
    return Seeing(
        partial(_bytes, collection),
        threads=settings.threads,
        max_pixels=settings.max_pixels,
        policy=DecodePolicy(settings.formats, collection.definition.images.sixteen_bit),
    )


def _bytes(collection: ImageCollection, subject: Subject) -> bytes:
    return filling.reopened(collection.settings, subject.uri, subject.content_hash or None, None, None)


def _opens(collection: ImageCollection, subject: Subject) -> bool:
    try:
        _bytes(collection, subject)
    except UnreadableImage:
        return False
    return True


def _small(collection: ImageCollection, subject: Subject) -> bytes | None:
    settings = collection.settings
    policy = DecodePolicy(settings.formats, collection.definition.images.sixteen_bit)
    try:
        data = _bytes(collection, subject)
        picture = decode(data, uri=subject.uri, max_pixels=settings.max_pixels, min_side=_THUMBNAIL, policy=policy)
    except UnreadableImage:
        return None
    return thumbnail(picture.image, 2 * _THUMBNAIL)


def _known(collection: ImageCollection, subjects: Subjects, state: remembering.Remembered) -> dict[str, Subject]:
    """The pictures that were found, as they are now; those that are gone or are others are forgotten."""
    ids, known = state.ids(), {}
    for start in range(0, len(ids), _GOT_AT_ONCE):
        part = ids[start : start + _GOT_AT_ONCE]
        known.update({id_: subjects.of(id_, row) for id_, row in collection.get(part).items()})
    state.forget(id_ for id_ in ids if id_ not in known or known[id_].content_hash != state.hashes[id_])
    return known


def _since(given: str | None, last: int) -> int:
    if given is None:
        return 0
    if given == "last":
        return last
    try:
        return dates.span(given).start
    except ValueError as exc:
        raise OptionError("since", f"since {exc}, or last for the last run") from exc


def _is_since(group: Group, since: int) -> bool:
    return not since or any(each.ingested_at >= since for each in group.subjects)
