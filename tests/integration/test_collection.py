"""The whole way through the house on every backend, with an encoder that needs no weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture

from imgvec import Crop, ImageCollection, ImageFile, Like, StoredId, VectorQuery, field
from imgvec.database import list_collections
from imgvec.errors import (
    CollectionExists,
    CollectionNotFound,
    DefinitionError,
    EncoderMismatch,
    FilterError,
    OptionError,
    QueryError,
    SourceError,
    UnreadableImage,
    UnsupportedByBackend,
)
from imgvec.settings import Settings

DEFINITION = {
    "about": "Test pictures.",
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": "", "index": "AUTO"},
        "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 16, "default": []},
        "rating": {"type": "INT8", "default": -1},
    },
}


@pytest.fixture
def photos(any_backend_uri: str, encoder: FakeEncoder) -> Iterator[ImageCollection]:
    with ImageCollection.create("trip", definition=DEFINITION, uri=any_backend_uri, encoder=encoder) as made:
        yield made


def metadata(pictures: Path) -> dict[str, dict[str, object]]:
    return {
        str(path): {"album": path.parent.name, "rating": i, "tags": ["even" if i % 2 == 0 else "odd"], "place": f"p{i}"}
        for i, path in enumerate(sorted(pictures.rglob("*.jpg")))
    }


def test_stored_pictures_are_shown_and_cropped_again(
    photos: ImageCollection, pictures: Path, encoder: FakeEncoder
) -> None:
    photos.ingest(pictures)
    path = pictures / "album1" / "07.jpg"
    answer = photos.search(path, limit=4)
    assert answer._repr_html_().count("data:image/jpeg;base64,") == 4
    assert answer.seconds.keys() == {"load", "decode", "encode", "search", "total"}
    box = (8, 8, 56, 40)
    [cropped, wanted] = photos.vectors([Crop(StoredId(answer[0].id), box), Crop(ImageFile(path), box)])
    np.testing.assert_allclose(cropped, wanted, atol=1e-6)
    assert not np.allclose(cropped, photos.vectors([ImageFile(path)])[0], atol=1e-3)
    # a picture that is another one by now is not shown for the one that was found
    picture(900).save(path)
    assert answer._repr_html_().count("data:image/jpeg;base64,") == 3
    with pytest.raises(UnreadableImage, match="a different picture is there now"):
        photos.search(Crop(StoredId(answer[0].id), box))


def test_a_mix_on_a_backend(photos: ImageCollection, pictures: Path) -> None:
    photos.ingest(pictures)
    first, second = photos.search(VectorQuery(np.ones(16)), limit=2)
    [one, other] = photos.vectors([StoredId(first.id), StoredId(second.id)])
    mix = one - 0.5 * other
    answer = photos.search(Like([(StoredId(first.id), 1), (StoredId(second.id), -0.5)]), limit=5)
    assert [hit.id for hit in answer] == [hit.id for hit in photos.search(mix / np.linalg.norm(mix), limit=5)]
    short = photos.search(StoredId(first.id), limit=30, where=field("uri") == first.uri).shortfall
    assert short is not None
    assert (short.missing, short.reason) == (29, "rows")


def test_ingest_search_filter_delete(photos: ImageCollection, pictures: Path) -> None:
    report = photos.ingest(pictures, metadata=metadata(pictures))
    assert (report.written, photos.count()) == (20, 20)

    again = photos.ingest(pictures, metadata=metadata(pictures))
    assert (again.written, again.updated, again.unchanged, photos.count()) == (0, 0, 20, 20)

    path = pictures / "album1" / "07.jpg"
    hits = photos.search(path, limit=5)
    assert hits[0].uri == str(path)
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert hits[0].fields["album"] == "album1"
    assert hits[0].fields["place"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

    where = (field("album") == "album0") & field("tags").contains("even")
    filtered = photos.search(path, limit=20, where=where)
    wanted = {uri for uri, row in metadata(pictures).items() if row["album"] == "album0" and "even" in str(row["tags"])}
    assert {hit.uri for hit in filtered} == wanted
    assert photos.count(where) == len(wanted)
    assert photos.count("rating >= 15") == 5
    with pytest.raises(FilterError, match="alubm"):
        photos.search(path, where=field("alubm") == "x")

    with pytest.raises(OptionError, match=r"^limit \+ offset is 16,390: limit must be from 1 to 16384"):
        photos.search(path, limit=10, offset=16_380)

    assert photos.get(hits[0].id) == photos.get([hits[0].id])
    assert photos.delete([hits[0].id, "nobody"]) == 1
    assert photos.count() == 19
    assert photos.delete(hits[1].id) == 1  # not the rows of its letters
    assert photos.count() == 18
    assert photos.delete_where(field("rating") >= 15) >= 3
    assert photos.count("rating >= 15") == 0


def test_hits_equal_an_exact_search(photos: ImageCollection, pictures: Path) -> None:
    photos.ingest(pictures)
    rows = photos.get([hit.id for hit in photos.search(picture(1), limit=20)], with_vector=True)
    ids = sorted(rows)
    stored = np.stack([rows[id_]["vector"] for id_ in ids])
    queries = [picture(seed) for seed in range(100, 110)]
    vectors = photos.vectors(queries)
    for vector, hits in zip(vectors, photos.search_many(queries, limit=6), strict=True):
        scores = stored @ vector
        best = np.argsort(-scores, kind="stable")[:6]
        assert [hit.id for hit in hits] == [ids[i] for i in best]
        np.testing.assert_allclose([hit.score for hit in hits], scores[best], atol=1e-5)


def test_a_row_is_written_whole_and_read_back(photos: ImageCollection, pictures: Path) -> None:
    path = pictures / "album0" / "02.jpg"
    photos.ingest(path, metadata={str(path): {"album": 'a "quoted" \\ name', "tags": "x;y", "n": {"a": [1]}}})
    [hit] = photos.search(path)
    row = photos.get([hit.id], with_vector=True)[hit.id]
    assert (row["album"], list(row["tags"]), row["rating"], row["n"]) == (
        'a "quoted" \\ name',
        ["x", "y"],
        -1,
        {"a": [1]},
    )
    assert (row["width"], row["height"], row["media_type"]) == (64, 48, "image/jpeg")
    assert row["vector"].dtype == np.float32
    assert photos.search(f"id:{hit.id}")[0].id == hit.id


def test_changed_metadata_and_prune(photos: ImageCollection, pictures: Path, encoder: FakeEncoder) -> None:
    photos.ingest(pictures, metadata=metadata(pictures))
    encoded = encoder.encoded
    path = pictures / "album0" / "00.jpg"
    before = photos.search(path, limit=1)[0]
    report = photos.ingest(pictures, metadata={str(path): {"album": "moved"}})
    assert (report.updated, report.unchanged, encoder.encoded) == (1, 19, encoded + 1)  # the search encoded one
    after = photos.search(path, limit=1)[0]
    assert (after.id, after.fields["album"], after.fields["place"]) == (before.id, "moved", "p0")
    assert after.score == pytest.approx(before.score, abs=1e-6)

    path.unlink()
    report = photos.ingest(pictures, prune=True)
    assert (report.pruned, photos.count()) == (1, 19)
    # a folder that is empty, as where a disk is not mounted, is not pruned, whatever stands beside it
    for left in (pictures / "album1").rglob("*.jpg"):
        left.unlink()
    (pictures / "album1" / "README").write_text("nothing is mounted here")
    with pytest.raises(SourceError, match="is its disk mounted"):
        photos.prune([pictures / "album0", pictures / "album1"])
    assert photos.count() == 19


def test_another_picture_under_the_same_name_keeps_what_is_known_of_it(photos: ImageCollection, pictures: Path) -> None:
    path = pictures / "album0" / "00.jpg"
    photos.ingest(path, metadata={str(path): {"album": "cats", "place": "home", "rating": 5}})
    picture(500).save(path)
    assert photos.ingest(path, metadata={str(path): {"rating": 4}}).written == 1
    [hit] = photos.search(path)
    assert (hit.fields["album"], hit.fields["place"], hit.fields["rating"]) == ("cats", "home", 4)


def test_numbers_of_metadata_settle_and_change(any_backend_uri: str, pictures: Path, encoder: FakeEncoder) -> None:
    definition = {
        "encoder": {"model": "fake"},
        "fields": {
            "price": {"type": "DOUBLE", "default": 0.0},
            "weight": {"type": "FLOAT", "default": 0.0},
            "sizes": {"type": "ARRAY", "element_type": "FLOAT", "max_capacity": 4, "default": []},
        },
    }
    path = pictures / "album0" / "00.jpg"
    given = {"price": 1234567.01, "weight": 0.1, "sizes": [0.1, 0.2], "note": 0.3}
    with ImageCollection.create("numbers", definition=definition, uri=any_backend_uri, encoder=encoder) as photos:
        photos.ingest(path, metadata={str(path): given})
        assert photos.ingest(path, metadata={str(path): given}).unchanged == 1
        assert photos.ingest(path, metadata={str(path): {**given, "price": 1234567.04}}).updated == 1
        assert photos.search(path)[0].fields["price"] == 1234567.04


def test_delete_where_and_a_token_beside_settings(photos: ImageCollection, pictures: Path) -> None:
    photos.ingest(pictures, metadata=metadata(pictures))
    with ImageCollection.open("trip", settings=photos.settings, token="root:secret", encoder=FakeEncoder()) as again:
        assert "secret" not in repr(again.settings)
        assert again.count() == 20


def test_reopening_remembers_everything(any_backend_uri: str, pictures: Path, encoder: FakeEncoder) -> None:
    with ImageCollection.create("trip", definition=DEFINITION, uri=any_backend_uri, encoder=encoder) as photos:
        photos.ingest(pictures)
        first = photos.search(picture(3), limit=4)
    with ImageCollection.open("trip", uri=any_backend_uri, encoder=encoder) as photos:
        assert photos.binding == encoder.binding
        assert photos.definition.fields["rating"].default == -1
        assert photos.count() == 20
        assert [hit.id for hit in photos.search(picture(3), limit=4)] == [hit.id for hit in first]
        assert photos.ingest(pictures).unchanged == 20
    [info] = [found for found in list_collections(Settings.load(uri=any_backend_uri)) if found.name == "trip"]
    assert (info.binding, info.definition.about) == (encoder.binding, "Test pictures.")


def test_another_encoder_is_refused_and_both_are_named(backend_uri: str, encoder: FakeEncoder) -> None:
    ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=encoder).close()
    with pytest.raises(EncoderMismatch, match=r"fingerprint '0+7' instead of '0+'"):
        ImageCollection.open("trip", uri=backend_uri, encoder=FakeEncoder(seed=7))


def test_a_misspelt_option_is_not_passed_over(tmp_path: Path, pictures: Path, encoder: FakeEncoder) -> None:
    uri = str(tmp_path / "milvus.db")
    with pytest.raises(TypeError, match="no option 'defintion': did you mean 'definition'"):
        ImageCollection.create("trip", defintion=DEFINITION, uri=uri, encoder=encoder)  # type: ignore[call-arg]
    for wrong in ("pypi:dinov2-small-11", print):
        with pytest.raises(OptionError, match=r"^encoder must be an Encoder or None, not "):
            ImageCollection.create("trip", uri=uri, encoder=wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="exist_ok"):
        ImageCollection.create("trip", exist_ok="no", uri=uri, encoder=encoder)  # type: ignore[arg-type]
    assert not (tmp_path / "milvus.db").exists()
    photos = ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=encoder)
    with photos, pytest.raises(TypeError, match="no option 'conform': did you mean 'confirm'"):
        photos.prune(pictures, conform=lambda *_: False)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no option 'db'"):
        ImageCollection.open("trip", uri=uri, db="other")  # type: ignore[call-arg]


def test_create_and_open_errors(backend_uri: str, encoder: FakeEncoder) -> None:
    with pytest.raises(CollectionNotFound, match=r"nothing_here|no Milvus Lite file"):
        ImageCollection.open("nothing_here", uri=backend_uri)
    ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=encoder).close()
    with pytest.raises(CollectionExists, match="already"):
        ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=encoder)
    with pytest.raises(CollectionNotFound, match="tripp"):
        ImageCollection.open("tripp", uri=backend_uri)
    ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=encoder, exist_ok=True).close()
    ImageCollection.create("trip", uri=backend_uri, encoder=encoder, exist_ok=True).close()
    with pytest.raises(DefinitionError, match="another definition"):
        ImageCollection.create("trip", definition="faces", uri=backend_uri, encoder=encoder, exist_ok=True)


def test_a_gpu_index_is_refused_where_there_is_no_gpu(backend_uri: str, encoder: FakeEncoder) -> None:
    with pytest.raises(UnsupportedByBackend, match="GPU"):
        ImageCollection.create("trip", definition="photos", gpu=True, uri=backend_uri, encoder=encoder)
    with pytest.raises(CollectionNotFound):
        ImageCollection.open("trip", uri=backend_uri)


@pytest.mark.parametrize("name", ["photos", "products"])  # of faces: test_faces.py
def test_bundled_definitions_work(backend_uri: str, pictures: Path, encoder: FakeEncoder, name: str) -> None:
    given = {str(path): {"category": path.parent.name, "price": "9.5"} for path in pictures.rglob("*.jpg")}
    with ImageCollection.create(f"{name}_test", definition=name, uri=backend_uri, encoder=encoder) as made:
        made.ingest(pictures, metadata=given if name == "products" else None)
        assert made.count() == 20
        where = field("category") == "album1" if name == "products" else None
        hits = made.search(pictures / "album1" / "03.jpg", limit=3, where=where)
        assert hits[0].uri.endswith("03.jpg")


def test_without_its_encoder_a_collection_counts_and_searches_by_vector(
    backend_uri: str, pictures: Path, encoder: FakeEncoder
) -> None:
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=encoder) as photos:
        photos.ingest(pictures)
        wanted = photos.search(picture(3), limit=3)
    with ImageCollection.open("trip", uri=backend_uri) as photos:  # its model `fake` is nowhere to be had
        assert photos.count() == 20
        hits = photos.search(encoder.encode_images([picture(3)])[0], limit=3)
        assert [hit.id for hit in hits] == [hit.id for hit in wanted]
        with pytest.raises(QueryError, match="the vector has dim 3, but"):
            photos.search(np.ones(3))
