"""What a source leaves out on purpose, and says: links, what systems keep for themselves, what is excluded."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from records import gone_from, read_source

from imgvec.errors import SourceError, UnreadableImage, UsageError
from imgvec.images import FileReader
from imgvec.sources import PassedOver, Record


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def found(source: Any, folder: Path, **options: Any) -> tuple[list[str], dict[str, str]]:
    """The uris of the records and refusals (behind a `!` the reason), and what was passed over with its reason."""
    taken, passed = [], {}
    for item in read_source(source, **options):
        if isinstance(item, PassedOver):
            passed[item.uri.removeprefix(f"{folder}/")] = item.why
        elif isinstance(item, UnreadableImage):
            taken.append(f"{item.uri.removeprefix(f'{folder}/')}!{item.reason}")
        else:
            assert isinstance(item, Record)
            taken.append(item.uri.removeprefix(f"{folder}/"))
    return taken, passed


class TestLinks:
    def test_links_are_counted_where_they_are_not_followed(self, tmp_path: Path) -> None:
        make(tmp_path, "in/a.jpg", "out/b.jpg")
        for name in ("link.jpg", "nothing.jpg", "notes.txt", "folder", ".hidden.jpg"):
            target = {"folder": "out", "nothing.jpg": "none"}.get(name, "out/b.jpg")
            (tmp_path / "in" / name).symlink_to(tmp_path / target)
        taken, passed = found(tmp_path / "in", tmp_path)
        assert taken == ["in/a.jpg"]
        assert passed == dict.fromkeys(("in/folder", "in/link.jpg", "in/nothing.jpg"), "symbolic link")
        assert found(f"{tmp_path}/in/*.jpg", tmp_path)[1].keys() == {"in/link.jpg", "in/nothing.jpg"}

    def test_a_pattern_that_only_links_match_says_so(self, tmp_path: Path) -> None:
        make(tmp_path, "out/b.jpg", "out/s.tar")
        (tmp_path / "in").mkdir()
        for name in ("1.jpg", "2.jpg"):
            (tmp_path / "in" / name).symlink_to(tmp_path / "out" / "b.jpg")
        (tmp_path / "in" / "s.tar").symlink_to(tmp_path / "out" / "s.tar")
        for pattern, number in (("*.jpg", 2), ("*.tar", 1)):
            with pytest.raises(SourceError, match=rf"{number} x symbolic link \(the first: .*\); use --follow-links "):
                read_source(f"{tmp_path}/in/{pattern}")
            assert len(found([f"{tmp_path}/in/{pattern}"], tmp_path)[1]) == number

    def test_the_uri_is_the_link_s_own_path(self, tmp_path: Path) -> None:
        make(tmp_path, "in/a.jpg", "out/b", "out/deep/c.jpg")
        (tmp_path / "in" / "link.jpg").symlink_to("../out/b")
        (tmp_path / "in" / "folder").symlink_to(tmp_path / "out" / "deep")
        records = list(read_source(tmp_path / "in", follow_links=True))
        assert [item.uri for item in records if isinstance(item, Record)] == [
            f"{tmp_path}/in/{name}" for name in ("a.jpg", "folder/c.jpg", "link.jpg")
        ]
        assert [item.reader.read(99) for item in records if isinstance(item, Record)] == [
            b"in/a.jpg", b"out/deep/c.jpg", b"out/b"
        ]  # fmt: skip
        assert found(f"{tmp_path}/in/*/*.jpg", tmp_path, follow_links=True)[0] == ["in/folder/c.jpg"]
        assert found(tmp_path / "in", tmp_path, follow_links=True, root=tmp_path)[0][-1] == "in/link.jpg"

    def test_a_glob_of_linked_archives(self, tmp_path: Path) -> None:
        make(tmp_path, "out/1.jpg")
        with tarfile.open(tmp_path / "out" / "shard", "w") as archive:
            archive.add(tmp_path / "out" / "1.jpg", "1.jpg")
        (tmp_path / "s-0.tar").symlink_to("out/shard")
        assert found(f"{tmp_path}/s-*.tar", tmp_path, follow_links=True)[0] == ["s-0.tar!1.jpg"]

    def test_round_in_circles(self, tmp_path: Path) -> None:
        make(tmp_path, "in/x/a.jpg", "in/y/b.jpg", "out/c.jpg")
        for link, target in (
            ("in/x/up", "../.."), ("in/x/self", "."), ("in/x/y", "../y"), ("in/y/x", "../x"), ("in/itself", "itself"),
            ("out/back", "../in"), ("in/out", "../out"),
        ):  # fmt: skip
            (tmp_path / link).symlink_to(target)
        taken, passed = found(tmp_path / "in", tmp_path, follow_links=True)
        targets = [os.path.realpath(tmp_path / name) for name in taken]
        assert sorted(targets) == [f"{tmp_path}/{name}" for name in ("in/x/a.jpg", "in/y/b.jpg", "out/c.jpg")]
        assert passed["in/x/self"] == passed["in/x/y"] == "taken already"
        assert passed["in/itself"] == "dangling link"

    def test_many_folders_that_all_lead_to_each_other(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        for one in range(12):
            make(tmp_path, f"out/{one}/a.jpg")
        for one in range(12):
            (tmp_path / "in" / str(one)).symlink_to(tmp_path / "out" / str(one))
            for other in range(12):
                (tmp_path / "out" / str(one) / str(other)).symlink_to(tmp_path / "out" / str(other))
        taken, _ = found(tmp_path / "in", tmp_path, follow_links=True)
        assert len(taken) == 12

    def test_the_same_file_is_taken_once(self, tmp_path: Path) -> None:
        """Under its own path where the source comes by, else under that of the first link."""
        make(tmp_path, "in/z.jpg", "out/b.jpg")
        for link, target in (("in/a.jpg", "z.jpg"), ("in/l1.jpg", "../out/b.jpg"), ("in/l2.jpg", "../out/b.jpg")):
            (tmp_path / link).symlink_to(target)
        (tmp_path / "in" / "m").symlink_to("../out")
        taken, passed = found(tmp_path / "in", tmp_path, follow_links=True)
        assert taken == ["in/l1.jpg", "in/z.jpg"]
        assert passed == dict.fromkeys(("in/a.jpg", "in/l2.jpg", "in/m/b.jpg"), "taken already")
        # what this source would not come by is not taken already
        assert found(f"{tmp_path}/in/a*.jpg", tmp_path, follow_links=True)[0] == ["in/a.jpg"]
        assert found(tmp_path / "in", tmp_path, follow_links=True, exclude=["z.jpg"])[0] == ["in/a.jpg", "in/l1.jpg"]

    def test_as_git_annex_and_the_hub_s_cache_lay_them_out(self, tmp_path: Path) -> None:
        make(tmp_path, "annex/.git/annex/objects/q/K--1.jpg", "hub/blobs/f00", "hub/refs/main")
        (tmp_path / "annex" / "a.jpg").symlink_to(".git/annex/objects/q/K--1.jpg")
        (tmp_path / "annex" / "dropped.jpg").symlink_to(".git/annex/objects/q/K--2.jpg")
        (tmp_path / "hub" / "snapshots" / "1").mkdir(parents=True)
        (tmp_path / "hub" / "snapshots" / "1" / "b.jpg").symlink_to("../../blobs/f00")
        taken, _ = found(tmp_path / "annex", tmp_path, follow_links=True)
        assert taken == ["annex/a.jpg", "annex/dropped.jpg!missing"]
        (refused,) = (
            one for one in read_source(tmp_path / "annex", follow_links=True) if isinstance(one, UnreadableImage)
        )
        assert "a symbolic link to .git/annex/objects/q/K--2.jpg, which does not exist" in refused.detail
        assert found(tmp_path / "hub" / "snapshots", tmp_path, follow_links=True)[0] == ["hub/snapshots/1/b.jpg"]

    def test_parts_are_disjoint_and_together_everything(self, tmp_path: Path) -> None:
        make(tmp_path, *(f"out/{n}.jpg" for n in range(9)))
        (tmp_path / "in").mkdir()
        for n in range(18):
            (tmp_path / "in" / f"{n}.jpg").symlink_to(tmp_path / "out" / f"{n % 9}.jpg")
        whole = found(tmp_path / "in", tmp_path, follow_links=True)
        parts = [found(tmp_path / "in", tmp_path, follow_links=True, part=(rank, 3)) for rank in range(3)]
        assert sorted(one for taken, _ in parts for one in taken) == sorted(whole[0])
        assert len(whole[0]) == 9
        assert sum((Counter(passed.values()) for _, passed in parts), Counter()) == {"taken already": 9}

    def test_a_link_that_leads_nowhere_today_is_not_gone(self, tmp_path: Path) -> None:
        make(tmp_path, "in/a.jpg")
        (tmp_path / "in" / "l.jpg").symlink_to(tmp_path / "away" / "l.jpg")
        (tmp_path / "in" / "disk").symlink_to(tmp_path / "away")
        is_gone = gone_from(tmp_path / "in")
        assert not is_gone(f"{tmp_path}/in/l.jpg")
        assert not is_gone(f"{tmp_path}/in/disk/x/b.jpg")
        assert is_gone(f"{tmp_path}/in/none/b.jpg")


SYSTEM = ["@eaDir", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin", "@Recycle", ".@__thumb", "@Recently-Snapshot",
          "#snapshot", ".Trashes", ".Trash-1000", "System Volume Information", "lost+found", ".thumbnails",
          "__MACOSX"]  # fmt: skip


class TestSystemFolders:
    def test_in_a_folder(self, tmp_path: Path) -> None:
        make(tmp_path, "a.jpg", "x/b.jpg", "@eaDir.jpg", *(f"x/{name}/deep/t.jpg" for name in SYSTEM))
        taken, passed = found(tmp_path, tmp_path)
        assert taken == ["@eaDir.jpg", "a.jpg", "x/b.jpg"]
        hidden = {f"x/{name}" for name in SYSTEM if name.startswith(".")}
        assert passed.keys() | hidden == {f"x/{name}" for name in SYSTEM}
        assert set(passed.values()) == {"system folder"}

    def test_one_that_is_named_is_read(self, tmp_path: Path) -> None:
        make(tmp_path, "#recycle/a.jpg")
        assert found(tmp_path / "#recycle", tmp_path)[0] == ["#recycle/a.jpg"]
        assert found(f"{tmp_path}/#recycle/*.jpg", tmp_path)[0] == ["#recycle/a.jpg"]

    @pytest.mark.parametrize("name", ["s.tar", "s.zip"])
    def test_in_an_archive(self, tmp_path: Path, name: str) -> None:
        make(tmp_path, "in/@eaDir/a.jpg/T.jpg", "in/@eaDir/n.json", "in/x/#recycle/r.jpg", "in/__MACOSX/._a.jpg",
             "in/a.jpg", "in/._a.jpg")  # fmt: skip
        pack(tmp_path / "in", tmp_path / name)
        taken, passed = found(tmp_path / name, tmp_path)
        assert taken == [f"{name}!a.jpg"]
        members = ("@eaDir/a.jpg/T.jpg", "x/#recycle/r.jpg", "__MACOSX/._a.jpg")
        assert passed == {f"{name}!{member}": "system folder" for member in members}

    def test_in_an_object_store(self, store: Any) -> None:
        for name in ("a.jpg", "@eaDir/b.jpg", "x/#recycle/c.jpg", "raw/d.jpg", "e.png"):
            store.pipe(f"/photos/{name}", b"x")
        folder = Path("memory://photos")
        taken, passed = found("memory://photos", folder, exclude=["raw/", "*.png"])
        assert [one.rpartition("photos/")[2] for one in taken] == ["a.jpg"]
        assert {uri.rpartition("photos/")[2]: why for uri, why in passed.items()} == {
            "@eaDir": "system folder", "x/#recycle": "system folder", "raw": "excluded", "e.png": "excluded"
        }  # fmt: skip
        taken, passed = found("memory://photos/**/*.jpg", folder, exclude=["raw/"])
        assert [one.rpartition("photos/")[2] for one in taken] == ["a.jpg"]
        assert Counter(passed.values()) == {"system folder": 2, "excluded": 1}


class TestExclude:
    NAMES = ("a.jpg", "b.png", "raw/c.jpg", "x/raw/d.jpg", "x/raw.jpg", "x/keep.png", "#x/e.jpg")

    @pytest.mark.parametrize(
        ("patterns", "taken"),
        [
            (["raw/"], ["#x/e.jpg", "a.jpg", "b.png", "x/keep.png", "x/raw.jpg"]),
            (["/raw"], ["#x/e.jpg", "a.jpg", "b.png", "x/keep.png", "x/raw.jpg", "x/raw/d.jpg"]),
            (["*.png", "!keep.png"], ["#x/e.jpg", "a.jpg", "raw/c.jpg", "x/keep.png", "x/raw.jpg", "x/raw/d.jpg"]),
            (["x/**/*.jpg"], ["#x/e.jpg", "a.jpg", "b.png", "raw/c.jpg", "x/keep.png"]),
            (["#x"], ["a.jpg", "b.png", "raw/c.jpg", "x/keep.png", "x/raw.jpg", "x/raw/d.jpg"]),
            (["*"], []),
        ],
    )
    def test_as_in_gitignore_from_every_source(self, tmp_path: Path, patterns: list[str], taken: list[str]) -> None:
        folder = make(tmp_path / "in", *self.NAMES)
        assert sorted(found(folder, folder, exclude=patterns)[0]) == sorted(taken)
        for name in ("s.tar", "s.zip"):
            pack(folder, tmp_path / name)
            members = [one.partition("!")[2] for one in found(tmp_path / name, tmp_path, exclude=patterns)[0]]
            assert sorted(members) == sorted(taken)
        (folder / "list.txt").write_text("".join(f"{name}\n" for name in self.NAMES))
        (folder / "m.csv").write_text("path\n" + "".join(f"{folder}/{name}\n" for name in self.NAMES))
        pq.write_table(pa.table({"path": list(self.NAMES)}), folder / "m.parquet")
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array([{"bytes": b"x", "path": name} for name in self.NAMES], kind)
        pq.write_table(pa.table({"image": images}), folder / "held.parquet")
        for name in ("list.txt", "m.csv", "m.parquet", "held.parquet"):
            uris, passed = found(folder / name, folder, exclude=patterns)
            assert sorted(uri.removeprefix("held.parquet!") for uri in uris) == sorted(taken)
            assert len(uris) + len(passed) == len(self.NAMES)
            assert set(passed.values()) <= {"excluded"}

    def test_a_folder_counts_once(self, tmp_path: Path) -> None:
        make(tmp_path, "a.jpg", *(f"raw/{n}.jpg" for n in range(5)))
        assert found(tmp_path, tmp_path, exclude=["raw/"])[1] == {"raw": "excluded"}
        assert found(f"{tmp_path}/**/*.jpg", tmp_path, exclude=["raw/"]) == (["a.jpg"], {"raw": "excluded"})

    def test_urls(self, tmp_path: Path) -> None:
        (tmp_path / "list.txt").write_text("https://example.org/a/b.jpg?x=.png\nhttps://example.org/thumbs/b.jpg\n")
        assert found(tmp_path / "list.txt", tmp_path, exclude=["thumbs/", "*.png"]) == (
            ["https://example.org/a/b.jpg?x=.png"], {"https://example.org/thumbs/b.jpg": "excluded"}
        )  # fmt: skip

    @pytest.mark.parametrize("pattern", ["", "!", " ", "a\\"])
    def test_what_is_no_pattern(self, tmp_path: Path, pattern: str) -> None:
        with pytest.raises(UsageError, match="--exclude"):
            read_source(tmp_path, exclude=[pattern])

    def test_what_is_excluded_is_never_gone(self, tmp_path: Path) -> None:
        """As with rsync: what a run does not look at, it does not judge."""
        make(tmp_path, "a.jpg", "s/1.jpg")
        pack(tmp_path / "s", tmp_path / "s.zip")
        for source in (tmp_path, f"{tmp_path}/**/*.jpg"):
            is_gone = gone_from(source, exclude=["raw/"])
            assert is_gone(f"{tmp_path}/b.jpg")
            assert not is_gone(f"{tmp_path}/raw/b.jpg")
        is_gone = gone_from(tmp_path / "s.zip", exclude=["raw/"])
        assert is_gone(f"{tmp_path}/s.zip!2.jpg")
        assert not is_gone(f"{tmp_path}/s.zip!raw/2.jpg")


def test_a_followed_link_can_be_read_in_another_process(tmp_path: Path) -> None:
    make(tmp_path, "out/b.jpg")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "l.jpg").symlink_to(tmp_path / "out" / "b.jpg")
    (record,) = read_source(tmp_path / "in", follow_links=True)
    assert isinstance(record, Record)
    assert record.reader == FileReader(str(tmp_path / "out" / "b.jpg"), f"{tmp_path}/in/l.jpg")


def pack(folder: Path, path: Path) -> None:
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for one in files:
                archive.write(one, one.relative_to(folder))
    else:
        with tarfile.open(path, "w") as archive:
            for one in files:
                archive.add(one, one.relative_to(folder))


@pytest.fixture
def store() -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()
