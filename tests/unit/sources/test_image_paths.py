"""What a path, a row's path and a reader say: each reason in its words, at the bounds and for names alike."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from unicodedata import normalize

import pytest

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images.readers import BytesReader, FileReader, describe_mode, path_trouble
from imgvec.sources import load_metadata
from imgvec.sources.metadata import Metadata
from imgvec.sources.names import alike, composed, is_another, is_windows, plain_path, present
from imgvec.sources.records import Again

NFC, NFD = normalize("NFC", "é.jpg"), normalize("NFD", "é.jpg")


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (FileNotFoundError(errno.ENOENT, "not here"), "missing", "not here"),
        (NotADirectoryError(errno.ENOTDIR, "a file above"), "missing", "a file above"),
        (PermissionError(errno.EACCES, "not you"), "permission denied", "not you"),
        (IsADirectoryError(errno.EISDIR, "said"), "not a regular file", "a directory"),
        (OSError(errno.ENAMETOOLONG, "so long"), "unusable name", "so long"),
        (ValueError("embedded null byte"), "unusable name", "embedded null byte"),
        (OSError(errno.ELOOP, "said"), "not a regular file", "a symbolic link"),
        (OSError(errno.ENXIO, "said"), "not a regular file", "a socket or a missing device"),
        (OSError(errno.EIO, "the disk"), "read failed", "the disk"),
        (OSError("of no number"), "read failed", "of no number"),
    ],
)
def test_what_the_system_says_of_a_path(error: OSError | ValueError, reason: str, detail: str) -> None:
    assert path_trouble(error) == (reason, detail)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (stat.S_IFDIR, "a directory"),
        (stat.S_IFIFO | 0o644, "a FIFO"),
        (stat.S_IFSOCK, "a socket"),
        (stat.S_IFBLK, "a block device"),
        (stat.S_IFCHR, "a character device"),
        (stat.S_IFLNK | 0o777, "a symbolic link"),
        (stat.S_IFREG, "of an unknown kind"),
    ],
)
def test_a_mode_in_words(mode: int, said: str) -> None:
    assert describe_mode(mode) == said


@pytest.mark.parametrize(
    ("first", "detail"),
    [
        ("a.jpg", "a.jpg is already in the source with different metadata; keep one of them"),
        ("b.jpg", "its id 'k' is already used by b.jpg; ids must be unique"),
        (None, "its id 'k' is already used by an image; ids must be unique"),
    ],
)
def test_why_an_id_is_not_taken_twice(first: str | None, detail: str) -> None:
    error = Again("k", "a.jpg", same=False).refusal(first)
    assert (error.uri, error.reason, error.detail) == ("a.jpg", "given twice", detail)


@pytest.mark.parametrize("kind", ["file", "bytes"])
def test_a_reader_at_the_limit(kind: str, tmp_path: Path) -> None:
    def reader(data: bytes) -> FileReader | BytesReader:
        path = tmp_path / "a.jpg"
        path.write_bytes(data)
        return FileReader(path, "u") if kind == "file" else BytesReader(data, "u")

    assert reader(bytes(2000)).read(2000) == bytes(2000)
    with pytest.raises(UnreadableImage) as caught:
        reader(bytes(2000)).read(1999)
    error = caught.value
    assert (error.uri, error.reason, error.detail) == ("u", "too large", "2,000 bytes, the limit is 1,999")
    with pytest.raises(UnreadableImage) as caught:
        reader(b"").read(1)
    assert (caught.value.uri, caught.value.reason, caught.value.detail) == ("u", "empty", "")


def test_a_file_beside_another(tmp_path: Path) -> None:
    one, other, same = (str(tmp_path / name) for name in ("one", "other", "same"))
    Path(one).write_bytes(b"1")
    assert is_another(other, one) is False
    assert is_another(one, other) is True  # there, and what it is compared with is not
    assert is_another("nul\0", one) is False
    Path(other).write_bytes(b"1")
    os.link(one, same)
    assert is_another(other, one) is True
    assert is_another(same, one) is False


def test_accents_composed_differently(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert alike(f"{folder}/{NFC}") == []
    assert present(f"{folder}/{NFC}") == f"{folder}/{NFC}"
    (tmp_path / NFD).write_bytes(b"1")
    assert present(f"{folder}/{NFC}") == f"{folder}/{NFD}"
    assert alike(f"{folder}/{NFC}") == [f"{folder}/{NFD}"]
    assert alike(f"{folder}/{NFD}") == []
    (tmp_path / NFC).write_bytes(b"2")
    assert present(f"{folder}/{NFC}") == f"{folder}/{NFC}"
    assert alike(f"{folder}/{NFC}") == [f"{folder}/{NFD}"]
    assert alike(f"{folder}/{NFD}") == [f"{folder}/{NFC}"]
    assert (composed(NFD), composed(NFC), composed("a")) == (NFC, NFC, "a")


def test_a_name_that_two_folders_fit_is_not_guessed(tmp_path: Path) -> None:
    # a form that is neither: one accent composed, the other not
    mixed = normalize("NFC", "é") + normalize("NFD", "é")
    for form in ("NFC", "NFD"):
        (tmp_path / normalize(form, mixed)).write_bytes(b"1")
    with pytest.raises(ValueError, match="differ only in how accents are composed") as caught:
        present(f"{tmp_path}/{mixed}")
    first, second = (normalize(form, mixed) for form in ("NFC", "NFD"))
    assert (
        str(caught.value) == f"{tmp_path} has both {first} and {second}, which differ only in how accents are composed"
    )


def test_backslashes_are_slashes_where_nothing_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.jpg").write_bytes(b"1")
    assert present(f"{tmp_path}/s\\a.jpg") == f"{tmp_path}/s/a.jpg"
    (tmp_path / "s\\a.jpg").write_bytes(b"2")
    assert present(f"{tmp_path}/s\\a.jpg") == f"{tmp_path}/s\\a.jpg"
    assert plain_path(f" s\\\\x\\..\\{NFD} ") == f"s/{NFC}"
    assert [is_windows(path) for path in ("C:\\a", "c:/a", "\\\\host\\a", "C:a", "/c:/a", "\\a", "1:/a")] == [
        *(True, True, True),
        *(False, False, False, False),
    ]


class TestRowsThatFitAnotherFile:
    """A row is not given to an image if there is a file that it names exactly."""

    def look(self, folder: Path, row: str, name: str) -> object:
        metadata = Metadata({row: {"k": 1}}, folder=str(folder))
        return metadata.lookup(str(folder / name), str(folder / name))

    def test_with_a_backslash_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "s").mkdir()
        for name in (NFC, NFD):
            (tmp_path / "s" / name).write_bytes(b"1")
        assert self.look(tmp_path, f"s\\{NFD}", f"s/{NFC}") == {}
        (tmp_path / "s" / NFD).unlink()
        assert self.look(tmp_path, f"s\\{NFD}", f"s/{NFC}") == {"k": 1}

    @pytest.mark.parametrize(("row", "name"), [("s\\a.jpg", "s/a.jpg"), (" a.jpg", "a.jpg")])
    def test_as_it_is_written(self, row: str, name: str, tmp_path: Path) -> None:
        (tmp_path / "s").mkdir()
        (tmp_path / name).write_bytes(b"1")
        assert self.look(tmp_path, row, name) == {"k": 1}
        (tmp_path / row).write_bytes(b"2")
        assert self.look(tmp_path, row, name) == {}

    def test_two_files_that_it_fits_alike(self, tmp_path: Path) -> None:
        mixed = normalize("NFC", "é") + normalize("NFD", "é")  # the name of neither
        first, second = (normalize(form, mixed) for form in ("NFC", "NFD"))
        for name in (first, second):
            (tmp_path / name).write_bytes(b"1")
        with pytest.raises(ValueError, match="also matches") as caught:
            self.look(tmp_path, mixed, first)
        said = f"the metadata row {mixed!r} also matches {tmp_path}/{second}: spell the path exactly"
        assert str(caught.value) == said


def test_two_rows_or_two_images_of_one_row() -> None:
    metadata = Metadata({"a\\b.jpg": {"k": 1}, " a/b.jpg": {"k": 2}, f"s/{NFD}": {"k": 3}}, folder="/f")
    with pytest.raises(ValueError, match="two metadata rows match it") as caught:
        metadata.lookup("s.tar!a/b.jpg", "s.tar!a/b.jpg", member="a/b.jpg")
    assert str(caught.value) == "two metadata rows match it, 'a\\\\b.jpg' and ' a/b.jpg': keep one"
    assert metadata.lookup("s.tar!x", "s.tar!x", member=f"s/{NFC}") == {"k": 3}
    assert metadata.unused == ["a\\b.jpg", " a/b.jpg"]
    with pytest.raises(ValueError, match="also matches") as caught:
        metadata.lookup("t.tar!x", "t.tar!x", member=f"s/{NFC}")
    assert str(caught.value) == f"the metadata row {f's/{NFD}'!r} also matches s.tar!x: spell the path exactly"
    assert metadata.columns == ["k"]


@pytest.mark.parametrize("at", [1, 2])
def test_metadata_that_cannot_be_read(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m.csv"
    file.write_text("path,k\na.jpg,1\n")
    given, opened = Path.open, list[Path]()

    def failing(self: Path, *args: object, **options: object) -> object:
        opened.append(self)
        if len(opened) == at:
            raise OSError(errno.EIO, "the disk")
        return given(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(SourceError) as caught:
        load_metadata(file)
    assert str(caught.value) == f"{file}: cannot read the metadata: the disk"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"path,k\n\xff,1\n", "{file}:2: not UTF-8; save the file as UTF-8; no valid rows"),
        (b"path,k\n,1\n", "{file}:2: `path` is empty or not a string; no valid rows"),
    ],
)
def test_metadata_that_is_refused(text: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_bytes(text)
    with pytest.raises(SourceError) as caught:
        load_metadata(file)
    assert str(caught.value) == said.format(file=file)


def test_a_path_of_two_rows_costs_its_image(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,k\na.jpg,1\nb.jpg,2\na.jpg,3\n")
    metadata = load_metadata(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="the metadata has it in row 2 and again in row 4: keep one of them"):
        metadata.lookup(f"{tmp_path}/a.jpg", f"{tmp_path}/a.jpg")
    assert metadata.lookup(f"{tmp_path}/b.jpg", f"{tmp_path}/b.jpg") == {"k": "2"}
