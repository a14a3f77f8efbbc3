"""The calibration that a collection keeps goes where all of its rows go; where it does not, that is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from vector_rows import DEFINITION, DIM, fill, unit

import imgvec
from imgvec import ImageCollection, Settings, VectorQuery, field
from imgvec.cli import main
from imgvec.encoders.projection import Projection
from imgvec.quality.calibration import Calibration, kept_calibration

ROWS = 200
AGAIN = "'again' is not calibrated, as the collection was whose rows these are: imgvec calibrate -c again"


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ImageCollection, Calibration]]:
    settings = Settings.load(uri=str(tmp_path_factory.mktemp("travel") / "milvus.db"))
    with imgvec.create_for_vectors("photos", dim=DIM, definition=DEFINITION, settings=settings) as made:
        fill(made, unit(ROWS, 0))
        yield made, imgvec.calibrate(made)


def test_an_export_brings_it(calibrated: tuple[ImageCollection, Calibration], backend_uri: str, tmp_path: Path) -> None:
    photos, found = calibrated
    target = "out.parquet" if "://" in backend_uri else "out"  # of a file and of a folder
    imgvec.export_vectors(photos, tmp_path / target)
    told: list[str] = []
    settings = Settings.load(uri=backend_uri)
    with imgvec.create_for_vectors("again", tmp_path / target, settings=settings) as again:
        imgvec.import_vectors(again, tmp_path / target, on_notice=told.append)
        again.refresh()
        assert kept_calibration(again.store) == found
        copy = VectorQuery(unit(ROWS, 0)[3] + 0.02 * unit(1, 9)[0])
        answer = again.search(copy, consistency_level="Strong")
        assert answer.verdict == photos.search(copy).verdict
        assert str(answer.verdict) == "match"
        # a second import of the same changes nothing
        newer = imgvec.calibrate(again, rates=[0.05], seed=3)
        imgvec.import_vectors(again, tmp_path / target, on_notice=told.append)
        again.refresh()
        assert kept_calibration(again.store) == newer != found
        assert told == []
        again.drop()


def test_of_other_rows_it_is_left_behind_and_said(
    calibrated: tuple[ImageCollection, Calibration], tmp_path: Path
) -> None:
    photos, _ = calibrated
    whole, part = tmp_path / "whole.parquet", tmp_path / "part.parquet"
    imgvec.export_vectors(photos, whole)
    imgvec.export_vectors(photos, part, where=field("kind") == "a")
    told: list[str] = []
    settings = Settings.load(uri=str(tmp_path / "other.db"))
    with imgvec.create_for_vectors("again", whole, settings=settings) as again:
        fill(again, unit(5, 8), start=9000)
        imgvec.import_vectors(again, whole, on_notice=told.append)
        again.refresh()
        assert kept_calibration(again.store) is None
        assert told == [AGAIN]
        again.drop()
    told.clear()
    with imgvec.create_for_vectors("again", part, settings=settings) as again:
        assert imgvec.import_vectors(again, part, on_notice=told.append).written == ROWS // 2
        again.refresh()
        assert (kept_calibration(again.store), told) == (None, [])  # it was never about these rows alone
        again.drop()
    rounded = {**DEFINITION, "index": {"cpu": {"type": "IVF_SQ8", "params": {"nlist": 4}}}}
    with imgvec.create_for_vectors("again", whole, definition=rounded, settings=settings) as again:
        imgvec.import_vectors(again, whole, on_notice=told.append)
        again.refresh()
        assert (kept_calibration(again.store), told) == (None, [AGAIN])
        again.drop()


def test_a_projected_copy_says_that_it_needs_one_of_its_own(
    calibrated: tuple[ImageCollection, Calibration], tmp_path: Path
) -> None:
    photos, _ = calibrated
    told: list[str] = []
    projection = Projection.orthogonal(DIM, 8, seed=4)
    with imgvec.projected_copy(photos, "again", projection, on_notice=told.append) as again:
        assert (kept_calibration(again.store), told) == (None, [AGAIN])
        again.drop()
    file = tmp_path / "map.npz"
    projection.save(file)
    args = ["--uri", photos.settings.uri, "collections", "fit-projection", "photos", "again", "--projection", str(file)]
    photos.close()
    said = CliRunner().invoke(main, args)
    assert said.exit_code == 0, said.output
    assert AGAIN in said.output
