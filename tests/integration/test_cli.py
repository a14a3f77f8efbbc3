"""The command line without weights: what it says, and what it never does. The encoder is the fake one."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from pictures import picture

from imgvec import Crop, ImageCollection, ImageFile, Like, Source, StoredId, Text, VectorQuery
from imgvec.cli import main
from imgvec.errors import OptionError

DEFINITION = {"encoder": {"model": "fake"}, "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}}}


@pytest.fixture
def filled(lite_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A collection `trip` of twenty pictures at IMGVEC_URI."""
    monkeypatch.setenv("IMGVEC_URI", lite_uri)
    given = {
        str(path): {"album": path.parent.name, "latitude": 52.520008123, "score": 7} for path in pictures.rglob("*.jpg")
    }
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures, metadata=given)
    return lite_uri


def imgvec(*words: str | Path, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def stored_id(uri: str) -> str:
    with ImageCollection.open("trip", uri=uri) as photos:
        return str(next(iter(photos.store.scan(["id"])))[0]["id"])


def test_rows_are_deleted_by_filter(filled: str) -> None:
    assert "10 rows deleted" in imgvec("collections", "delete", "trip", "--where", 'album == "album0"', "--yes").stdout
    assert "10 rows deleted" in imgvec("collections", "delete", "trip", "--eq", "album=album1", "--yes").stdout
    assert "0 rows deleted" in imgvec("collections", "delete", "trip", "--eq", "album=album1", "--yes").stdout


def test_one_of_several_values_wherever_a_filter_is_taken(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert imgvec("collections", "count", "trip", "--in", "album=album0,nowhere").stdout == "10\n"
    assert imgvec("collections", "count", "trip", "--in", "album=album0,album1").stdout == "20\n"
    both = ("--in", "album=album0,album1", "--eq", "album=album1", "--where", 'album != "x"')
    assert imgvec("collections", "count", "trip", *both).stdout == "10\n"
    found = json.loads(
        imgvec("search", f"id:{stored_id(filled)}", "-c", "trip", *both, "-k", "20", "-o", "json").stdout
    )
    assert {hit["fields"]["album"] for hit in found} == {"album1"}
    imgvec("collections", "export", "-c", "trip", str(tmp_path / "some.npy"), *both)
    assert len(np.load(tmp_path / "some.npy")) == 10
    tuned: list[Any] = []

    def tune(collection: ImageCollection, **options: Any) -> None:
        tuned.extend(collection.store.rendered(each) for each in options["where"])
        raise OptionError("recall", "seen")

    monkeypatch.setattr("imgvec.tune", tune)
    imgvec("index", "tune", "-c", "trip", "--where", "width > 1", *both[:4], status=1)
    assert tuned == ["width > 1", 'album == "album1" and album in ["album0", "album1"]']
    assert "10 rows deleted" in imgvec("collections", "delete", "trip", "--in", "album=album0", "--yes").stdout


def test_a_mistake_in_a_filter_is_named_with_its_column(filled: str) -> None:
    for words, message in (
        (("--where", "width > and"), "unexpected 'and' at column 9"),
        (("--where", 'album like "%a%" and width % 2 == 0'), "Milvus Lite 3.2.2 has no % (column 28)"),
        (("--range", "width=1..x"), "(column 10)"),
        (("--in", "width=1,x"), "(column 9)"),
        (("--eq", "width=x"), "(column 7)"),
    ):
        assert message in imgvec("collections", "count", "trip", *words, status=1).stderr


def test_an_empty_filter_is_an_error_as_in_python(filled: str) -> None:
    """It is what a shell makes of a variable that is not set: it must not widen what is deleted or counted."""
    for words in (
        ("collections", "delete", "trip", "--where", "", "--eq", "album=album0", "--yes"),
        ("collections", "count", "trip", "--where", ""),
        ("search", f"id:{stored_id(filled)}", "-c", "trip", "--where", ""),
    ):
        assert "the filter expression is empty" in imgvec(*words, status=1).stderr
    assert imgvec("collections", "count", "trip").stdout == "20\n"


def test_csv_keeps_every_digit_and_every_column(filled: str) -> None:
    out = imgvec("search", f"id:{stored_id(filled)}", "-c", "trip", "-k", "3", "-o", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["latitude"] for row in rows] == ["52.520008123"] * 3
    assert [row["fields.score"] for row in rows] == ["7"] * 3
    assert float(rows[0]["score"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ingest", "PICTURES", "-c", "trip", "--errors", "/nonexistent/e"], "/nonexistent/e"),
        (["ingest", "PICTURES", "-c", "trip", "--stats", "/nonexistent/s"], "/nonexistent/s"),
        (["ingest", "PICTURES", "-c", "trip", "--metadata", "/nonexistent/m.csv"], "/nonexistent/m.csv"),
        (["ingest", "PICTURES", "-c", "trip", "--metadata", "/"], "/: cannot read the metadata: Is a directory"),
        (["ingest", "/nonexistent/photos", "-c", "another"], "no such file or folder"),
        (["search", "~nobody_at_all", "-c", "trip"], "fake"),
        (["search", "id:x", "-c", "tripp"], "trip"),
        (["--uri", "x.db", "collections", "list"], "x.db"),
        (["--uri", "root:topsecret@localhost:19530", "collections", "list"], "localhost:19530"),
        (["--uri", "http://root:top/secret@127.0.0.1:1", "collections", "list"], "127.0.0.1"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    filled: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = imgvec(*[str(pictures) if word == "PICTURES" else word for word in words], status=1)
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert says in result.stderr
    assert "secret" not in result.output
    assert sorted(tmp_path.iterdir()) == before
    assert [row["name"] for row in json.loads(imgvec("collections", "list", "-o", "json").stdout)] == ["trip"]


def test_what_was_meant(filled: str) -> None:
    assert "No such command 'serach'. Did you mean 'search'?" in imgvec("serach", status=2).stderr
    assert "No such command 'lst'. Did you mean 'list'?" in imgvec("collections", "lst", status=2).stderr
    assert "No such command 'xyz'." in imgvec("index", "xyz", status=2).stderr
    said = imgvec("collections", "count", "trip", "--eq", "albun=album0")
    assert (said.stdout, said.stderr) == (
        "0\n", "Note: no field 'albun', did you mean 'album'? It is read as a key of the dynamic field.\n"
    )  # fmt: skip
    assert imgvec("collections", "count", "trip", "--eq", "place=p1").stderr == ""
    unknown = imgvec("evaluate", "-c", "trip", "--label", "albun", status=1).stderr
    assert "20 without albun" in unknown
    assert "there is no field 'albun', did you mean 'album'?" in unknown


def test_a_search_that_finds_nothing_says_so(filled: str) -> None:
    found = stored_id(filled)
    nothing = imgvec("search", f"id:{found}", "-c", "trip", "--eq", "album=nowhere")
    assert (nothing.stdout, nothing.stderr) == ("", "Note: no rows match\n")
    assert imgvec("search", f"id:{found}", "-c", "trip", "--offset", "50").stderr == "Note: no more rows match\n"
    assert imgvec("search", f"id:{found}", "-c", "trip", "--eq", "album=nowhere", "-o", "json").stderr == ""
    assert imgvec("search", f"id:{found}", "-c", "trip", "-k", "50").stderr == ""
    other = imgvec("search", f"id:{found}", "-c", "trip", "--min-score", "1.5")
    assert other.stderr == "Note: no hit reaches min_score\n"


def test_pages_are_printed_as_they_are_read(filled: str) -> None:
    asked = ("pages", f"id:{stored_id(filled)}", "-c", "trip", "--size", "6")
    said = imgvec(*asked, "-o", "jsonl")
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    with ImageCollection.open("trip", uri=filled) as photos:
        hits = [hit for page in photos.pages(asked[1], size=6) for hit in page]
    assert len(hits) == 20
    assert [(row["id"], row["score"], row["fields"]["album"]) for row in rows] == [
        (hit.id, hit.score, hit.fields["album"]) for hit in hits
    ]
    assert said.stderr == ""
    paths = imgvec(*asked, "--pages", "2", "-o", "paths")
    assert paths.stdout.splitlines() == [hit.uri for hit in hits[:12]]
    table = imgvec(*asked, "--most", "8")
    assert [line.split()[-1] for line in table.stdout.splitlines() if ".jpg" in line] == [hit.id for hit in hits[:8]]
    assert table.stderr == "Note: the pages end after the best 8 hits: --most keeps more, up to 65,536\n"
    assert imgvec(*asked, "--pages", "1", "--most", "8").stderr == ""  # as many as were asked for
    assert imgvec(*asked, "--eq", "album=nowhere", "-o", "jsonl").stderr == "Note: no rows match\n"
    assert "Give QUERY, --image" in imgvec("pages", "-c", "trip", status=2).stderr


def test_groups_diversity_and_order(filled: str) -> None:
    asked = ("search", f"id:{stored_id(filled)}", "-c", "trip", "-k", "2")
    grouped = imgvec(*asked, "--group-by", "album", "--group-size", "3", "--strict-group-size")
    assert [line.split()[1] for line in grouped.stdout.splitlines() if ".jpg" in line or ".png" in line] in (
        ["album0"] * 3 + ["album1"] * 3, ["album1"] * 3 + ["album0"] * 3
    )  # fmt: skip
    hits = json.loads(imgvec(*asked, "--collapse", "0.99", "--diversity", "1", "-o", "json").stdout)
    plain = json.loads(imgvec(*asked, "-o", "json").stdout)
    assert hits[0]["id"] == plain[0]["id"]
    assert hits[1]["score"] < plain[1]["score"]
    said = imgvec(*asked, "--order-by=-width", "--profile", "-o", "paths").stderr.splitlines()
    assert said[1] == "by imgvec: order_by"
    mistyped = imgvec(*asked, "--group-by", "albun", "-o", "paths").stderr
    assert mistyped == "Note: no field 'albun', did you mean 'album'? It is read as a key of the dynamic field.\n"
    assert imgvec(*asked, "--group-by", "place", "-o", "paths").stderr == ""
    counted = imgvec(*asked, "--facet", "album", "-o", "paths")
    assert (counted.stderr, len(counted.stdout.splitlines())) == (
        "album: album0 10, album1 10 (of 20 matching rows)\n", 2
    )  # fmt: skip
    few = imgvec("search", f"id:{stored_id(filled)}", "-c", "trip", "-k", "9", "--collapse", " -1").stderr
    assert few == "Note: 8 fewer than asked for: the others are too similar to these\n"
    assert "--profile is of one query" in imgvec("search", "--queries", ".", "-c", "trip", "--profile", status=2).stderr


def test_a_wrong_parameter_is_a_usage_error(filled: str) -> None:
    assert "is not a valid value" in imgvec("search", "id:x", "-c", "trip", "-p", "ef=[", status=2).stderr
    assert "KEY=VALUE" in imgvec("search", "id:x", "-c", "trip", "-p", "ef", status=2).stderr
    assert "FIELD=VALUE" in imgvec("collections", "count", "trip", "--eq", "album", status=2).stderr


@pytest.fixture
def with_texts(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    """The encoder of what the command opens; it has a text side."""
    encoder, opened = FakeEncoder(text=True), ImageCollection.open.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(
        ImageCollection, "open", classmethod(lambda cls, name, **given: opened(cls, name, encoder=encoder, **given))
    )
    return encoder


def hits(*words: str | Path) -> list[str]:
    return [hit["id"] for hit in json.loads(imgvec("search", *words, "-c", "trip", "-k", "5", "-o", "json").stdout)]


def test_a_form_is_named_where_a_guess_will_not_do(
    filled: str, pictures: Path, with_texts: FakeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, id_ = pictures / "album0" / "04.jpg", stored_id(filled)
    assert hits("--image", path) == hits(path)
    assert hits("--id", id_) == hits(f"id:{id_}")
    assert hits("--text", "a red dress") == hits("a red dress")
    # a file of that name changes nothing where a text was said
    monkeypatch.chdir(tmp_path)
    before = hits("--text", "a red dress")
    picture(3).save(tmp_path / "a red dress", "JPEG")
    assert hits("--text", "a red dress") == before != hits("a red dress")
    assert hits("--text", path) != hits("--image", path)
    assert "missing" in imgvec("search", "--image", "a blue dress", "-c", "trip", status=1).stderr


def test_a_query_is_asked_for(filled: str) -> None:
    assert "Give QUERY, --image, --text, --id or --like." in imgvec("search", "-c", "trip", status=2).stderr


def scored(photos: ImageCollection, form: Like | Crop) -> list[tuple[str, float]]:
    return [(hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in photos.search(form, limit=5)]


def test_several_queries_are_mixed_by_weight(filled: str, pictures: Path, with_texts: FakeEncoder) -> None:
    """Against NumPy too: the unit vectors times their weights, added up."""
    a, b, c = (str(pictures / "album0" / f"0{i}.jpg") for i in (0, 2, 4))
    id_ = stored_id(filled)
    asked = {
        (a, "--like", f"{b}:0.5", "--unlike", c): [(ImageFile(a), 1), (ImageFile(b), 0.5), (ImageFile(c), -1)],
        ("--like", f"id:{id_}:2", "--unlike", "at night:.25"): [(StoredId(id_), 2), (Text("at night"), -0.25)],
        ("--text", "16:9", "--image", a): [(ImageFile(a), 1), (Text("16:9"), 1)],
        ("--image", a, "--image", b, "--id", id_): [(ImageFile(a), 1), (ImageFile(b), 1), (StoredId(id_), 1)],
    }
    with ImageCollection.open("trip", uri=filled) as photos:
        rows = [row for some in photos.store.scan(["id", "vector"]) for row in some]
        expected = {}
        for words, parts in asked.items():
            vectors = photos.vectors([form for form, _ in parts]).astype(np.float64)
            mix = np.sum([w * v for (_, w), v in zip(parts, vectors, strict=True)], axis=0)
            scores = [float(row["vector"] @ mix / np.linalg.norm(mix)) for row in rows]
            best = sorted(zip([-score for score in scores], [row["id"] for row in rows], strict=True))[:5]
            expected[words] = [(id_, pytest.approx(-less, abs=1e-5)) for less, id_ in best]
            assert scored(photos, Like(parts)) == expected[words]
    for words, best in expected.items():
        found = json.loads(imgvec("search", *words, "-c", "trip", "-k", "5", "-o", "json").stdout)
        assert [(hit["id"], hit["score"]) for hit in found] == best


def test_a_part_of_a_picture_is_cut_out_by_its_corner_and_size(
    filled: str, pictures: Path, with_texts: FakeEncoder
) -> None:
    path = pictures / "album0" / "04.jpg"
    with ImageCollection.open("trip", uri=filled) as photos:
        expected = [hit.id for hit in photos.search(Crop(ImageFile(path), (10, 5, 40, 25)), limit=5)]
        whole = [hit.id for hit in photos.search(path, limit=5)]
        of_stored = photos.search(Crop(StoredId(whole[0]), (10, 5, 40, 25)), limit=5)
    assert hits(path, "--crop", "10,5,30,20") == hits("--image", path, "--crop", "10,5,30,20") == expected != whole
    assert hits("--id", whole[0], "--crop", "10,5,30,20") == [hit.id for hit in of_stored]
    assert "is not inside the picture" in imgvec("search", path, "-c", "trip", "--crop", "0,0,9000,9", status=1).stderr
    for wrong in ("1,2,3", "0,0,0,5", "-1,0,5,5", "a,b,c,d", "0,0,2.5,5"):
        said = imgvec("search", path, "-c", "trip", "--crop", wrong, status=2).stderr
        assert f"'{wrong}' is not X,Y,W,H in whole pixels" in said
    one = "--crop takes exactly one picture"
    assert one in imgvec("search", "--text", "x", "-c", "trip", "--crop", "0,0,9,9", status=2).stderr
    assert one in imgvec("search", path, "--image", path, "-c", "trip", "--crop", "0,0,9,9", status=2).stderr


def test_a_part_of_a_picture_finds_it_by_its_regions(
    lite_uri: str, pictures: Path, with_texts: FakeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGVEC_URI", lite_uri)
    definition = {**DEFINITION, "views": {"regions": 4}}
    with ImageCollection.create("parts", definition=definition, uri=lite_uri, encoder=with_texts) as photos:
        photos.ingest(pictures)
        row = next(row for some in photos.store.scan(["uri", "view", "box"]) for row in some if row["view"] == "region")
    x0, y0, x1, y1 = row["box"]
    asked = ("search", row["uri"], "-c", "parts", "--crop", f"{x0},{y0},{x1 - x0},{y1 - y0}", "-k", "3")
    [best, *_] = json.loads(imgvec(*asked, "-o", "json").stdout)
    assert (best["id"], best["uri"], best["view"], best["box"]) == (row["id"], row["uri"], "region", [x0, y0, x1, y1])
    assert f"[{x0}, {y0}, {x1}, {y1}]" in imgvec(*asked).stdout
    page = imgvec(*asked, "-o", "html").stdout
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    assert page.count("data:image/jpeg;base64,") == 3
    assert "of one query" in imgvec("search", "--queries", pictures, "-c", "parts", "-o", "html", status=2).stderr

    said = imgvec("index", "plan", "-c", "parts", "--pictures", "1000").stdout.splitlines()[-1]
    assert said == (
        "Views: up to 5 rows a picture: 1,000 pictures have 5,000 at most. Each picture is decoded once, encoded up to "
        "5 times, and looked at once more by an encoder with patch tokens."
    )
    assert "Views: up to 5 rows a picture. Each" in imgvec("index", "plan", "-c", "parts").stdout
    assert "use --rows" in imgvec("index", "plan", "--pictures", "9", "--dim", "9", status=2).stderr
    assert "not both" in imgvec("index", "plan", "-c", "parts", "--pictures", "9", "--rows", "9", status=1).stderr


def test_an_error_of_faces_verify_is_not_taken_for_a_no(filled: str, pictures: Path) -> None:
    path = pictures / "album0" / "04.jpg"
    assert "not a collection of faces" in imgvec("faces", "verify", path, path, "-c", "trip", status=2).stderr
    assert "nobody" in imgvec("faces", "verify", path, path, "-c", "nobody", status=2).stderr
    assert "not a collection of faces" in imgvec("faces", "identify", path, "-c", "trip", status=1).stderr


def test_a_text_is_a_text_through_every_door(
    filled: str, pictures: Path, with_texts: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ("/etc/hostname", str(pictures / "album0" / "04.jpg"), "id:x", "missing.jpg"):
        [vector] = with_texts.encode_texts([words])
        with ImageCollection.open("trip", uri=filled) as photos:
            expected = [hit.id for hit in photos.search(VectorQuery(vector), limit=5)]
            assert [hit.id for hit in photos.search(Text(words), limit=5)] == expected
            assert [[hit.id for hit in each] for each in photos.search_many([Text(words)], limit=5)] == [expected]
            assert [hit.id for hit in photos.search(Like([(Text(words), 1)]), limit=5)] == expected
            assert photos.vectors([Text(words)])[0] == pytest.approx(vector)
        assert hits("--text", words) == expected
    assert with_texts.encoded == 0  # no picture was looked at


def test_a_hit_as_json(filled: str) -> None:
    [hit] = json.loads(imgvec("search", "--id", stored_id(filled), "-c", "trip", "-k", "1", "-o", "json").stdout)
    assert hit.keys() == {"id", "score", "distance", "uri", "image_id", "view", "box", "at_ms", "probability",
                          "p_value", "fields"}  # fmt: skip
    assert (hit["image_id"], hit["view"], hit["box"]) == (hit["id"], "whole", None)


def test_the_command_says_where_the_index_missed_rows(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("search", "--id", stored_id(filled), "-c", "trip", "-k", "30")
    assert "fewer than asked for" not in imgvec(*words).stderr  # there are no more rows
    monkeypatch.setattr("imgvec.milvus.Store.count", lambda self, filter="": 1000)
    assert "10 fewer than asked for: more rows match, but the index did not reach them" in imgvec(*words).stderr
    assert imgvec(*words, "-o", "json").stderr == ""


def test_nothing_is_deleted_without_a_yes(filled: str, pictures: Path) -> None:
    for words in (["collections", "drop", "trip"], ["collections", "delete", "trip", "--eq", "album=album0"]):
        assert "--yes" in imgvec(*words, status=2).stderr
    assert "--yes" in imgvec("ingest", pictures, "-c", "trip", "--prune", status=2).stderr
    assert imgvec("collections", "count", "trip").stdout == "20\n"


def test_the_database_in_the_folder_is_not_ingested(pictures: Path) -> None:
    uri = str(pictures / "here.db")
    with ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as photos:
        report = photos.ingest(pictures)
        assert (report.written, report.refused.total()) == (20, 0)
        report = photos.ingest(Source(pictures, root=pictures))
        assert (report.written, report.refused.total()) == (20, 0)


def test_an_edited_picture_is_shown_by_its_new_content(filled: str, pictures: Path) -> None:
    path = pictures / "album0" / "00.jpg"
    picture(900).save(path)
    with ImageCollection.open("trip", uri=filled, encoder=FakeEncoder()) as photos:
        assert photos.ingest(pictures).written == 1
        [hit] = photos.search(path, limit=1)
        assert (hit.uri, hit.fields["album"]) == (str(path), "album0")


def test_the_doctor_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMGVEC_URI", raising=False)
    findings = {one["subject"]: one for one in json.loads(CliRunner().invoke(main, ["doctor", "-o", "json"]).stdout)}
    assert findings["milvus"]["state"] == "ok"
    assert "does not exist yet" in findings["milvus"]["said"]
    assert "HNSW" in findings["index types"]["said"]
    assert list(tmp_path.iterdir()) == []
