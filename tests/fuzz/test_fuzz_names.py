"""File names: an image is brought in under its name, found by it, described by it, and goes only when its file goes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from hypothesis import strategies as st
from pictures import picture
from tally import Fuzz, Tally

from imgvec import ImageCollection
from imgvec.errors import SourceError
from imgvec.report import IngestReport
from imgvec.sources.files import OTHER_SUFFIXES
from imgvec.sources.registry import split_member

DEFINITION = {
    "encoder": {"model": "fake"},
    "index": {"cpu": {"type": "FLAT"}},
    "fields": {"album": {"type": "VARCHAR", "max_length": 1024, "default": ""}},
}

_STEMS = [
    *(
        "a",
        "photo",
        "IMG_0001",
        "é",
        "e\u0301",
        "Ünïcödé",
        "日本語",
        "\U0001f600",
        "\u202egpj",
        "a b",
        " a",
        "a ",
        "\u00a0",
        "\ufeffa",
    ),
    *(
        "a\nb",
        "a\tb",
        "a\rb",
        "a\x1b[31mb",
        "a\x7f",
        "'",
        '"',
        "\\",
        "a\\b",
        "`x`",
        "$HOME",
        "%20",
        "%",
        "%s",
        "{}",
        "{0}",
        "#",
        "?",
    ),
    *(
        "*",
        "[a]",
        "[",
        "]",
        "{a,b}",
        "{000..003}",
        "{1..2}",
        "**",
        "~",
        "~root",
        "-",
        "--help",
        "-k",
        "a=b",
        "a;b",
        "a,b",
        "a|b",
        "a&b",
    ),
    *(
        "!",
        "x.tar!y",
        "x.zip!y",
        "a.csv!0",
        "!x",
        "http:",
        "s3:",
        "id:x",
        "file:",
        "CON",
        "nul",
        "@x",
        "#x",
        "a.b.c",
        "a..b",
        "..a",
        "a.",
    ),
    *(
        "NaN",
        "null",
        "None",
        "true",
        "0",
        "-1",
        "1e3",
        "0x1",
        "2024-06-01",
        "ｆｕｌｌ",
        "ﬁ",
        "İ",
        "ß",
        "x" * 60,
        "é" * 60,
        ".hidden",
        "$x",
    ),
    *("a\u200bb", "\u0000"[:0] + "nul-free", "a\u2028b", "Å", "A\u030a", "\u1e9b\u0323"),
]
_ENDINGS = [
    ".png",
    ".png",
    ".png",
    ".PNG",
    ".jpg",
    ".jpeg",
    "",
    ".heic",
    ".txt",
    ".csv",
    ".zip",
    ".tar",
    ".gz",
    ".x",
    ".db",
    ".png.png",
    ". png",
]
_STRAY = st.binary(min_size=1, max_size=4).filter(lambda raw: not {0, 0x2F} & set(raw))


@st.composite
def file_names(draw: st.DrawFn) -> bytes:
    stem = draw(st.sampled_from(_STEMS) | st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=10))
    raw = stem.encode() + draw(st.sampled_from(_ENDINGS)).encode()
    if draw(st.integers(0, 9)) == 0:
        raw = draw(_STRAY) + raw
    if draw(st.integers(0, 19)) == 0:
        raw = raw[:1] * 200 + raw
    return b"x" if raw in (b"", b".", b"..") else raw[:255]


@st.composite
def trees(draw: st.DrawFn) -> list[bytes]:
    """Relative paths of files, none of them another's folder."""
    folders = [b"", *(name + b"/" for name in draw(st.lists(file_names(), max_size=2)))]
    found: list[bytes] = []
    for name in draw(st.lists(file_names(), min_size=1, max_size=6, unique=True)):
        path = draw(st.sampled_from(folders)) + name
        if path + b"/" not in folders and path not in found:
            found.append(path)
    return found


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    uri = str(tmp_path_factory.mktemp("names") / "lite.db")
    with ImageCollection.create("names", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as made:
        yield made


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    """New empty folders."""
    return (folder for folder in (tmp_path / str(number) for number in count()) if not folder.mkdir())


class Tree:
    """The files of one example, and what is to become of each."""

    def __init__(self, folder: Path, names: list[bytes]) -> None:
        self.folder = folder
        self.images: dict[str, int] = {}
        """Absolute path of what is to be written, and the number of its picture."""
        self.unusable = 0
        for number, name in enumerate(names):
            path = os.fsdecode(os.fsencode(folder) + b"/" + name)
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with Path(path).open("wb") as file:
                picture(number).save(file, "PNG")
            relative = os.fsdecode(name)
            if any(part.startswith(".") for part in relative.split("/")) or _other(relative) or _by_a_nas(relative):
                continue
            if _is_utf8(name):
                self.images[path] = number
            else:
                self.unusable += 1

    def expected(self, **counts: int) -> dict[str, Any]:
        refused = {"unusable name": self.unusable} if self.unusable else {}
        return {"written": 0, "updated": 0, "unchanged": 0, "duplicates": 0, "refused": refused, **counts}


def _other(relative: str) -> bool:
    return Path(relative).suffix.lower() in OTHER_SUFFIXES


def _by_a_nas(relative: str) -> bool:
    """Folders that hold thumbnails and deleted files, and the like."""
    return any(part.lower() in {"@eadir", "#recycle", "$recycle.bin"} for part in relative.split("/")[:-1])


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _counts(report: IngestReport) -> dict[str, Any]:
    names = ("written", "updated", "unchanged", "duplicates")
    return {**{name: getattr(report, name) for name in names}, "refused": dict(report.refused)}


def _uris(collection: ImageCollection) -> set[str]:
    return {row["uri"] for rows in collection.store.scan(["uri"]) for row in rows}


def _empty(collection: ImageCollection) -> None:
    collection.delete([row["id"] for rows in collection.store.scan(["id"]) for row in rows])
    assert collection.count() == 0


def _count(tally: Tally, tree: Tree, names: list[bytes]) -> None:
    tally.inputs += len(names)
    tally.accepted += len(tree.images)
    if tree.unusable:
        tally.refused["unusable name"] += tree.unusable
    if passed_over := len(names) - len(tree.images) - tree.unusable:
        tally.refused["passed over: hidden, not an image's ending"] += passed_over


def test_a_folder_is_brought_in_searched_and_pruned(
    fuzz: Fuzz, tally: Tally, collection: ImageCollection, places: Iterator[Path]
) -> None:
    def check(names: list[bytes]) -> None:
        _empty(collection)
        tree = Tree(next(places), names)
        known = {path: {"album": f"of {number}"} for path, number in tree.images.items()}
        report = collection.ingest(tree.folder, metadata=known)
        assert _counts(report) == tree.expected(written=len(tree.images))
        assert _uris(collection) == set(tree.images)
        again = collection.ingest(tree.folder, metadata=known)
        assert _counts(again) == tree.expected(unchanged=len(tree.images))
        for path, number in tree.images.items():
            [hit] = collection.search(Path(path), limit=1)
            assert (hit.uri, hit.fields["album"]) == (path, f"of {number}")
            assert collection.search(f"id:{hit.id}", limit=1)[0].uri == path
            alone = collection.ingest(Path(path), metadata=known)
            assert alone.unchanged == 1 or _kept_by_ending(path)
        if not tree.images:
            return
        assert collection.prune(tree.folder) == 0
        # what is called like a member of an archive could be one whose archive is gone
        sure = [path for path in tree.images if split_member(path) is None]
        if len(tree.images) > 1 and sure:
            gone = min(sure)
            Path(gone).unlink()
            assert collection.prune(tree.folder) == 1
            assert _uris(collection) == set(tree.images) - {gone}
        _count(tally, tree, names)

    fuzz(check, trees(), day=40, night=2000)


def _kept_by_ending(path: str) -> bool:
    """An ending that names an archive, a manifest or a list."""
    return Path(path).suffix.lower() in OTHER_SUFFIXES


def test_metadata_names_files_as_tables_spell_them(
    fuzz: Fuzz, tally: Tally, collection: ImageCollection, places: Iterator[Path]
) -> None:
    """In CSV and JSON lines, by the absolute and the relative path."""

    def check(drawn: tuple[list[bytes], str, bool]) -> None:
        names, ending, absolute = drawn
        _empty(collection)
        tree = Tree(next(places), names)
        file = next(places) / f"metadata{ending}"
        rows = [
            {"path": path if absolute else os.path.relpath(path, tree.folder), "album": f"of {number}"}
            for path, number in tree.images.items()
        ]
        _write_table(file, rows)
        report = collection.ingest(tree.folder, metadata=file)
        assert _counts(report) == tree.expected(written=len(tree.images))
        found = {row["uri"]: row["album"] for part in collection.store.scan(["uri", "album"]) for row in part}
        twins = _twins([row["path"] for row in rows])
        for path, number in tree.images.items():
            relative = os.path.relpath(path, tree.folder)
            # a relative path that begins with ~ is somebody's home
            if relative not in twins and path not in twins and (absolute or not relative.startswith("~")):
                assert found[path] == f"of {number}", path
        _count(tally, tree, names)

    fuzz(check, st.tuples(trees(), st.sampled_from([".csv", ".tsv", ".jsonl"]), st.booleans()), day=40, night=2000)


def _twins(paths: list[str]) -> set[str]:
    """Names that differ in nothing that everyone tells apart: normal form, blanks around them."""
    keys = [unicodedata.normalize("NFC", path).strip() for path in paths]
    return {path for path, key in zip(paths, keys, strict=True) if keys.count(key) > 1}


def _write_table(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        if file.suffix == ".jsonl":
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(stream, ["path", "album"], delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


def test_members_of_archives(fuzz: Fuzz, tally: Tally, collection: ImageCollection, places: Iterator[Path]) -> None:
    """Written once, unchanged the next time, and pruned when the archive has them no longer."""

    def check(drawn: tuple[list[bytes], str]) -> None:
        names, ending = drawn
        _empty(collection)
        tree = Tree(next(places), names)
        archive = next(places) / f"shard{ending}"
        members = sorted(os.path.relpath(path, tree.folder) for path in tree.images)
        _pack(archive, tree.folder, members)
        with tally.expecting(SourceError):
            report = collection.ingest(archive)
            assert report.written + report.refused.total() == len(members)
            assert _uris(collection) <= {f"{archive}!{name}" for name in members}
            assert len(_uris(collection)) == report.written == collection.count()
            assert collection.ingest(archive).unchanged == report.written
            if not report.written:
                return
            assert collection.prune(archive) == 0
            stored = sorted(_uris(collection))
            if len(stored) > 1:
                gone = stored[0].partition("!")[2]
                _pack(archive, tree.folder, [name for name in members if name != gone])
                assert collection.prune(archive) == 1
                assert sorted(_uris(collection)) == stored[1:]

    fuzz(check, st.tuples(trees(), st.sampled_from([".tar", ".zip", ".tar.gz"])), day=40, night=2000)


def _pack(archive: Path, folder: Path, names: list[str]) -> None:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name in names:
                packed.write(folder / name, name)
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as packed:
            for name in names:
                packed.add(folder / name, name)


def test_lists_and_manifests_name_files(
    fuzz: Fuzz, tally: Tally, collection: ImageCollection, places: Iterator[Path]
) -> None:
    def check(drawn: tuple[list[bytes], str]) -> None:
        names, ending = drawn
        _empty(collection)
        tree = Tree(next(places), names)
        file = tree.folder / f"listed{ending}"
        shutil.rmtree(file, ignore_errors=True)
        paths = list(tree.images)
        if ending == ".txt":
            paths = [path for path in paths if path == path.strip() and not set(path) & set("\n\r")]
            file.write_text("".join(path + "\n" for path in paths), encoding="utf-8", newline="")
        else:
            _write_table(file, [{"path": path, "album": "a"} for path in paths])
        report = collection.ingest(file)
        plain = [path for path in paths if path == path.strip()]
        assert report.written + report.refused.total() + report.duplicates == len(paths)
        assert set(plain) <= _uris(collection) <= set(paths) | {path.strip() for path in paths}
        assert collection.ingest(file).written == 0
        _count(tally, tree, names)

    fuzz(check, st.tuples(trees(), st.sampled_from([".txt", ".csv", ".jsonl"])), day=30, night=2000)
