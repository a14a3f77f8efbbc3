"""`imgvec ingest` over links, folders of systems, excluded paths, columns that cannot be fields; and pruning then."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from pictures import picture

from imgvec import ImageCollection, Source
from imgvec.cli import main


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos as they lie on a NAS: two of their own, a linked one, thumbnails and raw ones; no weights needed."""
    folder = tmp_path / "library"
    for number, name in enumerate(("a.png", "b.png", "@eaDir/a.png/T.png", "raw/c.png", "../elsewhere/d.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / name)
    (folder / "d.png").symlink_to("../elsewhere/d.png")
    create = ImageCollection.create.__func__  # type: ignore[attr-defined]

    def with_fake(cls: type[ImageCollection], name: str, **options: object) -> ImageCollection:
        return create(cls, name, **{**options, "encoder": FakeEncoder()})  # type: ignore[no-any-return]

    monkeypatch.setattr(ImageCollection, "create", classmethod(with_fake))
    return folder


def ingest(library: Path, *options: str) -> Result:
    lite = str(library.parent / "lite.db")
    result = CliRunner().invoke(main, ["--uri", lite, "ingest", str(library), "-c", "photos", *options])
    assert result.exit_code == 0, result.output
    return result


def report(library: Path, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ingest(library, *options, "-o", "json").stdout)
    return found


def uris(library: Path) -> set[str]:
    with ImageCollection.open("photos", uri=str(library.parent / "lite.db"), encoder=FakeEncoder()) as photos:
        return {str(Path(row["uri"]).relative_to(library)) for rows in photos.store.scan(["id", "uri"]) for row in rows}


def test_what_is_passed_over_is_counted_and_links_are_named(library: Path) -> None:
    result = ingest(library, "--exclude", "raw/")
    assert "2 written" in result.stdout
    for reason in ("symbolic link", "system folder", "excluded"):
        assert f"  passed over, {reason}: 1\n" in result.stdout
    assert f"(the first: {library}/d.png); use --follow-links" in result.stderr
    assert uris(library) == {"a.png", "b.png"}


def test_links_are_followed(library: Path) -> None:
    found = report(library, "--exclude", "raw/", "--follow-links")
    assert (found["written"], found["passed_over"]) == (3, {"system folder": 1, "excluded": 1})
    assert uris(library) == {"a.png", "b.png", "d.png"}
    assert report(library, "--follow-links")["unchanged"] == 3


def test_parts_count_what_they_pass_over_once(library: Path) -> None:
    parts = [report(library, "--exclude", "raw/", "--rank", rank, "--of", "2") for rank in ("0", "1")]
    for reason in ("symbolic link", "system folder", "excluded"):
        assert sum(part["passed_over"].get(reason, 0) for part in parts) == 1


def test_a_source_without_an_image_says_so(library: Path) -> None:
    for name in ("a.png", "b.png", "raw/c.png"):
        (library / name).unlink()
    result = ingest(library)
    assert "0 written" in result.stdout
    assert "the source contains no images; 1 entry passed over" in result.stderr


def test_a_refused_image_can_be_looked_up(library: Path, tmp_path: Path) -> None:
    (library / "b.png").write_bytes(b"no picture")
    hint = "run it again with --errors FILE to see which, and why"
    said = ingest(library).stdout
    assert "  refused, not an image: 1\n" in said
    assert hint in said
    listed = tmp_path / "errors.jsonl"
    assert hint not in ingest(library, "--errors", str(listed)).stdout
    assert json.loads(listed.read_text())["uri"] == str(library / "b.png")


def test_prune_leaves_what_is_excluded_this_time(library: Path) -> None:
    assert report(library)["written"] == 3
    (library / "raw" / "c.png").unlink()
    (library / "b.png").unlink()
    assert report(library, "--exclude", "raw/", "--prune", "--yes")["pruned"] == 1
    assert uris(library) == {"a.png", "raw/c.png"}
    assert report(library, "--prune", "--yes")["pruned"] == 1
    assert uris(library) == {"a.png"}


def test_prune_leaves_a_link_whose_disk_is_away(library: Path) -> None:
    assert report(library, "--follow-links")["written"] == 4
    (library.parent / "elsewhere").rename(library.parent / "away")
    found = report(library, "--follow-links", "--prune", "--yes")
    assert (found["pruned"], found["refused"]) == (0, {"missing": 1})
    assert "d.png" in uris(library)


def test_metadata_s_columns_are_mapped(library: Path) -> None:
    rows = library.parent / "m.csv"
    rows.write_text("sep=;\nPath;id;Album Title\na.png;7;cats\nb.png;8;dogs\n")
    notice = ingest(library, "--exclude", "raw/", "--metadata", str(rows)).stderr
    assert notice.count("ignored columns") == 1
    assert "'Album Title'" in notice
    found = report(library, "--exclude", "raw/", "--metadata", str(rows), "--map", "Album Title=album")
    assert (found["updated"], found["refused"]) == (2, {})
    with ImageCollection.open("photos", uri=str(library.parent / "lite.db"), encoder=FakeEncoder()) as photos:
        assert photos.count('album == "dogs"') == 1


def test_prune_of_a_manifest_with_ids_of_its_own(library: Path) -> None:
    (library.parent / "m.csv").write_text(f"path,sku\n{library}/a.png,A\n")
    found = report(library.parent / "m.csv", "--id-column", "sku", "--prune", "--yes")
    assert (found["written"], found["pruned"]) == (1, 0)


def test_the_python_side(library: Path) -> None:
    said: list[str] = []
    with ImageCollection.create("photos", uri=str(library.parent / "lite.db")) as photos:
        done = photos.ingest(Source(library, exclude="raw/", mapping={"t": "album"}), on_notice=said.append)
        assert (done.written, done.passed_over) == (2, {"symbolic link": 1, "system folder": 1, "excluded": 1})
        assert done.first_passed_over["symbolic link"] == f"{library}/d.png"
        assert photos.ingest(Source(library, follow_links=True, exclude=["raw/"])).written == 1
        assert photos.prune(Source(library, follow_links=True, exclude=["raw/"])) == 0
    assert len(said) == 2


def test_a_moved_folder_names_the_way_out_and_it_works(library: Path) -> None:
    """Also where its name has what LIKE would take for wildcards, and quotes."""
    moved = library.parent / 'it\'s "100%_of" them'
    library.rename(moved)
    lite = str(library.parent / "lite.db")
    assert report(moved)["written"] == 3
    near = library.parent / 'it\'s "100%_of" them, nearly'
    near.mkdir()
    picture(7).save(near / "n.png")
    assert report(near)["written"] == 1
    moved.rename(library.parent / "new")
    for empty in (False, True):
        if empty:
            moved.mkdir()
        arguments = ["--uri", lite, "ingest", str(moved), "-c", "photos", "--prune", "--yes"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert "moved or is gone for good, delete its rows with: imgvec collections delete" in result.stderr
        _, *command = shlex.split(result.stderr.strip().rpartition(" delete its rows with: ")[2])
    result = CliRunner().invoke(main, ["--uri", lite, *command, "--yes"])
    assert result.exit_code == 0, result.output
    with ImageCollection.open("photos", uri=lite, encoder=FakeEncoder()) as photos:
        (row,) = (row for rows in photos.store.scan(["id", "uri"]) for row in rows)
        assert row["uri"] == str(near / "n.png")


def test_a_file_called_like_a_member_names_the_way_out(library: Path) -> None:
    odd = library / "x.zip!y.png"
    picture(9).save(odd)
    assert report(library)["written"] == 4
    assert "pruned" not in ingest(library, "--prune", "--yes").stdout
    odd.unlink()
    notice = ingest(library, "--prune", "--yes").stderr
    assert f"kept 1 row whose archive is missing (the first: {library}/x.zip)" in notice
    (line,) = (line for line in notice.splitlines() if "delete them with: " in line)
    _, *command = shlex.split(line.partition("delete them with: ")[2])
    result = CliRunner().invoke(main, ["--uri", str(library.parent / "lite.db"), *command, "--yes"])
    assert result.exit_code == 0, result.output
    assert uris(library) == {"a.png", "b.png", "raw/c.png"}
