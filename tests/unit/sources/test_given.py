"""Records and tuples as a source, and where the bytes that have no place are kept."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pictures import picture
from records import read_source

from imgvec.definition import field_problem
from imgvec.errors import NotKept, SourceError, UnreadableImage, UsageError
from imgvec.images import BytesReader, content_hash, decode
from imgvec.sources import Notice, Record, Source, record_id, reopen


def png(number: int) -> bytes:
    data = io.BytesIO()
    picture(number).save(data, "PNG")
    return data.getvalue()


def read(spec: Any, **options: Any) -> list[Any]:
    return list(Source(spec).read(**options))


def test_a_picture_in_every_form_and_without_a_place() -> None:
    image = picture(3)
    given = [
        ("a", png(3), {"n": 1}),
        ("b", image, {}),
        (7, np.asarray(image)),
        (None, png(3)),
        ("ä/b", bytearray(png(3))),
    ]
    found = read(iter(given))
    assert all(isinstance(one, Record) for one in found)
    uri = f"given://{content_hash(png(3))}"
    assert [(one.id, one.uri) for one in found] == [
        ("a", "given://a"), ("b", "given://b"), ("7", "given://7"), (record_id(uri), uri), ("ä/b", "given://%C3%A4%2Fb"),
    ]  # fmt: skip
    assert [dict(one.metadata) for one in found] == [{"n": 1}, {}, {}, {}, {}]
    for one in found:
        again = pickle.loads(pickle.dumps(one))
        pixels = np.asarray(decode(again.reader.read(10**6), uri=one.uri).image)
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
        with pytest.raises(NotKept, match="keep=DIR") as caught:
            reopen(one.uri, None)
        assert pickle.loads(pickle.dumps(caught.value)).uri == one.uri
        assert caught.value.reason == "missing"


def test_kept_by_content_once_and_for_good(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "kept"
    given = [("a", png(1), {}), ("b", png(2), {}), ("c", png(1), {}), ("d", picture(1), {})]
    found = read(given, keep=folder)
    kept = folder / content_hash(png(1))[:2] / content_hash(png(1))
    assert [one.uri for one in found][0::2] == [str(kept), str(kept)]
    assert [one.id for one in found] == ["a", "b", "c", "d"]
    assert kept.read_bytes() == png(1) == reopen(found[0].uri, tmp_path) == found[0].reader.read(10**6)
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert len(files) == 3
    read(given, keep=folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == files
    assert kept.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def test_kept_paths_are_relative_to_the_root(tmp_path: Path) -> None:
    (one,) = Source([(None, png(1), {})], root=tmp_path).read(keep=tmp_path / "kept")
    assert isinstance(one, Record)
    assert one.uri.startswith("kept/")
    assert one.id == record_id(one.uri)
    assert reopen(one.uri, [tmp_path]) == png(1)
    (tmp_path / "root").mkdir()
    with pytest.raises(SourceError, match="outside the root"):
        list(Source([(None, png(1), {})], root=tmp_path / "root").read(keep=tmp_path / "kept"))


def test_a_name_that_is_taken_by_something_else_is_not_overwritten(tmp_path: Path) -> None:
    name = content_hash(png(1))
    (tmp_path / name[:2]).mkdir()
    (tmp_path / name[:2] / name).write_bytes(b"other")
    with pytest.raises(SourceError, match="does not match its name"):
        read([("a", png(1), {})], keep=tmp_path)
    assert (tmp_path / name[:2] / name).read_bytes() == b"other"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SourceError, match="cannot keep an image there: No space left"):
        read([("a", png(1), {})], keep=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_records_are_taken_as_they_are() -> None:
    record = Record("id-1", "camera/7", BytesReader(png(1), "camera/7"), {"n": 1})
    (one,) = read(record)
    assert (one.id, one.uri, one.metadata, one.reader) == ("id-1", "camera/7", {"n": 1}, record.reader)


def test_a_stream_is_read_as_it_comes(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    taken = 0

    def stream() -> Iterator[Any]:
        nonlocal taken
        for item in (("a", png(1), {}), tmp_path / "a.png", ("b", png(2), {})):
            taken += 1
            yield item

    source = iter(Source(stream()))
    assert next(source).uri == "given://a"  # type: ignore[union-attr]
    assert taken == 1
    assert [one.uri for one in source] == [str(tmp_path / "a.png"), "given://b"]  # type: ignore[union-attr]


def test_options_of_a_source_hold_for_them_too() -> None:
    given = [("a", png(1), {"t": 1, "id": 2}), ("b", png(2), {"t": 3})]
    mapped = [dict(one.metadata) for one in Source(given, mapping={"t": "album"}) if isinstance(one, Record)]
    assert mapped == [{"album": 1}, {"album": 3}]
    said = [one for one in read_source(given, field_problem=field_problem) if isinstance(one, Notice)]
    assert "'id'" in said[0].text
    parts = [{one.id for one in read(given, part=(rank, 2))} for rank in range(2)]
    assert parts[0] | parts[1] == {"a", "b"}
    assert not parts[0] & parts[1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("a", np.zeros((2, 2, 7), np.uint8), {}), "not an image"),
        (("a" * 65, png(1), {}), "metadata refused"),
        (("\ud800", png(1), {}), "metadata refused"),
        (Record("", "camera/7", BytesReader(png(1), "camera/7"), {}), "metadata refused"),
        (Record("\udcff", "camera/7", BytesReader(png(1), "camera/7"), {}), "metadata refused"),
        (Record("a", "camera/\ud800", BytesReader(png(1), "camera"), {}), "unusable name"),
        (("a", b"", {}), "empty"),
        (("a", b"x" * 20_000, {}), "too large"),
    ],
)
@pytest.mark.parametrize("kept", [False, True])
def test_what_is_refused_is_named(given: Any, reason: str, kept: bool, tmp_path: Path) -> None:
    (one,) = read_source([given], max_bytes=10_000, keep=tmp_path if kept else None)
    if isinstance(one, Record):
        with pytest.raises(UnreadableImage) as caught:
            one.reader.read(10_000)
        one = caught.value
    assert isinstance(one, UnreadableImage)
    assert one.reason == reason


@pytest.mark.parametrize(
    "given",
    [5, ("a",), ("a", b"", {}, 1), (True, b"x", {}), ("a", b"x", 5), ("a", "path.jpg", {}), ("a", Path("p"), {})],
)
def test_what_is_neither_is_a_wrong_call(given: Any) -> None:
    with pytest.raises(UsageError):
        read([given])


@pytest.mark.parametrize("change", [{"id": 5}, {"uri": None}, {"uri": b"x"}, {"metadata": None}, {"metadata": ["a"]}])
def test_a_record_of_other_types_is_a_wrong_call(change: dict[str, Any]) -> None:
    record = replace(Record("a", "camera/7", BytesReader(png(1), "camera/7"), {}), **change)
    with pytest.raises(UsageError, match="of a record must be"):
        read([record])


@pytest.mark.parametrize(
    "spec", [5, None, b"x", bytearray(b"x"), {"a.jpg": {"n": 1}}, picture(1), pa.table({"path": ["a.jpg"]})]
)
def test_what_is_not_a_source(spec: Any) -> None:
    with pytest.raises(UsageError, match=rf"^a {type(spec).__name__} is not a source: give a path"):
        Source(spec)


def test_an_id_as_numpy_and_data_frames_have_it() -> None:
    (one,) = read([(np.int64(7), png(1))])
    assert (one.id, one.uri) == ("7", "given://7")


def test_metadata_whose_keys_are_not_strings_is_passed_over() -> None:
    (said, one) = read_source([("a", png(1), {0: "x", None: 1, "n": 2})], field_problem=field_problem)
    assert isinstance(one, Record)
    assert isinstance(said, Notice)
    assert one.metadata == {"n": 2}
    assert "ignored columns: 0, None (a field name is" in said.text


@pytest.mark.parametrize("folder", ["a\0b", "\ud800"])
def test_a_folder_that_none_can_be(folder: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot keep an image there"):
        read([("a", png(1), {})], keep=tmp_path / folder)


def test_they_are_not_pruned() -> None:
    with pytest.raises(UsageError, match="whether they are gone"):
        Source([("a", png(1), {})]).gone()
    assert not Source([("a", png(1), {})]).is_listed_fast
    assert not Source(iter([])).is_listed_fast


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
