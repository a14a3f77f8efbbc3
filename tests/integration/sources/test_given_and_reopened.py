"""Pictures that come as bytes, through a collection: brought in, found, kept, opened again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from pictures import picture
from PIL import Image

from imgvec import Crop, ImageCollection, Settings, Source, StoredId
from imgvec.cli import main
from imgvec.errors import NotKept, UnreadableImage, UsageError

DEFINITION = {"encoder": {"model": "fake"}, "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}}}


def png(number: int) -> bytes:
    data = io.BytesIO()
    picture(number).save(data, "PNG")
    return data.getvalue()


def given(number: int = 6) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """By turns bytes, a PIL image and an array."""
    for n in range(number):
        forms = (png(n), picture(n), np.asarray(picture(n)))
        yield f"sku-{n}", forms[n % 3], {"album": f"shelf{n % 2}"}


@pytest.fixture
def photos(tmp_path: Path) -> Iterator[ImageCollection]:
    uri = str(tmp_path / "lite.db")
    with ImageCollection.create("given", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as made:
        yield made


def test_a_generator_of_tuples(photos: ImageCollection) -> None:
    report = photos.ingest(given())
    assert (report.written, report.seen) == (6, 6)
    assert photos.ingest(given()).unchanged == 6
    rows = photos.get(["sku-3", "sku-4"])
    assert (rows["sku-4"]["album"], rows["sku-4"]["uri"], rows["sku-4"]["width"]) == ("shelf0", "given://sku-4", 64)
    [hit] = photos.search(png(5), limit=1)
    assert hit.id == "sku-5"
    with pytest.raises(NotKept):
        photos.reopen(hit)
    again = photos.ingest([("sku-3", png(9), {}), ("sku-4", picture(4), {"album": "moved"}), ("sku-4", b"", {})])
    assert (again.written, again.updated, again.refused) == (1, 1, {"given twice": 1})
    with pytest.raises(UsageError, match="whether they are gone"):
        photos.ingest(given(), prune=True)


def test_kept_they_are_opened_again(photos: ImageCollection, tmp_path: Path) -> None:
    assert photos.ingest(Source(given(), root=tmp_path), keep=tmp_path / "kept").written == 6
    rows = photos.get([f"sku-{n}" for n in range(6)])
    for n in range(6):
        row = rows[f"sku-{n}"]
        assert row["uri"].startswith("kept/")
        data = photos.reopen(row["uri"], roots=tmp_path)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(picture(n)))
        with pytest.raises(UnreadableImage, match="relative path"):
            photos.reopen(row["uri"])
    # the folder of kept pictures is a source by itself, with other ids
    assert photos.ingest(tmp_path / "kept").written == 6


def test_settings_say_below_which_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGVEC_ROOTS", f"{tmp_path}/a:{tmp_path}/b")
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        picture(ord(name)).save(tmp_path / name / "x.png")
    settings = Settings.load(uri=str(tmp_path / "lite.db"))
    with ImageCollection.create("s", definition=DEFINITION, settings=settings, encoder=FakeEncoder()) as photos:
        photos.ingest([tmp_path / name for name in ("a", "b", "c")])
        assert photos.reopen(f"{tmp_path}/b/x.png") == (tmp_path / "b" / "x.png").read_bytes()
        assert photos.reopen("x.png") == (tmp_path / "a" / "x.png").read_bytes()
        with pytest.raises(UnreadableImage, match="outside the roots"):
            photos.reopen(f"{tmp_path}/c/x.png")


def test_a_hit_says_whether_it_is_still_the_same_picture(photos: ImageCollection, tmp_path: Path) -> None:
    path = tmp_path / "p" / "a.png"
    path.parent.mkdir()
    path.write_bytes(png(1))
    photos.ingest(path.parent)
    [hit] = photos.search(png(1), limit=1)
    assert photos.reopen(hit) == png(1)
    crop = photos.search(Crop(StoredId(hit.id), (0, 0, 32, 32)), limit=1)
    assert crop[0].id == hit.id
    path.write_bytes(png(2))
    assert photos.reopen(hit.uri) == png(2)
    with pytest.raises(UnreadableImage, match="a different picture is there now"):
        photos.reopen(hit)


def test_a_member_of_an_archive_is_cropped_and_shown(photos: ImageCollection, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("a.png", png(1))
    photos.ingest(tmp_path / "p.zip")
    answer = photos.search(png(1), limit=1)
    assert photos.reopen(answer[0]) == png(1)
    assert "data:image/jpeg;base64," in answer._repr_html_()


def test_the_command_takes_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(0).save(tmp_path / "a.png")
    create = ImageCollection.create.__func__  # type: ignore[attr-defined]
    got: dict[str, Any] = {}
    ingest = ImageCollection.ingest

    def with_fake(cls: type[ImageCollection], name: str, **options: Any) -> ImageCollection:
        return create(cls, name, **{**options, "encoder": FakeEncoder()})  # type: ignore[no-any-return]

    def noted(self: ImageCollection, source: Any, **options: Any) -> Any:
        got.update(options)
        return ingest(self, source, **options)

    monkeypatch.setattr(ImageCollection, "create", classmethod(with_fake))
    monkeypatch.setattr(ImageCollection, "ingest", noted)
    words = ["--uri", str(tmp_path / "lite.db"), "ingest", str(tmp_path / "a.png"), "-c", "photos"]
    result = CliRunner().invoke(main, [*words, "--keep", str(tmp_path / "kept")])
    assert result.exit_code == 0, result.output
    assert got["keep"] == str(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()  # a file has a place of its own
