"""Duplicates of pictures made on the spot: on every backend once, and all else on Milvus Lite."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from copies import cropped, framed, jpeg, moved, png, save, scene, small
from fakes import FakeEncoder
from PIL import Image, ImageOps

import imgvec
from imgvec import ImageCollection
from imgvec.cli import main
from imgvec.curation import seeing
from imgvec.errors import OptionError, TargetError

pytest.importorskip("cv2")

DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {
        "taken_at": {"type": "INT64", "format": "unix_ms", "from_image": "taken_at", "default": 0},
        "album": {"type": "VARCHAR", "default": ""},
    },
    "index": {"cpu": {"type": "FLAT"}},
}
STRANGERS = 12


def dated(image: Image.Image, moment: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = moment
    return jpeg(image, exif=exif)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    at = tmp_path / "photos"
    for seed in range(100, 100 + STRANGERS):
        save(at, f"other{seed}.jpg", jpeg(scene(seed)))
    one = scene(1)
    save(at, "a/original.jpg", jpeg(one))
    save(at, "a/again.jpg", jpeg(one))
    save(at, "a/crop.jpg", jpeg(cropped(one, 0.9)))
    save(at, "a/flip.jpg", jpeg(ImageOps.mirror(one)))
    save(at, "a/frame.jpg", jpeg(framed(one)))
    save(at, "a/small.jpg", jpeg(small(one)))
    two = scene(2)
    save(at, "b/photo.png", png(two))
    two.save(at / "b" / "photo.bmp")
    three = scene(3, (800, 600))
    save(at, "c/frame1.jpg", dated(moved(three, 1), "2024:05:01 10:00:00"))
    save(at, "c/frame2.jpg", dated(moved(three, 2), "2024:05:01 10:00:01"))
    return at


@pytest.fixture
def photos(lite_uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageCollection]:
    monkeypatch.setenv("IMGVEC_URI", lite_uri)
    with ImageCollection.create("dupes", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as made:
        assert made.ingest(folder).written == STRANGERS + 10
        yield made


def names(found: imgvec.Duplicates) -> dict[str, tuple[str, dict[str, str]]]:
    """By the best one's name, the kind of the group and those of the others."""
    return {
        Path(group.best.uri).name: (
            group.kind,
            {Path(each.subject.uri).name: each.kind for each in group.others},
        )
        for group in found.groups
    }


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["duplicates", "-c", "dupes", *args])


def test_on_each_backend(backend_uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    for seed in range(3):
        save(folder, f"{seed}.jpg", jpeg(scene(seed)))
    save(folder, "again.jpg", jpeg(scene(0)))
    save(folder, "crop.jpg", jpeg(cropped(scene(1), 0.9)))
    with ImageCollection.create("dupes", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(folder)
        found = imgvec.duplicates(photos)
        assert found.counts == {"file": 1, "copy": 1}
        save(folder, "flip.jpg", jpeg(ImageOps.mirror(scene(2))))
        photos.ingest(folder)
        more = imgvec.duplicates(photos)
        assert (more.looked_at, more.counts) == (1, {"file": 1, "copy": 2})
        done = imgvec.delete_duplicates(photos, more, log=tmp_path / "log.jsonl")
        assert (done.pictures, done.left, photos.count()) == (3, 0, 3)
        assert imgvec.duplicates(photos).groups == ()


def test_found_again_and_only_what_is_new(photos: ImageCollection, folder: Path) -> None:
    every = STRANGERS + 10
    found = imgvec.duplicates(photos, candidates=every)
    groups = names(found)
    assert {name: kind for name, (kind, _) in groups.items()} == dict(
        [
            next((name, "copy") for name in groups if name in ("original.jpg", "again.jpg")),
            next((name, "pixels") for name in groups if name.startswith("photo")),
            next((name, "burst") for name in groups if name.startswith("frame") and name != "frame.jpg"),
        ]
    )
    copies = next(others for name, (_, others) in groups.items() if name in ("original.jpg", "again.jpg"))
    assert copies | {"original.jpg": "file", "again.jpg": "file"} == {
        "original.jpg": "file",
        "again.jpg": "file",
        "crop.jpg": "copy",
        "flip.jpg": "copy",
        "frame.jpg": "copy",
        "small.jpg": "copy",
    }
    reasons = {Path(m.subject.uri).name: m.reasons for group in found.groups for m in group.others}
    assert reasons["crop.jpg"][0] == "shows more of the picture"
    assert reasons["frame.jpg"][0] == "without the frame"
    assert reasons["small.jpg"][0].startswith("finer: 400 x 300")
    assert (found.looked_at, found.unseen, found.interrupted) == (every, 0, False)

    # nothing is new: nothing is looked at, and the same is found
    again = imgvec.duplicates(photos, candidates=every)
    assert (again.looked_at, again.candidates) == (0, 0)
    assert names(again) == groups
    assert imgvec.duplicates(photos, candidates=every, since="last").groups == ()

    # a new one is looked at, and it alone
    save(folder, "new.jpg", jpeg(scene(100), 60))
    photos.ingest(folder)
    more = imgvec.duplicates(photos, candidates=every, since="last")
    assert more.looked_at == 1
    assert more.candidates <= every
    assert {name for name, *_ in [(Path(s.uri).name,) for s in more.groups[0].subjects]} == {"new.jpg", "other100.jpg"}

    # what is gone, or is another picture now, is in no group
    save(folder, "a/small.jpg", jpeg(scene(50)))
    (folder / "a" / "flip.jpg").unlink()
    photos.ingest(folder, prune=True)
    less = imgvec.duplicates(photos, candidates=every)
    assert less.looked_at == 1
    left = {Path(each.uri).name for group in less.groups for each in group.subjects}
    assert {"small.jpg", "flip.jpg"}.isdisjoint(left)
    assert "crop.jpg" in left


def test_a_run_that_was_stopped_goes_on(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.curation.finding.ROWS", 5)
    stop = threading.Event()
    first = imgvec.duplicates(
        photos, candidates=22, on_progress=lambda event: event.done >= 5 and stop.set(), stop=stop
    )
    assert first.interrupted
    assert first.looked_at == 5
    second = imgvec.duplicates(photos, candidates=22)
    assert second.looked_at == STRANGERS + 10 - 5
    assert names(second) == names(imgvec.duplicates(photos, candidates=22, again=True))


def test_what_cannot_be_reopened_is_told(photos: ImageCollection, folder: Path) -> None:
    shutil.rmtree(folder)
    told: list[str] = []
    found = imgvec.duplicates(photos, on_notice=told.append)
    # the same bytes are known all the same
    assert {kind for kind, _ in names(found).values()} == {"file"}
    assert found.unseen >= STRANGERS
    assert set(found.not_looked_at.values()) == {"missing"} or all("missing" in s for s in found.not_looked_at.values())
    assert any("could not be reopened" in each for each in told)
    alone = imgvec.duplicates(photos, vectors_alone=0.999)
    assert "vector" in {kind for kind, _ in names(alone).values()}


@pytest.mark.parametrize("exact", [False, True])
def test_what_could_not_be_reopened_is_tried_again(photos: ImageCollection, folder: Path, exact: bool) -> None:
    def together(found: imgvec.Duplicates) -> set[frozenset[str]]:
        return {frozenset(each.id for each in group.subjects) for group in found.groups}

    wanted = together(imgvec.duplicates(photos, exact=exact, again=True, keep=False))
    away = folder.rename(folder.with_name("not mounted"))
    told: list[str] = []
    found = imgvec.duplicates(photos, exact=exact, on_notice=told.append)
    assert {group.kind for group in found.groups} == {"file"}
    assert any("the next run tries again" in each and "missing" in each for each in told)
    unseen = imgvec.duplicates(photos, exact=exact)
    assert (unseen.looked_at, unseen.unseen > 0) == (0, True)
    away.rename(folder)
    back = imgvec.duplicates(photos, exact=exact)
    assert (together(back), back.unseen) == (wanted, 0)
    assert imgvec.duplicates(photos, exact=exact).looked_at == 0


def test_copies_whose_file_is_there_stay_where_that_of_the_best_is_gone(
    photos: ImageCollection, folder: Path, tmp_path: Path
) -> None:
    imgvec.delete_duplicates(photos, imgvec.duplicates(photos), log=tmp_path / "log.jsonl", kinds=("copy", "pixels"))
    [group] = imgvec.duplicates(photos).of("file")
    Path(group.best.uri).unlink()
    before = photos.count()
    kept = run("--delete", "--yes", "--kind", "file", "--log", str(tmp_path / "log.jsonl"))
    assert "deleted 0 pictures; 1 picture left" in kept.stderr
    assert photos.count() == before
    Path(group.others[0].subject.uri).unlink()
    assert imgvec.delete_duplicates(photos, imgvec.duplicates(photos), log=tmp_path / "log.jsonl").pictures == 1


def test_of_a_kind_is_shown_what_is_deleted(photos: ImageCollection, tmp_path: Path) -> None:
    found = imgvec.duplicates(photos, candidates=22)
    assert found.groups[0].kind == "copy"  # with a member of the same bytes
    assert {each.kind for each in found.groups[0].others} == {"file", "copy"}
    shown = run("--kind", "file", "--candidates", "22", "-o", "json", "--delete", "--yes", "--log", str(tmp_path / "l"))
    groups = json.loads(shown.stdout)["groups"]
    files = [each["id"] for group in groups for each in group["others"] if each["kind"] == "file"]
    gone = [json.loads(line).get("id") for line in (tmp_path / "l").read_text().splitlines()[:-1]]
    assert sorted(gone) == sorted(files) != []
    assert photos.count() == STRANGERS + 10 - len(files)


def test_exact_needs_no_opencv(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    refused = run()
    assert refused.exit_code == 1
    assert "imgvec[duplicates]" in refused.stderr
    assert "--exact" in refused.stderr
    found = json.loads(run("--exact", "-o", "json").stdout)
    assert sorted(found["counts"].items()) == [("file", 1), ("pixels", 1)]


def test_the_command(photos: ImageCollection, folder: Path, tmp_path: Path) -> None:
    sheet, log = tmp_path / "sheet <1>.html", tmp_path / "deleted.jsonl"
    shown = run("--sheet", str(sheet), "--candidates", "22")
    assert shown.exit_code == 0, shown.output
    assert "original.jpg" in shown.stdout
    page = sheet.read_text()
    assert page.count("data:image/jpeg;base64,") == 6 + 2 + 2
    assert "<script" not in page
    assert photos.count() == STRANGERS + 10

    assert run("--delete").exit_code == 2
    gone = run("--delete", "--yes", "--log", str(log), "--candidates", "22")
    assert gone.exit_code == 0, gone.output
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [each["event"] for each in lines] == ["to delete"] * 6 + ["deleted"]
    assert sorted(each["id"] for each in lines[:6]) == sorted(lines[-1]["ids"])
    assert all(each["row"]["uri"] and each["kept"]["id"] for each in lines[:6])
    assert photos.count() == STRANGERS + 4
    assert len(list(folder.rglob("*.*"))) == STRANGERS + 10  # the files stay
    after = json.loads(run("-o", "json", "--candidates", "22").stdout)
    assert after["counts"] == {"burst": 1}
    assert "nothing to delete" in run("--delete", "--yes", "--candidates", "22").stderr
    bursts = run("--delete", "--yes", "--kind", "burst", "--log", str(log), "--candidates", "22")
    assert bursts.exit_code == 0
    assert photos.count() == STRANGERS + 3


def test_files_that_cannot_be_written_are_told_first(photos: ImageCollection, tmp_path: Path) -> None:
    nowhere = tmp_path / "no folder" / "sheet.html"
    told = run("--sheet", str(nowhere))
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == f"Error: {nowhere}: cannot be written: No such file or directory\n"
    unused = tmp_path / "sheet.html"
    assert run("--sheet", str(unused), "--since", "soon").exit_code == 1
    assert not unused.exists()


def test_a_full_disk_makes_it_slower_only(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        return Path("/dev/full").open("r+b", buffering=0)

    wanted = names(imgvec.duplicates(photos, keep=False))
    monkeypatch.setattr(seeing, "HELD", 2)  # so that looks are wanted again
    monkeypatch.setattr(seeing.tempfile, "TemporaryFile", full)
    assert names(imgvec.duplicates(photos, keep=False)) == wanted


def test_a_date_that_is_none(photos: ImageCollection) -> None:
    with pytest.raises(OptionError, match="since is not a date"):
        imgvec.duplicates(photos, since="soon")


def test_views_are_pictures(lite_uri: str, folder: Path, tmp_path: Path) -> None:
    definition = {**DEFINITION, "views": {"grid": [2]}}
    with ImageCollection.create("views", definition=definition, uri=lite_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(folder / "a")
        found = imgvec.duplicates(photos)
        assert (found.pictures, found.looked_at) == (6, 6)
        [group] = found.groups
        assert len(group.subjects) == 6
        done = imgvec.delete_duplicates(photos, found, log=tmp_path / "log.jsonl")
        assert (done.pictures, photos.count_pictures(), photos.count()) == (5, 1, 5)


def test_a_copy_that_changed_meanwhile_is_left(photos: ImageCollection, folder: Path, tmp_path: Path) -> None:
    found = imgvec.duplicates(photos, candidates=22)
    save(folder, "a/crop.jpg", jpeg(scene(60)))
    photos.ingest(folder)
    done = imgvec.delete_duplicates(photos, found, log=tmp_path / "log.jsonl")
    assert (done.pictures, done.left) == (5, 1)
    assert any(row["uri"].endswith("crop.jpg") for rows in photos.store.scan(["uri"]) for row in rows)


def test_a_calibration_says_from_which_score(photos: ImageCollection) -> None:
    told: list[str] = []
    every = imgvec.duplicates(photos, candidates=22, on_notice=told.append)
    assert every.least_score is None
    assert any("not calibrated" in each for each in told)
    calibration = imgvec.calibrate(photos, rates=[0.1])
    told.clear()
    some = imgvec.duplicates(photos, candidates=22, false_match_rate=0.9, on_notice=told.append)
    few = imgvec.duplicates(photos, candidates=22, false_match_rate=0.01)
    lowest = calibration.least_rate  # 22 pictures cannot promise one in a hundred
    assert (some.least_score, few.least_score) == (calibration.least_score(0.9), calibration.least_score(lowest))
    assert few.least_score > some.least_score
    assert few.candidates < some.candidates < every.candidates
    assert not any("not calibrated" in each for each in told)
    stored = photos.get([row["id"] for rows in photos.store.scan([]) for row in rows], with_vector=True)
    vectors = np.stack([row["vector"] for row in stored.values()])
    near = np.triu(vectors @ vectors.T >= some.least_score, 1)
    assert some.candidates <= near.sum()  # those of equal bytes or pixels are not looked at again


def test_the_contact_sheet_is_escaped(photos: ImageCollection, folder: Path, tmp_path: Path) -> None:
    save(folder, "<b>x & y.jpg", jpeg(scene(100)))
    photos.ingest(folder)
    found = imgvec.duplicates(photos, candidates=22)
    imgvec.contact_sheet(photos, found, tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert "&lt;b&gt;x &amp; y.jpg" in page
    assert "<b>x" not in page
    with pytest.raises(TargetError):
        imgvec.contact_sheet(photos, found, tmp_path / "none" / "sheet.html")


@pytest.mark.parametrize("views", [False, True])
def test_at_ingest(lite_uri: str, folder: Path, views: bool) -> None:
    definition = {**DEFINITION, **({"views": {"grid": [2]}} if views else {})}
    with ImageCollection.create("dupes", definition=definition, uri=lite_uri, encoder=FakeEncoder()) as photos:
        first = photos.ingest(folder, on_duplicate="skip")
        assert (first.seen, first.written, first.skipped, first.repeated) == (STRANGERS + 10, STRANGERS + 9, 1, 1)
        [(again, like)] = first.repeats.items()
        assert {Path(again).name, Path(like).name} == {"again.jpg", "original.jpg"}
        assert photos.ingest(folder, on_duplicate="skip").skipped == 1
        save(folder, "d/third.jpg", jpeg(scene(1)))
        told = photos.ingest(folder / "d", on_duplicate="report")
        assert (told.written, told.skipped, told.repeated) == (1, 0, 1)
        assert list(told.repeats) == [str(folder / "d" / "third.jpg")]
        kept = photos.ingest(folder)
        assert (kept.written, kept.skipped, kept.repeated, kept.repeats) == (1, 0, 0, {})
        # a stored picture that becomes a copy of another is written all the same
        save(folder, "other100.jpg", jpeg(scene(1)))
        changed = photos.ingest(folder, on_duplicate="skip")
        assert (changed.written, changed.skipped, changed.repeated) == (1, 0, 1)
