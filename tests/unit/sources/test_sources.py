"""What a source holds: folders, files, globs and iterables of them."""

from __future__ import annotations

import os
import pickle
import random
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from itertools import islice
from pathlib import Path

import pytest
from records import gone_from, read_source

from imgvec.errors import SourceError, UnreadableImage
from imgvec.sources import PassedOver, Record, load_metadata, record_id

pytestmark = pytest.mark.timeout(20)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"pixels")
    return folder


def names(stream: Iterator[Record | UnreadableImage], folder: Path) -> list[str]:
    """uris relative to `folder`; refusals with their reason behind a `!`."""
    found = []
    for item in stream:
        relative = item.uri.removeprefix(f"{folder}/")
        if not isinstance(item, PassedOver):
            found.append(relative if isinstance(item, Record) else f"{relative}!{item.reason}")
    return found


@contextmanager
def nested(folder: Path, name: str, depth: int) -> Iterator[None]:
    """A file `depth` folders below: made and removed step by step, since no call takes so long a path."""
    with chdir(folder):
        for _ in range(depth):
            Path(name).mkdir()
            os.chdir(name)
        Path("a.jpg").write_bytes(b"pixels")
        yield
        Path("a.jpg").unlink()
        for _ in range(depth):
            os.chdir("..")
            Path(name).rmdir()


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Nobody may enter `folder`; root, whom nothing is forbidden, becomes nobody."""
    folder.chmod(0o000)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
        folder.chmod(0o755)


class TestFolder:
    def test_order_is_by_name_and_depth_first(self, tmp_path: Path) -> None:
        files = ["B.jpg", "a/z.jpg", "a.jpg", "b/a/c.jpg", "b/b.jpg", "c.jpg", "ä.jpg"]
        random.Random(0).shuffle(files)
        make(tmp_path, *files)
        expected = ["B.jpg", "a/z.jpg", "a.jpg", "b/a/c.jpg", "b/b.jpg", "c.jpg", "ä.jpg"]
        assert names(read_source(tmp_path), tmp_path) == expected
        assert names(read_source(str(tmp_path) + "/"), tmp_path) == expected

    def test_not_recursive(self, tmp_path: Path) -> None:
        make(tmp_path, "a.jpg", "b/c.jpg")
        assert names(read_source(tmp_path, recursive=False), tmp_path) == ["a.jpg"]

    def test_what_is_surely_no_image_and_what_is_hidden(self, tmp_path: Path) -> None:
        make(tmp_path, "a.txt", "a.CSV", "b.PY", "x.pdf", ".hidden.jpg", ".git/a.jpg", "IMG_0001", "odd.xyz", "c.JPG")
        assert names(read_source(tmp_path), tmp_path) == ["IMG_0001", "c.JPG", "odd.xyz"]

    def test_links_below_are_not_followed(self, tmp_path: Path) -> None:
        make(tmp_path, "in/a.jpg", "out/b.jpg")
        (tmp_path / "in" / "link.jpg").symlink_to(tmp_path / "out" / "b.jpg")
        (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
        (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
        assert names(read_source(tmp_path / "in"), tmp_path) == ["in/a.jpg"]

    def test_a_folder_named_through_a_link_keeps_that_name(self, tmp_path: Path) -> None:
        make(tmp_path, "real/a.jpg")
        (tmp_path / "link").symlink_to("real")
        (record,) = read_source(tmp_path / "link")
        assert isinstance(record, Record)
        assert record.uri == f"{tmp_path}/link/a.jpg"
        assert record.reader.read(100) == b"pixels"

    def test_no_regular_file_but_named_like_an_image(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo.jpg")
        os.mkfifo(tmp_path / "fifo")
        make(tmp_path, "folder.jpg/a.jpg")
        assert names(read_source(tmp_path), tmp_path) == ["fifo.jpg!not a regular file", "folder.jpg/a.jpg"]

    def test_names_that_are_not_utf8(self, tmp_path: Path) -> None:
        make(tmp_path, "b.jpg")
        try:
            (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))).write_bytes(b"pixels")
        except OSError:
            pytest.skip("this file system allows UTF-8 names only")
        record, refused = read_source(tmp_path)
        assert isinstance(refused, UnreadableImage)
        assert refused.uri == f"{tmp_path}/caf\\xe9.jpg"
        assert "not UTF-8" in refused.detail
        assert str(refused).encode("utf-8")
        assert isinstance(record, Record)

    def test_a_folder_that_cannot_be_listed_is_one_refusal(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = make(Path(folder), "a.jpg", "closed/b.jpg", "d.jpg")
            root.chmod(0o755)
            with closed(root / "closed"):
                assert names(read_source(root), root) == ["a.jpg", "closed!permission denied", "d.jpg"]
                assert names(read_source([root / "closed"]), root) == ["closed!permission denied"]
                with pytest.raises(SourceError, match="permission denied"):
                    read_source(root / "closed")

    @pytest.mark.slow
    def test_deeper_than_python_s_recursion(self, tmp_path: Path) -> None:
        with nested(tmp_path, "d", 1500):
            (record,) = read_source(tmp_path)
        assert record.uri == f"{tmp_path}/{'d/' * 1500}a.jpg"

    def test_deeper_than_a_path_may_be_is_refused(self, tmp_path: Path) -> None:
        with nested(tmp_path, "d" * 250, 20):
            (refused,) = read_source(tmp_path)
        assert isinstance(refused, UnreadableImage)
        assert refused.reason == "unusable name"

    def test_streams(self, tmp_path: Path) -> None:
        make(tmp_path, *(f"{folder}/{n}.jpg" for folder in "ab" for n in range(3)))
        stream = read_source(tmp_path)
        assert len(list(islice(stream, 3))) == 3
        (tmp_path / "b" / "3.jpg").write_bytes(b"pixels")  # not listed yet, so it is seen
        assert names(stream, tmp_path) == ["b/0.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"]

    def test_empty(self, tmp_path: Path) -> None:
        assert list(read_source(tmp_path)) == []


class TestFile:
    def test_record(self, tmp_path: Path) -> None:
        make(tmp_path, "a.jpg")
        (record,) = read_source(tmp_path / "a.jpg")
        assert isinstance(record, Record)
        assert record.uri == f"{tmp_path}/a.jpg"
        assert record.id == record_id(record.uri)
        assert record.metadata == {}
        assert pickle.loads(pickle.dumps(record)).reader.read(100) == b"pixels"

    def test_any_name_is_tried_when_it_is_given(self, tmp_path: Path) -> None:
        make(tmp_path, "a.py", ".hidden.jpg")
        assert names(read_source(tmp_path / "a.py"), tmp_path) == ["a.py"]
        assert names(read_source(tmp_path / ".hidden.jpg"), tmp_path) == [".hidden.jpg"]

    def test_a_link_that_is_named_is_followed(self, tmp_path: Path) -> None:
        make(tmp_path, "store/a")
        (tmp_path / "link.jpg").symlink_to("store/a")
        (record,) = read_source(tmp_path / "link.jpg")
        assert isinstance(record, Record)
        assert record.uri == f"{tmp_path}/link.jpg"
        assert record.reader.read(100) == b"pixels"

    def test_relative_and_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(tmp_path, "a.jpg")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for source in ("a.jpg", "./x/../a.jpg", "~/a.jpg", Path("a.jpg")):
            assert names(read_source(source), tmp_path) == ["a.jpg"]

    def test_not_a_regular_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")
        assert names(read_source(tmp_path / "a.jpg"), tmp_path) == ["a.jpg!not a regular file"]
        assert names(read_source("/dev/null"), Path("/dev")) == ["null!not a regular file"]

    @pytest.mark.parametrize(
        "source", ["none.jpg", "none/*.jpg", "no*.jpg", "", "a.jpg/b.jpg", "nul\0byte", "x" * 5000]
    )
    def test_nothing_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
        make(tmp_path, "a.jpg")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SourceError):
            read_source(source)


class TestGlob:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.jpg", ["a.jpg", "b.jpg"]),
            ("?.jpg", ["a.jpg", "b.jpg"]),
            ("[!a].jpg", ["b.jpg"]),
            ("*/*.jpg", ["x/a.jpg", "x/b.jpg", "y/a.jpg"]),
            ("x*/?.jpg", ["x/a.jpg", "x/b.jpg"]),
            ("**/a.jpg", ["a.jpg", "x/a.jpg", "x/z/a.jpg", "y/a.jpg"]),
            ("x/**/*.jpg", ["x/a.jpg", "x/b.jpg", "x/z/a.jpg"]),
            ("x/**", ["x/a.jpg", "x/b.jpg", "x/z/a.jpg"]),
            ("**/z/**/a.*", ["x/z/a.jpg"]),
            ("*", ["a.jpg", "b.jpg"]),
        ],
    )
    def test_patterns(self, tmp_path: Path, pattern: str, expected: list[str]) -> None:
        make(tmp_path, "a.jpg", "b.jpg", "c.txt", "x/a.jpg", "x/b.jpg", "x/z/a.jpg", "y/a.jpg", ".h/a.jpg", "x/.a.jpg")
        assert names(read_source(f"{tmp_path}/{pattern}"), tmp_path) == expected

    def test_only_folders_that_can_match_are_listed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(tmp_path, "x/a.jpg", "x/deep/a.jpg", "y/a.jpg")
        listed = []
        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: (listed.append(path), scandir(path))[1])
        assert names(read_source(f"{tmp_path}/x*/*.jpg"), tmp_path) == ["x/a.jpg"]
        assert listed == [str(tmp_path), f"{tmp_path}/x"]

    def test_a_path_that_exists_is_no_pattern(self, tmp_path: Path) -> None:
        make(tmp_path, "[a].jpg", "a.jpg", "album [1]/b.jpg")
        assert names(read_source(tmp_path / "[a].jpg"), tmp_path) == ["[a].jpg"]
        assert names(read_source(tmp_path / "album [1]"), tmp_path) == ["album [1]/b.jpg"]


class TestIterable:
    def test_each_is_a_source_in_its_turn(self, tmp_path: Path) -> None:
        make(tmp_path, "a.jpg", "x/b.jpg", "x/c.jpg", "g1.png", "g2.png")
        sources = (one for one in [tmp_path / "x", str(tmp_path / "a.jpg"), str(tmp_path / "g*.png")])
        assert names(read_source(sources), tmp_path) == ["x/b.jpg", "x/c.jpg", "a.jpg", "g1.png", "g2.png"]

    def test_what_is_not_there_is_refused_and_the_rest_read(self, tmp_path: Path) -> None:
        make(tmp_path, "a.jpg")
        sources = [tmp_path / "none.jpg", tmp_path / "no*.jpg", tmp_path / ("x" * 5000), tmp_path / "a.jpg"]
        refused = names(read_source(sources), tmp_path)
        assert refused == ["none.jpg!missing", "no*.jpg!missing", "x" * 5000 + "!unusable name", "a.jpg"]

    def test_is_not_read_ahead(self, tmp_path: Path) -> None:
        make(tmp_path, "a.jpg")

        def sources() -> Iterator[Path]:
            yield tmp_path / "a.jpg"
            raise AssertionError("asked too early")

        assert next(read_source(sources())).uri == f"{tmp_path}/a.jpg"


class TestRoot:
    def test_uris_are_relative(self, tmp_path: Path) -> None:
        make(tmp_path, "x/y/a.jpg")
        (record,) = read_source(tmp_path / "x", root=tmp_path)
        assert isinstance(record, Record)
        assert (record.uri, record.id) == ("x/y/a.jpg", record_id("x/y/a.jpg"))
        assert record.reader.read(100) == b"pixels"
        assert [one.uri for one in read_source(tmp_path / "x", root=tmp_path / "x")] == ["y/a.jpg"]
        assert [one.uri for one in read_source(tmp_path / "x" / "**", root=str(tmp_path))] == ["x/y/a.jpg"]
        assert [one.uri for one in read_source(tmp_path / "x", root="/")] == [f"{tmp_path}/x/y/a.jpg"[1:]]

    def test_outside(self, tmp_path: Path) -> None:
        make(tmp_path, "x/a.jpg", "xy/a.jpg")
        for source in (tmp_path, tmp_path / "xy", tmp_path / "xy" / "a.jpg"):
            with pytest.raises(SourceError, match="outside the root"):
                read_source(source, root=tmp_path / "x")
        stream = read_source([tmp_path / "x", tmp_path / "xy"], root=tmp_path / "x")
        assert next(stream).uri == "a.jpg"
        with pytest.raises(SourceError, match="outside the root"):
            next(stream)

    def test_is_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"^root .* is not a folder$"):
            read_source(tmp_path, root=tmp_path / "none")


def test_metadata_reaches_the_records(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.jpg", "photos/b.jpg", "photos/c.jpg")
    (tmp_path / "albums.csv").write_text("path,album\nphotos/a.jpg,cats\nb.jpg,dogs\nnone.jpg,birds\n")
    metadata = load_metadata(tmp_path / "albums.csv")
    records = list(read_source(tmp_path / "photos", metadata=metadata))
    assert [one.metadata for one in records if isinstance(one, Record)] == [{"album": "cats"}, {"album": "dogs"}, {}]
    assert metadata.unused == ["none.jpg"]


class TestGone:
    def test_only_what_belongs_to_the_source_and_is_not_there(self, tmp_path: Path) -> None:
        make(tmp_path, "x/a.jpg", "y/a.jpg")
        is_gone = gone_from(tmp_path / "x")
        assert not is_gone(f"{tmp_path}/x/a.jpg")
        assert is_gone(f"{tmp_path}/x/b.jpg")
        assert is_gone(f"{tmp_path}/x/none/b.jpg")
        assert is_gone(f"{tmp_path}/x/a.jpg/b.jpg")
        assert not is_gone(f"{tmp_path}/y/b.jpg")
        assert not is_gone(f"{tmp_path}/xy/b.jpg")
        assert not is_gone(f"{tmp_path}/x/../y/b.jpg")
        assert not is_gone("x/b.jpg")
        assert not is_gone("https://example.org/b.jpg")
        assert not is_gone("nul\0byte")

    def test_sources_that_are_file_urls(self, tmp_path: Path) -> None:
        make(tmp_path, "x y/a.jpg")
        is_gone = gone_from([f"file://{tmp_path}/x%20y", "https://example.org/x"])
        assert not is_gone(f"{tmp_path}/x y/a.jpg")
        assert is_gone(f"{tmp_path}/x y/b.jpg")
        assert not is_gone(f"{tmp_path}/z/b.jpg")

    def test_with_root(self, tmp_path: Path) -> None:
        make(tmp_path, "x/a.jpg")
        assert not gone_from(tmp_path, root=tmp_path)("https://example.org/b.jpg")
        is_gone = gone_from(tmp_path / "x", root=tmp_path)
        assert not is_gone("x/a.jpg")
        assert is_gone("x/b.jpg")
        assert not is_gone("y/b.jpg")

    def test_files_and_globs(self, tmp_path: Path) -> None:
        make(tmp_path, "x/a.jpg")
        is_gone = gone_from([tmp_path / "b.jpg", str(tmp_path / "x" / "*.jpg")])
        assert is_gone(f"{tmp_path}/b.jpg")
        assert is_gone(f"{tmp_path}/x/c.jpg")
        assert not is_gone(f"{tmp_path}/x/a.jpg")
        assert not is_gone(f"{tmp_path}/x/y/c.jpg")
        assert not is_gone(f"{tmp_path}/c.jpg")

    def test_a_folder_that_is_gone_itself_takes_nothing_along(self, tmp_path: Path) -> None:
        is_gone = gone_from([tmp_path / "unmounted"])
        assert not is_gone(f"{tmp_path}/unmounted/a.jpg")

    def test_a_file_that_may_not_be_asked_about_is_not_gone(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = make(Path(folder), "closed/a.jpg")
            root.chmod(0o755)
            is_gone = gone_from(root)
            with closed(root / "closed"):
                assert not is_gone(f"{root}/closed/b.jpg")
                assert is_gone(f"{root}/b.jpg")
