"""Metadata files: what is read, how rows find their image, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import picture
from records import read_source

from imgvec.errors import SourceError, UnreadableImage
from imgvec.sources import Metadata, Record, load_metadata


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(metadata: Metadata, folder: Path, *paths: str) -> list[dict]:
    return [dict(metadata.lookup(str(folder / path), str(folder / path))) for path in paths]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "path,album,tags\na.jpg,cats,\nb.jpg,,x y\n"),
        ("m.csv", "\ufeffpath,album,tags\r\na.jpg,cats,\r\nb.jpg,,x y\r\n"),
        ("m.csv", "path;album;tags\na.jpg;cats;\nb.jpg;;x y\n"),
        ("m.csv", "path\talbum\ttags\na.jpg\tcats\t\nb.jpg\t\tx y"),
        ("m.tsv", "path\talbum\ttags\na.jpg\tcats\t\nb.jpg\t\tx y\n"),
        ("m.csv", ",path,album,tags\n0,a.jpg,cats,\n1,b.jpg,,x y\n"),
        ("m.csv", "album , path, tags,\ncats,a.jpg,,\n\n,b.jpg,x y,\n"),
        ("m.csv", 'path,album,tags\n"a.jpg","cats",""\n"b.jpg",,"x y"\n'),
        ("m.csv", "path,album,tags\na.jpg,cats\nb.jpg,,x y\n"),
        ("m.jsonl", '{"path": "a.jpg", "album": "cats"}\n\n{"tags": "x y", "path": "b.jpg", "album": null}\n'),
        ("m.txt", '{"path": "a.jpg", "album": "cats"}\n{"tags": "x y", "path": "b.jpg"}'),
    ],
)
def test_every_spelling_of_the_same_rows(tmp_path: Path, name: str, text: str) -> None:
    metadata = load_metadata(written(tmp_path, name, text))
    assert len(metadata) == 2
    assert rows(metadata, tmp_path, "a.jpg", "b.jpg", "c.jpg") == [{"album": "cats"}, {"tags": "x y"}, {}]
    assert metadata.unused == []


def test_values_keep_their_types_and_their_newlines(tmp_path: Path) -> None:
    lines = written(
        tmp_path, "m.jsonl", '{"path": "a.jpg", "n": 3, "x": 0.5, "ok": false, "tags": ["a", "b"], "o": {}}'
    )
    expected = {"n": 3, "x": 0.5, "ok": False, "tags": ["a", "b"], "o": {}}
    assert rows(load_metadata(lines), tmp_path, "a.jpg") == [expected]
    table = written(tmp_path, "m.csv", 'path,n,text\na.jpg,003,"one, ""two""\nthree"\n')
    assert rows(load_metadata(table), tmp_path, "a.jpg") == [{"n": "003", "text": 'one, "two"\nthree'}]


class TestLookup:
    def test_every_way_to_name_an_image(self, tmp_path: Path) -> None:
        image, uri, source = f"{tmp_path}/root/source/x/a.jpg", "source/x/a.jpg", f"{tmp_path}/root/source"
        for key in (
            image,
            "root/source/x/a.jpg",  # from the metadata file's folder
            "source/x/a.jpg",  # from --root
            "x/a.jpg",  # from the source's folder
            "./x/a.jpg",
            "x//y/../a.jpg",
        ):
            metadata = load_metadata(written(tmp_path, "m.csv", f"path,n\n{key},1\n"))
            assert metadata.lookup(image, uri, folder=source) == {"n": "1"}, key
            assert metadata.unused == []

    def test_beside_the_metadata_file(self, tmp_path: Path) -> None:
        (tmp_path / "tables").mkdir()
        metadata = load_metadata(written(tmp_path / "tables", "m.csv", "path,n\n../photos/a.jpg,1\n"))
        assert rows(metadata, tmp_path, "photos/a.jpg") == [{"n": "1"}]

    def test_a_name_alone_is_not_enough(self, tmp_path: Path) -> None:
        metadata = load_metadata(written(tmp_path, "m.csv", "path,n\na.jpg,1\n"))
        assert rows(metadata, tmp_path, "x/a.jpg") == [{}]
        assert metadata.unused == ["a.jpg"]

    def test_the_most_explicit_path_wins_and_the_other_is_reported(self, tmp_path: Path) -> None:
        metadata = load_metadata(written(tmp_path, "m.csv", f"path,n\na.jpg,1\n{tmp_path}/a.jpg,2\n"))
        assert rows(metadata, tmp_path, "a.jpg") == [{"n": "2"}]
        assert metadata.unused == ["a.jpg"]

    def test_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        metadata = load_metadata(written(tmp_path, "m.csv", "path,n\n~/a.jpg,1\n"))
        assert rows(metadata, tmp_path, "a.jpg") == [{"n": "1"}]

    def test_mapping_starts_from_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        metadata = load_metadata({"a.jpg": {"n": 1}, f"{tmp_path}/b.jpg": {"n": 2}, "c.jpg": {}})
        assert rows(metadata, tmp_path, "a.jpg", "b.jpg") == [{"n": 1}, {"n": 2}]
        assert metadata.unused == ["c.jpg"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("m.csv", "file,album\na.jpg,cats\n", "m.csv:1: .*no column `path`.*file, album"),
        ("m.csv", "", "m.csv:1: .*nothing"),
        ("m.csv", "sep=;\n", "m.csv:2: .*only nothing"),
        ("m.csv", "sep=;\nfile;album\n", "m.csv:2: .*only file, album"),
        ("m.csv", "path,n\na.jpg,1,2\n", "m.csv:2: 3 cells, but the header has 2"),
        ("m.csv", "path,n,n\na.jpg,1,2\n", "m.csv:1: two columns .* the same name"),
        ("m.csv", 'path,n\nb.jpg,1\na.jpg,"' + "x\n" * 9_000_000, "m.csv:3: .*field larger.*a quote not closed"),
        ("m.csv", "path,n\nä.jpg,1\n".encode("latin-1"), "not UTF-8"),
        ("m.jsonl", '{"path": 3}\n', "m.jsonl:1: `path` is empty or not a string"),
        ("m.jsonl", '{"file": "a.jpg"}\n', "m.jsonl:1: `path` is empty or not a string"),
        ("m.json", '[{"path": "a.jpg"}]', "m.json:1: .*one object per line"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, text: str | bytes, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        load_metadata(written(tmp_path, name, text))


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        ("m.csv", "path,n\na.jpg,1\n,2\nb.jpg,2\n", {"m.csv:3": "`path` is empty or not a string"}),
        ("m.csv", "path,n\na.jpg,1,2\nb.jpg,2\n", {"m.csv:2": "3 cells, but the header has 2"}),
        ("m.csv", b"path,n\n\xe4.jpg,1\nb.jpg,2\n", {"m.csv:2": "not UTF-8"}),
        ("m.jsonl", '{"path": "b.jpg"}\n{"path": \n', {"m.jsonl:2": "not valid JSON"}),
        ("m.jsonl", '[1]\n{"path": "b.jpg"}\n', {"m.jsonl:1": "JSON lines need one object per line"}),
        ("m.jsonl", '{"path": "b.jpg"}\n' + "[" * 100_000, {"m.jsonl:2": "not valid JSON"}),
        ("m.jsonl", '{"path": 3}\n{"path": "b.jpg"}\n{}\n',
         {"m.jsonl:1": "`path` is empty or not a string", "m.jsonl:3": "`path` is empty or not a string"}),
    ],
)  # fmt: skip
def test_a_bad_row_costs_itself_alone(tmp_path: Path, name: str, text: str | bytes, refused: dict[str, str]) -> None:
    known = load_metadata(written(tmp_path, name, text))
    assert "b.jpg" in known.unused
    assert [(one.uri, one.reason) for one in known.refused] == [
        (f"{tmp_path}/{place}", "metadata refused") for place in refused
    ]
    assert all(detail in one.detail for one, detail in zip(known.refused, refused.values(), strict=True))


def test_refused_rows_are_told_with_the_images(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    known = load_metadata(written(tmp_path, "m.csv", "path,n\na.png,1\n,2\n"))
    first, second = read_source(tmp_path / "a.png", metadata=known)
    assert isinstance(first, UnreadableImage)
    assert (first.uri, first.reason) == (f"{tmp_path}/m.csv:3", "metadata refused")
    assert isinstance(second, Record)
    assert second.metadata == {"n": "1"}
    # of the parts of a source one tells of it
    parts = [list(read_source(tmp_path / "a.png", metadata=known, part=(rank, 3))) for rank in range(3)]
    assert sum(isinstance(one, UnreadableImage) for part in parts for one in part) == 1


def test_two_rows_of_one_path_cost_its_image(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(1).save(tmp_path / name)
    known = load_metadata(written(tmp_path, "m.csv", "path,n\na.png,1\nb.png,2\n./a.png,3\n"))
    first, second = read_source([tmp_path / "a.png", tmp_path / "b.png"], metadata=known)
    assert isinstance(first, UnreadableImage)
    assert (first.uri, first.reason) == (str(tmp_path / "a.png"), "metadata refused")
    assert first.detail == "the metadata has it in row 2 and again in row 4: keep one of them"
    assert isinstance(second, Record)
    assert (second.metadata, known.refused, known.unused) == ({"n": "2"}, [], [])


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(SourceError, match="cannot read the metadata"):
            load_metadata(path)


def test_mapping_to_no_fields() -> None:
    with pytest.raises(SourceError, match=r"the fields of .* must be a mapping; no valid rows"):
        load_metadata({"a.jpg": ["cats"]})  # type: ignore[dict-item]


def test_a_number_of_thousands_of_digits_ends_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, "m.jsonl", '{"path": "a.jpg", "n": ' + "9" * 5000 + '}\n{"path": "b.jpg", "n": 2}\n')
    [huge, other] = rows(load_metadata(file), tmp_path, "a.jpg", "b.jpg")
    assert huge["n"] > 2**64
    assert other == {"n": 2}


def test_a_bad_row_of_a_mapping_costs_itself_alone() -> None:
    known = load_metadata({"a.jpg": 3, "": {"n": 1}, "b.jpg": {"n": 2}})  # type: ignore[dict-item]
    assert [(one.uri, one.detail) for one in known.refused] == [
        ("metadata:1", "the fields of 'a.jpg' must be a mapping"),
        ("metadata:2", "`path` is empty or not a string"),
    ]
    assert known.unused == ["b.jpg"]


def test_rows_behind_one_that_stands_twice(tmp_path: Path) -> None:
    known = load_metadata(written(tmp_path, "m.csv", "path,n\na.jpg,1\n./a.jpg,2\nb.jpg,3\n"))
    assert known.lookup(str(tmp_path / "b.jpg"), "b") == {"n": "3"}
