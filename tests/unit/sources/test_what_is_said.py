"""What is told of columns, archives and names, and what a refusal says: the words and the values in them."""

from __future__ import annotations

import errno
import io
import random
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from records import gone_from, read_source

from imgvec.errors import MissingExtra, SourceError, UnreadableImage
from imgvec.images.readers import BytesReader, path_trouble
from imgvec.sources import Notice, PassedOver, Record, files, load_metadata, places, zips
from imgvec.sources.guards import MAX_BYTES
from imgvec.sources.names import is_another
from imgvec.sources.reading import Reading
from imgvec.sources.records import Again

pytestmark = pytest.mark.timeout(30)


class Failing(io.BytesIO):
    """A file of a disk that fails after its first bytes."""

    def read(self, *_: Any) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    read1 = readinto = readinto1 = read  # type: ignore[assignment]


def problem(name: str) -> str | None:
    return "it begins with bad" if name.startswith("bad") else None


def shard(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def notices(items: list[Any]) -> list[str]:
    return [one.text for one in items if isinstance(one, Notice)]


class TestColumns:
    def test_those_of_the_metadata_are_judged_though_no_image_has_a_row(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"pixels")
        metadata = load_metadata({"elsewhere.jpg": {"bad": 1}})
        first, second = read_source(tmp_path, metadata=metadata, field_problem=problem)
        assert isinstance(first, Notice)
        assert "'bad' (it begins with bad)" in first.text
        assert isinstance(second, Record)

    def test_the_one_of_ids_is_not_among_them(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"pixels")
        metadata = load_metadata({"elsewhere.jpg": {"bad": 1}})
        assert notices(list(read_source(tmp_path, metadata=metadata, field_problem=problem, id_column="bad"))) == []

    def test_those_of_a_csv_are_judged_though_no_row_has_a_value_there(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("path,bad\na.jpg,\n")
        (told,) = notices(list(read_source(tmp_path / "a.csv", field_problem=problem)))
        assert "'bad' (it begins with bad)" in told

    def test_one_that_turns_up_late_is_told(self, tmp_path: Path) -> None:
        members = {f"{number:02}.jpg": "pixels" for number in range(20)} | {"20.json": '{"bad": 1}', "20.jpg": "pixels"}
        items = list(read_source(shard(tmp_path / "a.zip", members), field_problem=problem))
        assert isinstance(items[20], Notice)
        assert len(notices(items)) == 1

    def test_five_notices_are_enough_and_each_tells_what_is_new(self, tmp_path: Path) -> None:
        members = {}
        for number in range(8):
            members |= {f"{number}.json": f'{{"bad{number}": 1}}', f"{number}.jpg": "pixels"}
        told = notices(list(read_source(shard(tmp_path / "a.zip", members), field_problem=problem)))
        assert [text.partition(" (")[0] for text in told] == [f"ignored columns: 'bad{n}'" for n in range(5)]


def test_how_a_source_is_read_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.jpg").write_bytes(b"pixels")
    (tmp_path / "b.jpg").symlink_to("sub/a.jpg")
    reading = Reading()
    taken = {
        Path(one.uri).name: type(one)
        for one in files.read_single(str(tmp_path), reading)
        if not isinstance(one, Notice)
    }
    assert taken == {"a.jpg": Record, "b.jpg": PassedOver}
    assert reading.guards.max_bytes == MAX_BYTES == 256 * 2**20


class TestSidecars:
    @pytest.mark.parametrize("order", [("json", "txt"), ("txt", "json")])
    def test_what_the_json_says_wins(self, tmp_path: Path, order: tuple[str, str]) -> None:
        says = {"json": b'{"caption": "of json", "other": 1}', "txt": b"of text"}
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for name, data in [*((f"a.{kind}", says[kind]) for kind in order), ("a.jpg", b"pixels")]:
                header = tarfile.TarInfo(name)
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))
        (one,) = read_source(tmp_path / "a.tar")
        assert isinstance(one, Record)
        assert one.metadata == {"caption": "of json", "other": 1}


class TestZips:
    @pytest.mark.parametrize(
        ("size", "packed", "taken"),
        [
            (16 * 2**20, 1, True),
            (16 * 2**20, 0, True),
            (16 * 2**20 + 1, 1, False),
            (16 * 2**20 + 1, 0, False),
            (200 * 100_000, 100_000, True),
            (200 * 100_000 + 1, 100_000, False),
            (200 * 100_000, 100_001, True),
        ],
    )
    def test_bombs(self, size: int, packed: int, taken: bool) -> None:
        info = zipfile.ZipInfo("a.jpg")
        info.file_size, info.compress_size = size, packed
        said = "it expands more than 200-fold, like a decompression bomb"
        assert zips._trouble(info) == (None if taken else ("too large", said))

    def test_a_broken_member(self, tmp_path: Path) -> None:
        path = shard(tmp_path / "a.zip", {"a.jpg": "pixels"})
        path.write_bytes(path.read_bytes().replace(b"pixels", b"pixelz"))
        (one,) = read_source(path)
        assert isinstance(one, UnreadableImage)
        assert (one.reason, one.detail) == ("read failed", "Bad CRC-32 for file 'a.jpg'")

    def test_a_member_that_ends_too_early(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def early(*_: Any) -> bytes:
            raise EOFError

        monkeypatch.setattr(zipfile.ZipExtFile, "read", early)
        (one,) = read_source(shard(tmp_path / "a.zip", {"a.jpg": "pixels"}))
        assert isinstance(one, UnreadableImage)
        assert (one.reason, one.detail) == ("read failed", "the member ends too early")

    def test_what_is_excluded_begins_after_all_slashes(self, tmp_path: Path) -> None:
        path = shard(tmp_path / "a.zip", {"//raw/a.jpg": "pixels"})
        assert [type(one) for one in read_source(path, exclude=["/raw"])] == [PassedOver]


class TestParquet:
    def test_pyarrow_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.parquet").write_bytes(b"PAR1")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtra, match=r"a\.parquet: Parquet needs pyarrow: pip install 'imgvec\[parquet\]'"):
            list(read_source(tmp_path / "a.parquet"))

    @pytest.mark.parametrize("value", [{"path": "a.jpg"}, {"path": "a.jpg", "bytes": "text"}, "text"])
    def test_a_column_of_no_bytes(self, tmp_path: Path, value: Any) -> None:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = pa.table({"image": [value]})
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(SourceError) as caught:
            list(read_source(tmp_path / "a.parquet"))
        kind = table.schema.field("image").type
        assert f"a.parquet: the column `image` is {kind}, but images must be bytes or {{bytes, path}}" in str(
            caught.value
        )

    def test_a_row_group_is_not_held_whole(self, tmp_path: Path) -> None:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        images = [random.Random(seed).randbytes(2**18) for seed in range(128)]
        path, small = tmp_path / "a.parquet", {"use_dictionary": False, "write_batch_size": 1}
        pq.write_table(pa.table({"image": images}), path, compression="none", data_page_size=1, **small)
        before = pa.total_allocated_bytes()
        items = read_source(tmp_path / "a.parquet")
        next(items)
        held = pa.total_allocated_bytes() - before
        assert held < 14 * 2**20, f"{held:,}"
        assert sum(1 for _ in items) == 127


class TestDisksThatFail:
    @pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
    def test_lists_and_manifests(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        (tmp_path / name).write_text("")
        monkeypatch.setattr(places, "_open_file", lambda _: Failing())
        with pytest.raises(SourceError) as caught:
            list(read_source(tmp_path / name))
        assert str(caught.value) == f"{tmp_path / name}: cannot be read any further: [Errno 5] Input/output error"

    def test_metadata(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.csv"
        path.write_text("path\na.jpg\n")
        opened = Path.open

        def failing(self: Path, mode: str = "r", **options: Any) -> Any:
            return opened(self, mode) if mode == "rb" else io.TextIOWrapper(Failing(), **options)

        monkeypatch.setattr(Path, "open", failing)
        with pytest.raises(SourceError) as caught:
            load_metadata(path)
        assert str(caught.value) == f"{path}: cannot read the metadata: Input/output error"


@pytest.mark.parametrize("name", ["a.JSONL", "a.NdJson"])
def test_endings_in_any_case(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"path": "a.jpg", "n": 1}\n')
    (one,) = read_source(tmp_path / name)
    assert isinstance(one, Record)
    assert one.metadata == {"n": 1}


class TestRefusals:
    def test_a_scheme_that_lists_may_not_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("ftp://me:secret@host/a.jpg\n")
        (one,) = read_source(tmp_path / "a.txt")
        assert isinstance(one, UnreadableImage)
        assert (one.uri, one.reason, one.detail) == (
            "ftp://host/a.jpg",
            "unusable name",
            "ftp:// is not supported in lists",
        )

    @pytest.mark.parametrize(("name", "says"), [("no", "no such file or folder"), ("*.jpg", "no image matches")])
    def test_nothing_is_there(self, tmp_path: Path, name: str, says: str) -> None:
        with pytest.raises(SourceError) as caught:
            list(read_source(tmp_path / name))
        assert says in str(caught.value)
        assert str(caught.value).endswith("; check the path")

    @pytest.mark.parametrize(
        ("exc", "expected"),
        [
            (OSError(errno.EIO, "Input/output error"), ("read failed", "Input/output error")),
            (OSError("odd"), ("read failed", "odd")),
            (FileNotFoundError(2, "not there"), ("missing", "not there")),
            (NotADirectoryError(20, "no folder"), ("missing", "no folder")),
            (PermissionError(13, "denied"), ("permission denied", "denied")),
            (IsADirectoryError(21, "it is"), ("not a regular file", "a directory")),
            (OSError(errno.ENAMETOOLONG, "too long"), ("unusable name", "too long")),
            (ValueError("a NUL"), ("unusable name", "a NUL")),
            (OSError(errno.ELOOP, "loop"), ("not a regular file", "a symbolic link")),
            (OSError(errno.ENXIO, "none"), ("not a regular file", "a socket or a missing device")),
        ],
    )
    def test_what_the_system_says(self, exc: OSError | ValueError, expected: tuple[str, str]) -> None:
        assert path_trouble(exc) == expected

    def test_bytes_beyond_the_limit(self) -> None:
        assert BytesReader(b"x" * 2000, "a").read(2000) == b"x" * 2000
        with pytest.raises(UnreadableImage) as caught:
            BytesReader(b"x" * 2000, "a").read(1999)
        assert (caught.value.reason, caught.value.detail) == ("too large", "2,000 bytes, the limit is 1,999")

    @pytest.mark.parametrize(("first", "other"), [(None, "an image"), ("b.jpg", "b.jpg")])
    def test_an_id_given_twice(self, first: str | None, other: str) -> None:
        error = Again("7", "a.jpg", same=False).refusal(first)
        assert error.detail == f"its id '7' is already used by {other}; ids must be unique"
        assert (error.uri, error.reason) == ("a.jpg", "given twice")

    def test_a_link_to_nothing_and_a_file_that_went_away(self, tmp_path: Path) -> None:
        gone = FileNotFoundError(2, "No such file")
        (tmp_path / "a.jpg").symlink_to("nowhere.jpg")
        link, file = str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")
        assert files._dangling(link, gone) == ("missing", "a symbolic link to nowhere.jpg, which does not exist")
        assert files._dangling(file, gone) == ("missing", "No such file")
        assert files._dangling(link, OSError(errno.EIO, "fails")) == ("read failed", "fails")


def test_answers_are_yes_or_no(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"pixels")
    there, nowhere = str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")
    assert is_another(nowhere, there) is False
    assert is_another(there, there) is False
    assert is_another(there, nowhere) is True
    is_gone = gone_from(tmp_path)
    assert is_gone(nowhere) is True
    assert [is_gone(uri) for uri in (there, "/elsewhere/a.jpg", "s3://a/b.jpg", f"{nowhere}.zip!a.jpg")] == [False] * 4
    assert is_gone("/elsewhere/a.jpg") is False
