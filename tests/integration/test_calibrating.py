"""Calibrations on Milvus: made of the collection's own rows, kept with it, and found by every client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import picture
from vector_rows import DEFINITION, DIM, fill, unit

import imgvec
from imgvec import CallableEncoder, Hybrid, ImageCollection, Part, Settings, VectorQuery
from imgvec.cli import main
from imgvec.errors import OptionError, UsageError
from imgvec.images.edits import EDITS
from imgvec.quality.calibration import kept_calibration
from imgvec.vectors import Vectors

ROWS = 600
VECTORS = unit(ROWS, 0)


def like(row: int, seed: int = 4) -> Vectors:
    """Three copies of a row, each a little different."""
    made = VECTORS[row] + 0.01 * unit(3, seed)
    scaled: Vectors = made / np.linalg.norm(made, axis=1, keepdims=True)
    return scaled


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.load(uri=str(tmp_path_factory.mktemp("calibrating") / "milvus.db"))


@pytest.fixture
def photos(settings: Settings) -> Iterator[ImageCollection]:
    with imgvec.create_for_vectors("photos", dim=DIM, definition=DEFINITION, settings=settings) as made:
        fill(made, VECTORS)
        yield made
        made.drop()


def test_it_is_kept_and_found_by_another_client(photos: ImageCollection, settings: Settings) -> None:
    told: list[str] = []
    found = imgvec.calibrate(photos, on_notice=told.append)
    assert (found.rows, found.pictures, len(found.negatives), found.positives) == (ROWS, ROWS, ROWS * 3 // 4, "none")
    assert "the rate is promised all the same" in told[0]
    assert kept_calibration(photos.store) == found
    copy, stranger = VECTORS[3] + 0.02 * unit(1, 9)[0], unit(1, 5)[0]
    with ImageCollection.open("photos", settings=settings) as other:
        match, none = other.search_many([VectorQuery(copy), VectorQuery(stranger)], limit=1)
        assert (str(match.verdict), str(none.verdict)) == ("match", "no match")
        assert [hit.id for hit in match.matches] == ["00003"]
        assert not other.search(VectorQuery(stranger), only_matches=True)
        under = other.search(VectorQuery(copy), where="kind == 'b'")
        assert under.verdict == match.verdict
        assert not other.search(VectorQuery(copy), where="kind == 'a'").verdict.match  # type: ignore[union-attr]  # it has one
    rates = [each.verdict.p_value for each in photos.search_many([VectorQuery(each) for each in unit(500, 2)], limit=1)]  # type: ignore[union-attr]  # likewise
    assert np.mean([each is not None and each <= 0.05 for each in rates]) <= 0.05 + 3 * np.sqrt(0.05 / ROWS * 4)


def test_on_every_backend(backend_uri: str) -> None:
    settings = Settings.load(uri=backend_uri)
    copy, stranger = VectorQuery(VECTORS[3] + 0.02 * unit(1, 9)[0]), VectorQuery(unit(1, 5)[0])
    with imgvec.create_for_vectors("judged", dim=DIM, definition=DEFINITION, settings=settings) as made:
        fill(made, VECTORS)
        imgvec.set_alias(made, "live")
        with ImageCollection.open("live", settings=settings) as other:
            found = imgvec.calibrate(made)
            other.refresh()
            assert kept_calibration(other.store) == found
            answers = other.search_many([copy, stranger], limit=1, consistency_level="Strong")
            assert [str(each.verdict) for each in answers] == ["match", "no match"]
            matches = other.search(copy, where="kind == 'b'", only_matches=True, consistency_level="Strong")
            assert [hit.id for hit in matches] == ["00003"]
            assert str(matches.shortfall) == "9 fewer than asked for: the others are no matches"
            again = imgvec.calibrate(made, rates=[0.05], sample=50, seed=1)
            other.refresh()
            assert kept_calibration(other.store) == again != found
        imgvec.drop_alias(made, "live")
        made.drop()


def layout(pixels: Any) -> Any:
    """A picture's colours in a grid of 8 by 8, around their mean."""
    grid = pixels.reshape(len(pixels), 8, 4, 8, 4, 3).mean(axis=(2, 4)).reshape(len(pixels), -1)
    return grid - grid.mean(axis=1, keepdims=True) + 0.1


def test_edited_copies_of_its_pictures_are_the_matches(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(90):
        picture(seed).save(tmp_path / f"{seed:03d}.png")
    (tmp_path / "again.png").write_bytes((tmp_path / "000.png").read_bytes())
    encoder = CallableEncoder(layout, name="layout", version="1", image_size=32)
    with ImageCollection.create("edited", definition="photos", encoder=encoder, settings=settings) as photos:
        photos.ingest(tmp_path)
        (tmp_path / "001.png").unlink()  # one that cannot be opened again is left out
        told: list[str] = []
        with monkeypatch.context() as meant:
            meant.setattr("imgvec.verbs.calibration.finds_more_copies", lambda _: True)  # as for the encoders measured
            found = imgvec.calibrate(photos, rates=[0.05], copies=91, on_notice=told.append)
        assert found.positives == "edits"
        every = found.found_at(0.05)
        assert every is not None
        assert f"{every.share:.0%} of the edited copies are found at a false-match rate of 0.05" in told[-1]
        assert "`purpose: copies`" in told[-1]
        again = imgvec.calibrate(photos, rates=[0.05], copies=91, on_notice=told.append)
        assert len(told) == 1  # an encoder for which nobody has measured it
        assert found.twins == 2
        share = {each.kind: each.share for each in found.found}
        assert share.keys() == EDITS.keys()
        assert min(share["exif rotation"], share["jpeg quality 10"]) > 0.9
        assert share["flip"] < 0.5  # whose colours are elsewhere
        best = photos.search(tmp_path / "010.png", false_match_rate=0.05)
        assert (str(best.verdict), [hit.uri for hit in best.matches]) == ("match", [str(tmp_path / "010.png")])
        chances = [hit.probability or 0 for hit in best]
        assert chances == sorted(chances, reverse=True)
        assert chances[0] > 0.9 > 0.1 > chances[-1]
        twice = photos.search(tmp_path / "000.png", false_match_rate=0.05)  # stored twice, and found twice
        assert {Path(hit.uri).name for hit in twice.matches} == {"000.png", "again.png"}
        for path in tmp_path.iterdir():
            path.unlink()
        with pytest.raises(UsageError, match="edited copies could be made of 0 pictures only, and 40 are needed"):
            imgvec.calibrate(photos, rates=[0.05], edits=True)
        assert kept_calibration(photos.store) == again  # what failed has left it
        told: list[str] = []
        assert imgvec.calibrate(photos, rates=[0.05], on_notice=told.append).positives == "none"
        assert any("0 pictures only, and 40 are needed; so hits have no probability" in each for each in told)
        photos.drop()


def test_of_views_pictures_are_judged(settings: Settings, tmp_path: Path) -> None:
    for seed in range(60):
        picture(seed).save(tmp_path / f"{seed:03d}.png")
    definition = {"encoder": {"model": "layout:rough"}, "views": {"grid": [2]}}
    encoder = CallableEncoder(layout, name="layout", version="1", image_size=32)
    with ImageCollection.create("viewed", definition=definition, encoder=encoder, settings=settings) as photos:
        photos.ingest(tmp_path)
        found = imgvec.calibrate(photos, rates=[0.05])
        assert (found.rows, found.pictures) == (300, 60)
        query = tmp_path / "007.png"
        plain = photos.search(query, false_match_rate=0.05)
        assert str(plain.verdict) == "match"
        assert [Path(hit.uri).name for hit in plain.matches] == ["007.png"]
        for answer in (
            photos.search(query, false_match_rate=0.05, limit=1),
            photos.search(query, false_match_rate=0.05, limit=7, views=True),
            photos.search(query, false_match_rate=0.05, where="width > 1"),
            photos.search(query, false_match_rate=0.05, only_matches=True),
        ):
            assert answer.verdict == plain.verdict
        strangers = photos.search_many([picture(1000 + seed) for seed in range(100)], false_match_rate=0.05)
        # 3 deviations: of 100 strangers, and of the 45 pictures that the promise is made by
        assert (
            sum(str(each.verdict) == "match" for each in strangers) <= 5 + 3 * 100 * (0.05 * (1 / 100 + 1 / 45)) ** 0.5
        )
        photos.drop()


def test_an_open_client_finds_it_after_a_refresh(photos: ImageCollection, settings: Settings) -> None:
    with ImageCollection.open("photos", settings=settings) as other:
        assert other.search(VectorQuery(VECTORS[0])).verdict is None
        imgvec.calibrate(photos)
        other.refresh()
        assert other.search(VectorQuery(VECTORS[0])).verdict


def test_it_follows_an_alias_and_a_new_name(photos: ImageCollection, settings: Settings) -> None:
    found = imgvec.calibrate(photos)
    imgvec.set_alias(photos, "live")
    imgvec.drop_alias(photos, "live")
    imgvec.rename(photos, "renamed")
    try:
        assert kept_calibration(photos.store) == found
        with ImageCollection.open("renamed", settings=settings) as other:
            assert other.search(VectorQuery(VECTORS[0])).verdict
    finally:
        imgvec.rename(photos, "photos")


def test_growth_is_noticed(photos: ImageCollection) -> None:
    imgvec.calibrate(photos)
    before = photos.search(VectorQuery(unit(1, 5)[0])).verdict
    assert before is not None
    assert not before.note
    fill(photos, unit(ROWS // 2, 7), start=ROWS)
    photos.refresh()
    after = photos.search(VectorQuery(VECTORS[0])).verdict
    assert after is not None
    assert "600 rows, and there are 900 now" in after.note


def test_another_index_with_rounded_scores_voids_it(photos: ImageCollection) -> None:
    imgvec.calibrate(photos)
    imgvec.build_index(photos, "HNSW", {"M": 8, "efConstruction": 40})
    assert photos.search(VectorQuery(VECTORS[0])).verdict
    imgvec.build_index(photos, "IVF_SQ8", {"nlist": 4})
    assert kept_calibration(photos.store) is None
    assert photos.search(VectorQuery(VECTORS[0])).verdict is None


def test_by_label_the_same_label_is_a_match(photos: ImageCollection) -> None:
    found = imgvec.calibrate(photos, label="kind", rates=[0.05])
    assert (found.positives, found.label) == ("label", "kind")
    [each] = found.found
    assert each.kind == "label"
    assert 0 < each.of <= ROWS


def test_a_small_collection_is_told_how_many_it_needs(photos: ImageCollection) -> None:
    photos.delete_where("id >= '00100'")
    with pytest.raises(UsageError, match=r"needs 132 pictures, 99 of them to promise by, and there are 75"):
        imgvec.calibrate(photos)
    assert imgvec.calibrate(photos, rates=[0.05]).pictures == 100
    # also where no matches are known, since these have no files
    assert [each["rate"] for each in imgvec.calibrate(photos, rates=[0.3, 0.07]).to_dict()["rates"]] == [
        0.05,
        0.07,
        0.3,
    ]
    photos.refresh()
    kept = kept_calibration(photos.store)
    assert kept is not None
    assert kept.asked == (0.07, 0.3)


def test_the_command(photos: ImageCollection, settings: Settings, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["--uri", settings.uri, *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    said = run("calibrate", "-c", "photos")
    assert "600 pictures searched for without themselves, 450 pictures to promise by" in said
    assert "1.00%" in said
    assert "calibrated" in run("collections", "show", "photos")
    found = run("search", "--id", "00003", "-c", "photos", "--only-matches", "-o", "paths")
    assert found.splitlines()[0] == "/nowhere/3.jpg"
    assert "match at a false-match rate of 0.01" in run("search", "--id", "00003", "-c", "photos")
    pages = CliRunner().invoke(
        main, ["--uri", settings.uri, "pages", "--id", "00003", "-c", "photos", "--only-matches"]
    )
    assert "match at a false-match rate of 0.01" in pages.stderr
    found = run("pages", "--id", "00003", "-c", "photos", "--only-matches", "-o", "paths").splitlines()
    assert found[0] == "/nowhere/3.jpg"
    assert len(found) < ROWS
    fill(photos, like(3), start=ROWS)
    said = run("search", "--id", "00003", "--collapse", "-c", "photos", "-o", "paths", "--profile")
    assert "alike, by the calibration" in said
    assert not {f"/nowhere/{n}.jpg" for n in range(ROWS, ROWS + 3)} & {*said.splitlines()}
    assert "/nowhere/600.jpg" in run("search", "--id", "00003", "--collapse", "1", "-c", "photos", "-o", "paths")


def test_collapse_in_hybrids_and_recommendations(photos: ImageCollection) -> None:
    fill(photos, like(3), start=ROWS)
    form = VectorQuery(VECTORS[3])
    hybrid = Hybrid([Part(form), Part(VectorQuery(like(3, seed=7)[0]))])
    with pytest.raises(OptionError, match="run imgvec calibrate"):
        photos.search(hybrid, collapse="calibrated")
    alike = imgvec.calibrate(photos).least_score(0.01)
    photos.refresh()
    copies = {"00003", *(f"{n:05d}" for n in range(ROWS, ROWS + 3))}
    for ask in (
        lambda **options: photos.search(hybrid, **options),
        lambda **options: imgvec.recommend(photos, positive=[like(3, seed=8)[0]], **options),
    ):
        assert copies <= {hit.id for hit in ask(limit=20)}
        collapsed = ask(limit=20, collapse="calibrated")
        assert len(copies & {hit.id for hit in collapsed}) == 1
        assert collapsed.profile.collapsed_at == alike
