from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore, _resized
from pictures import picture
from PIL import Image
from records import gone_from, read_source

from imgvec.definition import Definition
from imgvec.encoders.protocol import Pixels
from imgvec.errors import BackendUnavailable, EncoderError, UnreadableImage, WriteFailed
from imgvec.images import BytesReader, content_hash
from imgvec.ingest import Resources, StoredPictures, ingest, prune
from imgvec.ingest.own_files import read_but_for
from imgvec.report import IngestReport
from imgvec.rows import FROM_IMAGE
from imgvec.sources import Notice, Record, load_metadata
from imgvec.vectors import Vectors

PHOTOS = Definition.load("photos")


def run(source: Any, store: FakeStore, encoder: FakeEncoder, **options: Any) -> IngestReport:
    metadata = options.pop("metadata", None)
    records = source if isinstance(source, Iterator) else read_source(source, metadata=metadata)
    given = {"threads": 2, "max_pixels": 50_000_000, "max_bytes": 10**9}
    given |= {name: options.pop(name) for name in Resources.__dataclass_fields__ if name in options}
    return ingest(records, store, {"vector": encoder}, PHOTOS.row_fields, Resources(**given), **options)


def running() -> list[threading.Thread]:
    """Threads of an ingest; a real encoder's own stay as long as the process, those of a server's reads for a while."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("imgvec")]
    return [thread for thread in ours if not thread.name.startswith(("imgvec-encode_", "imgvec-hedge"))]


def adds_up(report: IngestReport) -> bool:
    parts = (report.written, report.updated, report.unchanged, report.duplicates, report.refused.total())
    return report.seen == sum(parts)


def test_rows_are_complete(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    report = run(pictures, store, encoder)
    assert (report.written, report.seen, adds_up(report)) == (20, 20, True)
    by_uri = {row["uri"]: row for row in store.rows.values()}
    row = by_uri[str(pictures / "album0" / "00.jpg")]
    assert (row["width"], row["height"], row["media_type"]) == (64, 48, "image/jpeg")
    assert (row["album"], row["tags"], row["taken_at"]) == ("", [], 0)
    assert len(row["content_hash"]) == len(row["id"]) == 32
    assert row["ingested_at"] > 1_700_000_000_000
    np.testing.assert_allclose([np.linalg.norm(r["vector"]) for r in store.rows.values()], 1, atol=1e-6)


def test_each_row_has_the_vector_of_its_own_image(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    (pictures / "album0" / "03b.jpg").write_bytes(b"broken in the middle of a batch")
    run(pictures, store, encoder)
    from imgvec.images import decode

    for row in store.rows.values():
        image = decode(Path(row["uri"]).read_bytes(), uri=row["uri"]).image
        np.testing.assert_allclose(row["vector"], encoder.encode_images([image])[0], atol=1e-5)


def test_a_second_run_writes_and_encodes_nothing(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    run(pictures, store, encoder)
    encoded = encoder.encoded
    report = run(pictures, store, encoder)
    assert (report.written, report.unchanged, encoder.encoded) == (0, 20, encoded)
    assert "decode" not in report.stage_seconds


def test_a_changed_file_is_written_again(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    run(pictures, store, encoder)
    picture(99).save(pictures / "album0" / "00.jpg")
    report = run(pictures, store, encoder)
    assert (report.written, report.unchanged, len(store.rows)) == (1, 19, 20)


def test_changed_metadata_is_written_without_encoding(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    first = str(pictures / "album0" / "00.jpg")
    run(pictures, store, encoder, metadata=load_metadata({first: {"album": "cats", "note": 1}}))
    before = {id_: row["vector"] for id_, row in store.rows.items()}
    encoded = encoder.encoded
    again = run(pictures, store, encoder, metadata=load_metadata({first: {"album": "cats", "note": 1}}))
    assert (again.updated, again.unchanged) == (0, 20)
    report = run(pictures, store, encoder, metadata=load_metadata({first: {"album": "dogs"}}))
    assert (report.updated, report.unchanged, report.written, encoder.encoded) == (1, 19, 0, encoded)
    [row] = [row for row in store.rows.values() if row["uri"] == first]
    assert (row["album"], row["note"], row["width"]) == ("dogs", 1, 64)
    np.testing.assert_array_equal(row["vector"], before[row["id"]])


def test_refusals_are_counted_logged_and_passed_over(
    pictures: Path, store: FakeStore, encoder: FakeEncoder, tmp_path: Path
) -> None:
    (pictures / "empty.jpg").touch()
    (pictures / "text.jpg").write_text("no image")
    log = tmp_path / "refused.jsonl"
    bad = str(pictures / "album1" / "01.jpg")
    report = run(pictures, store, encoder, errors=log, metadata=load_metadata({bad: {"taken_at": "soon"}}))
    assert report.written == 19
    assert adds_up(report)
    assert report.refused == {"empty": 1, "not an image": 1, "metadata refused": 1}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["reason"] for line in lines if line["detail"]} == {"metadata refused"}
    assert {line["uri"]: line["reason"] for line in lines} == {
        str(pictures / "empty.jpg"): "empty",
        str(pictures / "text.jpg"): "not an image",
        bad: "metadata refused",
    }


def test_strict_raises_the_first_refusal(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    (pictures / "zzz.jpg").write_text("no image")
    with pytest.raises(UnreadableImage, match="not an image"):
        run(pictures, store, encoder, strict=True)
    assert len(store.rows) == 20  # every batch that was full before it


def test_an_image_given_twice_is_written_once(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    path = pictures / "album0" / "00.jpg"
    report = run([path, path, pictures], store, encoder)
    assert (report.written, report.duplicates, report.seen) == (20, 2, 22)


def test_an_empty_source(tmp_path: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    (tmp_path / "nothing").mkdir()
    assert run(tmp_path / "nothing", store, encoder).seen == 0


def test_stop_finishes_the_batch_in_hand_and_the_next_run_goes_on(
    pictures: Path, store: FakeStore, encoder: FakeEncoder
) -> None:
    stop = threading.Event()

    class Stopping(FakeEncoder):
        def encode(self, pixels: Pixels) -> Vectors:
            stop.set()
            return super().encode(pixels)

    report = run(pictures, store, Stopping(), stop=stop)
    assert report.interrupted
    assert report.written == len(store.rows) == 4  # one batch
    rest = run(pictures, store, encoder)
    assert (rest.written, rest.unchanged) == (16, 4)


def test_a_failed_write_is_raised_and_nothing_is_written_after_it(pictures: Path, encoder: FakeEncoder) -> None:
    class Failing(FakeStore):
        def upsert(self, rows: Sequence[Any], vectors: Vectors) -> int:
            raise WriteFailed("the disk is full", written=0, pending=len(rows))

    store = Failing()
    with pytest.raises(WriteFailed, match="disk is full"):
        run(pictures, store, encoder)
    assert not store.rows
    assert not running()


def test_a_failing_encoder_is_raised_and_what_was_encoded_is_written(pictures: Path, store: FakeStore) -> None:
    class Failing(FakeEncoder):
        def encode(self, pixels: Pixels) -> Vectors:
            if self.encoded >= 8:
                raise EncoderError("no more")
            return super().encode(pixels)

    with pytest.raises(EncoderError, match="no more"):
        run(pictures, store, Failing())
    assert len(store.rows) == 8
    assert not running()


def test_a_failing_source_is_raised_and_what_came_before_is_written(
    pictures: Path, store: FakeStore, encoder: FakeEncoder
) -> None:
    def source() -> Iterator[Record | UnreadableImage]:
        yield from read_source(pictures)
        raise RuntimeError("the cable was pulled")

    with pytest.raises(RuntimeError, match="cable"):
        run(source(), store, encoder)
    assert not running()
    assert run(pictures, store, encoder).seen == 20
    assert len(store.rows) == 20


@pytest.mark.slow
def test_no_more_is_read_ahead_than_the_bounds_allow(pictures: Path, store: FakeStore) -> None:
    """A slow encoder holds the readers back: the source is not drained into memory."""
    taken = 0
    ahead: list[int] = []

    def source() -> Iterator[Record | UnreadableImage]:
        nonlocal taken
        for number in range(3000):
            for record in read_source(pictures / "album0" / "00.jpg"):
                assert isinstance(record, Record)
                taken += 1
                yield Record(f"{number:032x}", f"/{number}", record.reader, {})

    class Watching(FakeEncoder):
        def encode(self, pixels: Pixels) -> Vectors:
            ahead.append(taken - self.encoded)
            return super().encode(pixels)

    report = run(source(), store, Watching(batch_size=32))
    assert report.written == 3000
    # two look-up chunks, the queue of decoded pictures, and the batch in hand
    assert max(ahead) <= 2 * 512 + 3 * 32 + 64


def test_progress_is_told_in_order_and_ends_with_the_whole(
    pictures: Path, store: FakeStore, encoder: FakeEncoder
) -> None:
    seen: list[int] = []
    report = run(pictures, store, encoder, on_progress=lambda so_far: seen.append(so_far.counts["written"]))
    assert seen == sorted(seen)
    assert seen[-1] == report.written == 20


def test_the_report_as_json(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> None:
    data = json.loads(json.dumps(run(pictures, store, encoder).to_dict()))
    assert data["written"] == 20
    assert {"read", "lookup", "decode", "encode", "write", "waiting", "blocked"} == set(data["stage_seconds"])
    assert data["bottleneck"] in data["stage_seconds"]
    assert 0 < data["encoder_idle"] < 1
    assert data["bytes_read"] == sum(path.stat().st_size for path in pictures.rglob("*.jpg"))


def test_prune(pictures: Path, store: FakeStore, encoder: FakeEncoder, tmp_path: Path) -> None:
    picture(5).save(tmp_path / "elsewhere.png")
    run([pictures, tmp_path / "elsewhere.png"], store, encoder)
    for path in ("album0/00.jpg", "album1/01.jpg"):
        (pictures / path).unlink()
    (tmp_path / "elsewhere.png").unlink()  # not of the source that is pruned
    asked: list[tuple[int, int]] = []
    stored, gone = StoredPictures(store, None), gone_from(pictures)
    assert prune(stored, gone, confirm=lambda *numbers: asked.append(numbers) is not None) == 0
    assert asked == [(2, 21)]
    assert prune(stored, gone) == 2
    assert len(store.rows) == 19
    assert prune(stored, gone_from(pictures)) == 0


@pytest.mark.slow
@pytest.mark.alone
def test_a_busy_milvus_is_asked_again(pictures: Path, encoder: FakeEncoder) -> None:
    class Busy(FakeStore):
        refused = 0

        def _refuse(self) -> None:
            self.refused += 1
            if self.refused % 3:
                raise BackendUnavailable("rate limit", code=8, retryable=True)

        def get(self, ids: Sequence[str], **options: Any) -> dict[str, dict[str, Any]]:
            self._refuse()
            return super().get(ids, **options)

        def upsert(self, rows: Sequence[Any], vectors: Vectors) -> int:
            self._refuse()
            return super().upsert(rows, vectors)

    store = Busy()
    report = run(pictures, store, encoder)
    assert (report.written, len(store.rows), report.retries) == (20, 20, 4)


def test_a_milvus_that_stays_away_ends_the_run_in_time(pictures: Path, encoder: FakeEncoder) -> None:
    class Away(FakeStore):
        def upsert(self, rows: Sequence[Any], vectors: Vectors) -> int:
            raise BackendUnavailable("cannot be reached", retryable=True)

    started = time.monotonic()
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        run(pictures, Away(), encoder, retry_seconds=0.5)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("seconds", "stage"),
    [
        ({"encode": 5, "waiting": 1, "blocked": 0, "decode": 9}, "encode"),
        ({"encode": 1, "waiting": 5, "blocked": 0, "decode": 9, "read": 2}, "decode"),
        ({"encode": 1, "waiting": 5, "blocked": 0, "decode": 1, "read": 2}, "read"),
        ({"encode": 1, "waiting": 0, "blocked": 5}, "write"),
        ({}, None),
    ],
)
def test_the_bottleneck(seconds: dict[str, float], stage: str | None) -> None:
    report = IngestReport()
    report.stage_seconds.update(seconds)
    assert report.bottleneck == stage


@pytest.mark.parametrize(
    ("seconds", "share"),
    [
        ({"encode": 6, "waiting": 3, "blocked": 1, "decode": 90, "tune": 5}, 0.4),
        ({"encode": 6}, 0.0),
        ({"waiting": 3}, None),  # nothing was new
    ],
)
def test_the_share_of_the_encoders_time_without_encoding(seconds: dict[str, float], share: float | None) -> None:
    report = IngestReport()
    report.stage_seconds.update(seconds)
    assert report.encoder_idle == share
    assert report.to_dict()["encoder_idle"] == share


def test_a_clock_that_is_set_back_changes_nothing(
    pictures: Path, store: FakeStore, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**18, 0, -(10**12)))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    monkeypatch.setattr(time, "time", lambda: next(clock) / 1e9)
    report = run(pictures, store, encoder)
    assert report.written == 20
    assert report.seconds >= 0
    assert run(pictures, store, encoder).unchanged == 20


@pytest.mark.slow
def test_decoding_in_processes_is_the_same(pictures: Path, encoder: FakeEncoder) -> None:
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    here, there = FakeStore(), FakeStore()
    in_threads = run(pictures, here, encoder)
    in_processes = run(pictures, there, encoder, processes=2)
    assert in_processes.refused == in_threads.refused
    assert here.rows.keys() == there.rows.keys()
    for id_, row in here.rows.items():
        np.testing.assert_allclose(row["vector"], there.rows[id_]["vector"], atol=1e-6)


def _deadly(image: Any) -> Pixels:
    if image.size == (33, 33):
        os.kill(os.getpid(), signal.SIGKILL)
    return _resized(32, image)


class DeadlyEncoder(FakeEncoder):
    """Preparing a picture of 33 by 33 pixels ends the process."""

    @property
    def prepare(self) -> Callable[[Any], Pixels]:
        return _deadly


@pytest.mark.slow
def test_an_image_that_kills_its_decoder_is_refused(pictures: Path, store: FakeStore, tmp_path: Path) -> None:
    deadly, log = pictures / "album0" / "05deadly.jpg", tmp_path / "refused.jsonl"
    picture(3, (33, 33)).save(deadly)
    report = run(pictures, store, DeadlyEncoder(), processes=2, errors=log)
    assert report.written == len(store.rows) == 20
    assert report.refused == {"broken": 1}
    detail = "it crashed the process that decoded it"
    assert json.loads(log.read_text()) == {"uri": str(deadly), "reason": "broken", "detail": detail}


def test_metadata_that_milvus_could_not_store_is_refused_alone(
    pictures: Path, store: FakeStore, encoder: FakeEncoder
) -> None:
    bad = {"long": "x" * 70_000, "number": float("inf"), "object": object()}
    paths = [str(pictures / f"album0/{i:02}.jpg") for i in (0, 2, 4)]
    given = {path: {name: value} for path, (name, value) in zip(paths, bad.items(), strict=True)}
    report = run(pictures, store, encoder, metadata=load_metadata(given))
    assert (report.written, report.refused) == (17, {"metadata refused": 3})


def test_an_image_without_a_vector_is_refused_alone(pictures: Path, store: FakeStore) -> None:
    class Picky(FakeEncoder):
        def encode(self, pixels: Pixels) -> Vectors:
            if any(self._is_seven(one) for one in pixels):
                raise EncoderError("a vector without a direction")
            return super().encode(pixels)

        def _is_seven(self, pixels: Pixels) -> bool:
            return bool((pixels == seven).all())

    with Image.open(pictures / "album1" / "07.jpg") as image:
        seven = FakeEncoder().prepare(image)
    for size in (4, 1):  # among others, and in a batch of its own
        store.rows.clear()
        report = run(pictures, store, Picky(batch_size=size))
        assert (report.written, report.refused) == (19, {"not encodable": 1})
        assert adds_up(report)


def test_stop_and_interrupt_end_a_run_over_unchanged_images(pictures: Path, encoder: FakeEncoder) -> None:
    class Slow(FakeStore):
        def get(self, ids: Sequence[str], **options: Any) -> dict[str, dict[str, Any]]:
            time.sleep(0.05)
            return super().get(ids, **options)

    def source() -> Iterator[Record | UnreadableImage]:
        [record] = read_source(pictures / "album0" / "00.jpg")
        assert isinstance(record, Record)
        for number in range(100_000):
            yield Record(f"{number:032x}", f"/{number}", record.reader, {})

    data = (pictures / "album0" / "00.jpg").read_bytes()
    store = Slow()
    store.rows = {f"{n:032x}": {"content_hash": content_hash(data), "uri": f"/{n}"} for n in range(100_000)}
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    started = time.monotonic()
    report = run(source(), store, encoder, stop=stop)
    # the whole takes some twenty seconds
    assert time.monotonic() - started < 8
    assert report.interrupted
    assert report.seen < 100_000


def test_stop_does_not_wait_for_a_milvus_that_is_away(pictures: Path, encoder: FakeEncoder) -> None:
    class Away(FakeStore):
        def get(self, ids: Sequence[str], **options: Any) -> dict[str, dict[str, Any]]:
            raise BackendUnavailable("cannot be reached", retryable=True)

    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    started = time.monotonic()
    assert run(pictures, Away(), encoder, stop=stop, retry_seconds=60).interrupted
    assert time.monotonic() - started < 5


def test_an_error_does_not_wait_for_a_milvus_that_is_away(pictures: Path) -> None:
    away = threading.Event()
    last: set[str] = set()
    failed: list[float] = []

    class Leaving(FakeStore):
        """Answers the look-ups of the first pictures, and is away for those of the last."""

        def get(self, ids: Sequence[str], **options: Any) -> dict[str, dict[str, Any]]:
            if last & set(ids):
                away.set()
                raise BackendUnavailable("cannot be reached", retryable=True)
            return super().get(ids, **options)

    class Broken(FakeEncoder):
        def encode(self, pixels: Pixels) -> Vectors:
            assert away.wait(20)
            failed.append(time.monotonic())
            raise EncoderError("out of memory")

    def slow() -> Iterator[Record | UnreadableImage]:
        for number, record in enumerate(read_source(pictures)):
            if number == 12:
                time.sleep(0.3)  # a second look-up
            if number >= 16:
                assert isinstance(record, Record)
                last.add(record.id)
            yield record

    with pytest.raises(EncoderError, match="out of memory"):
        run(slow(), Leaving(), Broken(), retry_seconds=60)
    assert time.monotonic() - failed[-1] < 5


def test_a_stop_during_the_last_write_is_no_interruption(pictures: Path, encoder: FakeEncoder) -> None:
    stop = threading.Event()

    class Stopping(FakeStore):
        def upsert(self, rows: Sequence[Any], vectors: Vectors) -> int:
            stop.set()
            return super().upsert(rows, vectors)

    report = run(pictures, Stopping(), encoder, stop=stop)
    assert (report.written, report.interrupted) == (20, False)


@pytest.mark.alone
@pytest.mark.slow
def test_rows_are_not_held_back_by_unchanged_images_behind_them(
    pictures: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgvec.ingest.pipeline.WRITE_SECONDS", 0.3)
    written: list[float] = []

    class Watching(FakeStore):
        def upsert(self, rows: Sequence[Any], vectors: Vectors) -> int:
            written.append(time.monotonic())
            return super().upsert(rows, vectors)

    [record] = read_source(pictures / "album0" / "00.jpg")
    assert isinstance(record, Record)
    stored = content_hash(Path(record.uri).read_bytes())
    store = Watching(rows={f"{n:032x}": {"content_hash": stored, "uri": f"/{n}"} for n in range(3000)})

    def source() -> Iterator[Record | UnreadableImage]:
        yield from read_source(pictures)
        for number in range(3000):
            time.sleep(0.001)
            yield Record(f"{number:032x}", f"/{number}", record.reader, {})

    started = time.monotonic()
    report = run(source(), store, encoder)
    assert (report.written, report.unchanged) == (20, 3000)
    # long before the end, by which the last of the unchanged ones had been looked up
    assert written[0] - started < (time.monotonic() - started) * 0.7


@pytest.mark.slow
def test_large_files_are_not_all_held_at_once(store: FakeStore, encoder: FakeEncoder) -> None:
    """Counted by the readers themselves: bytes handed out against bytes that were decoded or refused."""
    out = 0
    most = 0
    lock = threading.Lock()

    class Large:
        def read(self, max_bytes: int) -> bytes:
            nonlocal out, most
            data = Tracked(20 * 2**20)
            with lock:
                out += len(data)
                most = max(most, out)
            return data

    class Tracked(bytes):
        def __del__(self) -> None:
            nonlocal out
            with lock:
                out -= len(self)

    records = [Record(f"{n:032x}", f"/{n}", Large(), {}) for n in range(40)]
    report = run(iter(records), store, encoder)
    assert report.refused == {"not an image": 40}
    assert most < 320 * 2**20


def test_a_long_run_tunes_its_encoder(pictures: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.ingest.pipeline.TUNE_AFTER", 3)
    expected: list[int | None] = []

    class Tuned(FakeEncoder):
        def prepare_for(self, images: int | None = None) -> None:
            expected.append(images)
            self.batch_size = 2

    report = run(pictures, store, Tuned())
    assert report.written == len(store.rows) == 20
    assert expected == [4, 12]


@pytest.mark.slow
def test_a_slow_source_s_first_images_do_not_wait_for_a_chunk(
    pictures: Path, store: FakeStore, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgvec.ingest.reading.LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr("imgvec.ingest.pipeline.WRITE_SECONDS", 0.0)
    first, *others = list(read_source(pictures))

    def slow() -> Iterator[Record | UnreadableImage]:
        yield first
        for other in others:
            time.sleep(0.06)
            yield other
        # by now the first ones went through the whole of the pipeline
        written.append(len(store.rows))

    written: list[int] = []
    assert run(slow(), store, encoder).written == 20
    assert written[0] > 0


def dated(path: Path, seed: int, taken: str | None = None, quality: int = 90) -> None:
    """A JPEG file, with the time of its EXIF if one is given."""
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[36867] = taken
    path.parent.mkdir(exist_ok=True)
    picture(seed).save(path, quality=quality, exif=exif)


class TestWhereADateCameFrom:
    """What came from metadata stays until metadata changes it; what came from the picture follows the picture."""

    SCAN = 173_404_800_000  # 1975-07-01
    EXIF = 1_614_852_000_000  # 2021-03-04T10:00:00

    @pytest.fixture
    def photo(self, tmp_path: Path) -> Path:
        path = tmp_path / "s" / "scan.jpg"
        dated(path, 1, "2021:03:04 10:00:00")
        return path

    def taken(self, photo: Path, store: FakeStore, encoder: FakeEncoder, **metadata: Any) -> int:
        """What is stored after an ingest with that metadata, which writes nothing when it is repeated."""
        known = load_metadata({str(photo): metadata}) if metadata else None
        assert not run(photo.parent, store, encoder, metadata=known).refused
        again = run(photo.parent, store, encoder, metadata=known)
        assert (again.unchanged, again.seen) == (1, 1)
        [row] = store.rows.values()
        return int(row["taken_at"])

    def test_of_metadata_stays_when_the_file_changes(self, photo: Path, store: FakeStore, encoder: FakeEncoder) -> None:
        assert self.taken(photo, store, encoder, taken_at="1975-07-01", album="Family") == self.SCAN
        dated(photo, 1, "2021:03:04 10:00:00", quality=85)
        assert self.taken(photo, store, encoder) == self.SCAN
        dated(photo, 1, "2022:03:04 10:00:00", quality=80)
        for nothing in ("", None, float("nan")):
            assert self.taken(photo, store, encoder, taken_at=nothing, album="Family") == self.SCAN
        dated(photo, 1, None, quality=75)
        assert self.taken(photo, store, encoder) == self.SCAN
        assert self.taken(photo, store, encoder, taken_at="1976-07-01") == self.SCAN + 366 * 86_400_000
        assert next(iter(store.rows.values()))["album"] == "Family"

    def test_of_the_picture_follows_the_picture(self, photo: Path, store: FakeStore, encoder: FakeEncoder) -> None:
        assert self.taken(photo, store, encoder) == self.EXIF
        dated(photo, 2, "2022:03:04 10:00:00")
        assert self.taken(photo, store, encoder, album="b") == self.EXIF + 365 * 86_400_000
        dated(photo, 3)
        assert self.taken(photo, store, encoder) == 0
        dated(photo, 4, "2021:03:04 10:00:00")
        assert self.taken(photo, store, encoder) == self.EXIF
        assert next(iter(store.rows.values()))["album"] == "b"

    def test_metadata_that_says_what_the_picture_says_holds_from_then_on(
        self, photo: Path, store: FakeStore, encoder: FakeEncoder
    ) -> None:
        assert self.taken(photo, store, encoder) == self.EXIF
        assert self.taken(photo, store, encoder, taken_at="2021-03-04T10:00:00", album="c") == self.EXIF
        assert self.taken(photo, store, encoder, album="d") == self.EXIF
        dated(photo, 2)
        assert self.taken(photo, store, encoder) == self.EXIF

    def test_other_metadata_leaves_the_picture_its_date(
        self, photo: Path, store: FakeStore, encoder: FakeEncoder
    ) -> None:
        self.taken(photo, store, encoder)
        self.taken(photo, store, encoder, album="c")  # written without decoding
        dated(photo, 2)
        assert self.taken(photo, store, encoder) == 0

    def test_rows_of_an_earlier_imgvec_keep_their_dates(
        self, photo: Path, store: FakeStore, encoder: FakeEncoder
    ) -> None:
        self.taken(photo, store, encoder)
        del next(iter(store.rows.values()))[FROM_IMAGE]
        dated(photo, 2, "2022:03:04 10:00:00")
        assert self.taken(photo, store, encoder) == self.EXIF

    def test_a_row_without_a_date_takes_the_new_pictures(
        self, photo: Path, store: FakeStore, encoder: FakeEncoder
    ) -> None:
        dated(photo, 1)
        assert self.taken(photo, store, encoder) == 0
        dated(photo, 2, "2021:03:04 10:00:00")
        assert self.taken(photo, store, encoder) == self.EXIF


def test_the_database_s_own_files_are_no_records() -> None:
    one, other = (Record(name, f"/photos/{name}", BytesReader(b"x", name), {}) for name in ("a.db/x.jpg", "b.jpg"))
    notice = Notice("something about the source")
    refused = UnreadableImage("/photos/a.db/LOCK.jpg", "empty")
    found = [one, notice, refused, other]
    assert list(read_but_for("/photos/a.db/", lambda: iter(found))) == [notice, other]
    assert list(read_but_for(None, lambda: iter(found))) == found
