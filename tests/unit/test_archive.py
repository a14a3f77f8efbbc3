"""Archives of a selection: what they hold is what went in, under names that harm nobody."""

from __future__ import annotations

import csv
import io
import zipfile

import pytest

from imgvec.serving.archive import Archive, csv_of, plain_name


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/home/me/cat.jpg", "cat.jpg"),
        ("/home/me/cat.JPEG", "cat.jpeg"),
        ("s3://bucket/a/b/cat.jpg", "cat.jpg"),
        ("photos.tar!/a/cat.jpg", "cat.jpg"),
        ("C:\\pictures\\cat.jpg", "cat.jpg"),
        ("/home/me/cat", "cat.jpg"),
        ("/home/me/cat.png", "cat.jpg"),  # a JPEG file, whatever it was called
        ("/home/me/2024.06.01 at sea", "2024.06.01 at sea.jpg"),
        ("../../etc/passwd", "passwd.jpg"),
        ("..", "picture.jpg"),
        ("", "picture.jpg"),
        ("/", "picture.jpg"),
        ("/home/me/.jpg", "picture.jpg"),
        ("/home/me/.bashrc", "bashrc.jpg"),
        ("/home/me/run.exe", "run.jpg"),
        ("/home/me/gpj.\u202eexe", "gpj.jpg"),
        ("/home/me/a\x00b\nc\x1b[31m.jpg", "a_b_c_[31m.jpg"),
        ("/home/me/a<b>:|?*.jpg", "a_b_.jpg"),
        ("/home/me/CON.jpg", "_CON.jpg"),
        ("/home/me/nul.tar.jpg", "_nul.tar.jpg"),
        ("/home/me/trailing. . .jpg", "trailing.jpg"),
        ("/home/me/" + "é" * 200 + ".jpg", "é" * 60 + ".jpg"),
        ("/home/me/\ud800.jpg", "_.jpg"),
    ],
)
def test_names(uri: str, name: str) -> None:
    assert plain_name(uri, (".jpg", ".jpeg")) == name


def test_what_went_in_comes_out_in_parts() -> None:
    archive, sent = Archive(), b""
    archive.add("1", "/a/cat.jpg", b"one", (".jpg",))
    sent += archive.drain()
    assert sent.endswith(b"one") or b"one" in sent
    archive.add("2", "/b/CAT.jpg", b"two", (".jpg",))
    archive.add("3", "/b/index.csv", b"three", (".csv",))
    archive.leave_out("4", "/b/gone.jpg", "not there")
    sent += archive.drain()
    assert archive.drain() == b""
    sent += archive.close()
    assert archive.bytes == 11
    with zipfile.ZipFile(io.BytesIO(sent)) as found:
        assert found.testzip() is None
        assert {name: found.read(name) for name in found.namelist()[:-1]} == {
            "cat.jpg": b"one", "CAT (2).jpg": b"two", "index (2).csv": b"three",
        }  # fmt: skip
        rows = list(csv.reader(io.StringIO(found.read("index.csv").decode("utf-8-sig"))))
    assert rows == [
        ["file", "id", "uri", "left out because"],
        ["cat.jpg", "1", "/a/cat.jpg", ""],
        ["CAT (2).jpg", "2", "/b/CAT.jpg", ""],
        ["index (2).csv", "3", "/b/index.csv", ""],
        ["", "4", "/b/gone.jpg", "not there"],
    ]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1"])
def test_no_text_is_a_formula(cell: str) -> None:
    data = csv_of([["a"], [cell]])
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert rows == [["a"], [f"'{cell}"]]


def test_numbers_stay_numbers() -> None:
    data = csv_of([["a", "b"], [-5, -0.25]])
    assert data.decode("utf-8-sig").splitlines() == ["a,b", "-5,-0.25"]
