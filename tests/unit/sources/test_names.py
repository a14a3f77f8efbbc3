"""Names whose accents are composed or not, Windows's backslashes, spaces: found where exactly one file is meant."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture
from records import read_source

from imgvec.errors import SourceError, UnreadableImage
from imgvec.search.forms import ImageFile
from imgvec.search.guessing import all_guessed
from imgvec.search.searcher import Searcher
from imgvec.sources import Record, load_metadata, present

NFC, NFD = (unicodedata.normalize(form, "Zürich Café.jpg") for form in ("NFC", "NFD"))
BOTH = pytest.mark.parametrize(("there", "asked"), [(NFC, NFD), (NFD, NFC)])


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    if len({name.name for name in folder.iterdir()}) < len({name.split("/")[0] for name in names}):
        pytest.skip("this file system takes NFC and NFD for one name")
    return folder


@BOTH
class TestAccents:
    def test_metadata(self, tmp_path: Path, there: str, asked: str) -> None:
        write(tmp_path, f"d/{there}", "d/a.jpg")
        for row in (f"d/{asked}", asked, f"{tmp_path}/d/{asked}"):
            (tmp_path / "m.csv").write_text(f"path,album\n{row},trip\n", encoding="utf-8")
            known = load_metadata(tmp_path / "m.csv")
            fields = [one.metadata for one in read_source(tmp_path / "d", metadata=known) if isinstance(one, Record)]
            assert sorted(fields, key=len) == [{}, {"album": "trip"}]
            assert known.unused == []

    @pytest.mark.parametrize("kind", ["m.csv", "list.txt"])
    def test_manifests_and_lists(self, tmp_path: Path, there: str, asked: str, kind: str) -> None:
        write(tmp_path, f"{there}.d/{there}")
        head = "path\n" if kind == "m.csv" else ""
        (tmp_path / kind).write_text(f"{head}{asked}.d/{asked}\n", encoding="utf-8")
        (record,) = read_source(tmp_path / kind)
        (listed,) = read_source(tmp_path / f"{there}.d")
        assert isinstance(record, Record)
        assert isinstance(listed, Record)
        assert (record.uri, record.id) == (listed.uri, listed.id)  # one row, however it is brought in
        assert record.reader.read(999) == f"{there}.d/{there}".encode()

    def test_sources_and_globs(self, tmp_path: Path, there: str, asked: str) -> None:
        write(tmp_path, f"{there}.d/{there}")
        expected = [f"{tmp_path}/{there}.d/{there}"]
        for source in (f"{asked}.d", f"{asked}.d/{asked}", f"{asked}.d/*.jpg", f"{asked[:4]}*/{asked[:3]}*.jpg"):
            assert [one.uri for one in read_source(f"{tmp_path}/{source}")] == expected
        assert [one.uri for one in read_source(tmp_path / f"{there}.d", root=tmp_path / f"{asked}.d")] == [there]

    def test_queries(self, tmp_path: Path, there: str, asked: str) -> None:
        write(tmp_path, there)
        picture(1).save(tmp_path / there)
        searcher = Searcher(FakeStore(), lambda _: FakeEncoder(), max_pixels=10**6, max_bytes=10**7)
        here = searcher.vectors([ImageFile(tmp_path / there)])
        assert searcher.vectors(all_guessed([str(tmp_path / asked)])).tolist() == here.tolist()
        assert searcher.vectors([ImageFile(tmp_path / asked)]).shape == (1, 16)
        with pytest.raises(UnreadableImage, match="missing"):
            searcher.vectors(all_guessed([str(tmp_path / f"x{asked}")]))

    def test_where_both_are_there_each_has_its_own_row(self, tmp_path: Path, there: str, asked: str) -> None:
        write(tmp_path, there, asked)
        (tmp_path / "m.csv").write_text(f"path,album\n{asked},trip\n", encoding="utf-8")
        rows = {one.uri: one.metadata for one in read_source(tmp_path, metadata=load_metadata(tmp_path / "m.csv"))
                if isinstance(one, Record)}  # fmt: skip
        assert rows == {f"{tmp_path}/{asked}": {"album": "trip"}, f"{tmp_path}/{there}": {}}
        assert [one.uri for one in read_source(tmp_path / "m.csv")] == [f"{tmp_path}/{asked}"]


def test_what_could_be_either_is_refused(tmp_path: Path) -> None:
    mixed = NFC[:7] + NFD[8:]  # one accent composed, the other not: neither file's name exactly
    assert unicodedata.normalize("NFC", mixed) == NFC
    write(tmp_path, f"d/{NFC}", f"d/{NFD}")
    (tmp_path / "m.csv").write_text(f"path,album\nd/{mixed},trip\n", encoding="utf-8")
    for source, known in ((tmp_path / "m.csv", None), (tmp_path / "d", load_metadata(tmp_path / "m.csv"))):
        found = list(read_source(source, metadata=known))
        says = r"spell (it|the path) exactly"
        assert all(isinstance(one, UnreadableImage) and re.search(says, one.detail) for one in found), found
    with pytest.raises(SourceError, match="differ only in how accents are composed: spell it exactly"):
        read_source(tmp_path / "d" / mixed)
    with pytest.raises(UnreadableImage, match="spell it exactly"):
        Searcher(FakeStore(), lambda _: FakeEncoder(), max_pixels=1, max_bytes=1).vectors(
            [ImageFile(tmp_path / "d" / mixed)]
        )


def test_two_rows_for_one_file_are_refused_with_it(tmp_path: Path) -> None:
    mixed = NFC[:7] + NFD[8:]
    write(tmp_path, f"d/{mixed}")
    (tmp_path / "m.csv").write_text(f"path,album\nd/{NFC},a\nd/{NFD},b\n", encoding="utf-8")
    (refused,) = read_source(tmp_path / "d", metadata=load_metadata(tmp_path / "m.csv"))
    assert isinstance(refused, UnreadableImage)
    assert (refused.reason, "two metadata rows match it" in refused.detail) == ("metadata refused", True)


@pytest.mark.parametrize("cell", ["x\\a.jpg", ".\\x\\a.jpg", "x/a.jpg ", " x/a.jpg", "x\\a.jpg\t"])
def test_as_windows_and_spreadsheets_write_paths(tmp_path: Path, cell: str) -> None:
    write(tmp_path, "x/a.jpg")
    (tmp_path / "m.csv").write_text(f"path,album\n{cell},trip\n")
    known = load_metadata(tmp_path / "m.csv")
    (record,) = read_source(tmp_path / "x", metadata=known)
    assert isinstance(record, Record)
    assert (record.metadata, known.unused) == ({"album": "trip"}, [])
    (named,) = read_source(tmp_path / "m.csv")
    assert named.uri == f"{tmp_path}/x/a.jpg"


def test_a_name_with_a_backslash_is_a_name(tmp_path: Path) -> None:
    write(tmp_path, "x\\a.jpg", "x/a.jpg")
    (tmp_path / "m.csv").write_text("path,album\nx\\a.jpg,trip\n")
    rows = [one.metadata for one in read_source(tmp_path, metadata=load_metadata(tmp_path / "m.csv"))
            if isinstance(one, Record)]  # fmt: skip
    assert rows == [{}, {"album": "trip"}] or rows == [{"album": "trip"}, {}]
    assert [one.uri for one in read_source(tmp_path / "m.csv")] == [f"{tmp_path}/x\\a.jpg"]


@pytest.mark.parametrize("cell", ["C:\\Users\\me\\a.jpg", "c:/a.jpg", "\\\\nas\\photos\\a.jpg"])
def test_a_path_of_another_system_is_called_that(tmp_path: Path, cell: str) -> None:
    (tmp_path / "m.csv").write_text(f"path\n{cell}\n")
    (refused,) = read_source(tmp_path / "m.csv")
    assert isinstance(refused, UnreadableImage)
    assert (refused.uri, refused.reason) == (cell, "missing")
    assert "a Windows path" in refused.detail


def test_what_is_not_there_stays_as_it_was_asked_for(tmp_path: Path) -> None:
    assert present(f"{tmp_path}/{NFD}") == f"{tmp_path}/{NFD}"
    assert present("/none\\x") == "/none\\x"
