"""A stored picture opened again by its uri, under the guards that it was brought in with."""

from __future__ import annotations

import io
import os
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pictures import picture

from imgvec.errors import UnreadableImage
from imgvec.images import FetchPolicy, content_hash
from imgvec.sources import Columns, Guards, Record, Source, reopen

pytestmark = pytest.mark.timeout(30)


def png(number: int) -> bytes:
    data = io.BytesIO()
    picture(number).save(data, "PNG")
    return data.getvalue()


def reason(uri: str, roots: Any, **options: Any) -> str:
    with pytest.raises(UnreadableImage) as caught:
        reopen(uri, roots, **options)
    return caught.value.reason


def records(source: Source) -> list[Record]:
    return [one for one in source if isinstance(one, Record)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(number))
    return folder


def packed(photos: Path, kind: str) -> Path:
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    import pyarrow.parquet as pq

    path = photos.parent / f"photos.{kind}"
    names = ["0.png", "sub/ä.png", "2.png"]
    if kind.startswith("tar"):
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for number, name in enumerate(names):
                info = tarfile.TarInfo(name)
                info.size = len(png(number))
                archive.addfile(info, io.BytesIO(png(number)))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for number, name in enumerate(names):
                archive.writestr(name, png(number))
    else:
        held = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        values = [{"bytes": png(n), "path": name if kind == "parquet" else "same.png"} for n, name in enumerate(names)]
        path = path.with_suffix(".parquet")
        pq.write_table(pa.table({"image": pa.array(values, held)}), path, row_group_size=2)
    return path


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip", "parquet", "parquet by number"])
@pytest.mark.parametrize("relative", [False, True])
def test_what_was_brought_in_is_opened_again(photos: Path, kind: str, relative: bool) -> None:
    path = photos if kind == "folder" else packed(photos, kind)
    found = records(Source(path, root=photos.parent if relative else None))
    assert len(found) == 3
    for one in found:
        data = one.reader.read(10**6)
        assert reopen(one.uri, photos.parent) == data
        assert reopen(one.uri, ["/nowhere", photos.parent], hashed=content_hash(data)) == data
        if not relative:
            assert reopen(one.uri, None) == data
            assert reason(one.uri, photos.parent / "elsewhere") == "permission denied"
        assert reason(one.uri, ()) == "permission denied"
        assert reason(one.uri, photos.parent, guards=Guards(max_bytes=10)) == "too large"
        assert reason(one.uri, photos.parent, hashed="0" * 32) == "missing"
    path.rename(photos.parent / "moved")
    assert reason(found[0].uri, photos.parent) == "missing"


@pytest.mark.parametrize("kind", ["tar", "zip", "parquet"])
def test_members_that_are_not_there(photos: Path, kind: str) -> None:
    path = packed(photos, kind)
    assert reason(f"{path}!7.png", None) == "missing"
    assert reason(f"{path}!../photos/0.png", None) == "missing"
    path.write_bytes(path.read_bytes()[:100])
    assert reason(f"{path}!2.png", None) == "read failed"


def test_a_row_with_a_column_of_another_name(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    import pyarrow.parquet as pq

    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"sku": ["2", "1", "0"], "a": [png(0), png(1), png(2)], "b": [b"", b"", b""]}), file)
    found = records(Source(file, image_column="a", uri_column="sku"))
    columns = Columns(image="a", uri="sku")
    assert [reopen(one.uri, None, columns=columns) for one in found] == [png(0), png(1), png(2)]
    assert reason(found[0].uri, None) == "read failed"  # two columns could hold it, and nobody says which


def test_links_lead_no_further_than_the_roots(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(5))
    (photos / "out.png").symlink_to(tmp_path / "secret.png")
    (photos / "in.png").symlink_to(photos / "0.png")
    (photos / "folder").symlink_to(tmp_path)
    for uri in (f"{photos}/out.png", f"{photos}/folder/secret.png", f"{photos}/../secret.png", "../secret.png"):
        assert reason(uri, photos) == "permission denied"
    assert reason("/nothing/is/here.png", photos) == "permission denied"  # as if it were there: nobody is told
    assert reopen(f"{photos}/in.png", photos) == png(0)
    assert reopen(f"{photos}/out.png", [photos, tmp_path]) == png(5)
    linked = records(Source(photos, follow_links=True))
    assert all(reopen(one.uri, tmp_path) for one in linked)
    archive = packed(photos, "zip")
    (photos / "photos.zip").symlink_to(archive)
    assert reason(f"{photos}/photos.zip!0.png", photos) == "permission denied"
    assert reopen(f"{photos}/photos.zip!0.png", tmp_path) == png(0)


def test_what_is_no_file_is_not_waited_for(photos: Path) -> None:
    os.mkfifo(photos / "pipe.png")
    os.mkfifo(photos / "pipe.zip")
    assert reason(f"{photos}/pipe.png", photos) == "not a regular file"
    assert reason(f"{photos}/pipe.zip!a.png", photos) == "not a regular file"
    assert reason(str(photos / "sub"), photos) == "missing"
    assert reason("a\0b", photos) == "unusable name"
    assert reason("0.png", None) == "missing"


def test_a_file_that_is_called_like_a_member(photos: Path) -> None:
    odd = photos / "x.zip!y.png"
    odd.write_bytes(png(4))
    assert reopen(str(odd), photos) == png(4)
    assert reason(f"{photos}/z.zip!y.png", photos) == "missing"
    assert reason(f"{photos}/m.csv!1", photos) == "missing"


def test_an_address_under_the_fetch_policy() -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(png(1))))
            self.end_headers()
            self.wfile.write(png(1))

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/a.zip!b.png"
        allowed = Guards(fetch=FetchPolicy(("127.0.0.0/8",), timeout=5))
        assert reopen(url, (), guards=allowed) == png(1)
        assert reason(url, ()) == "permission denied"
        assert reason(url, (), guards=Guards(10, allowed.fetch)) == "too large"
        assert reason(url.replace("http://", "http://user:secret@"), (), guards=allowed) == "unusable name"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("uri", ["sftp://host/a.png", "data://x", "gopher://x/y.tar!z.png", "file2://a.png"])
def test_no_scheme_that_a_list_may_not_name(uri: str) -> None:
    assert reason(uri, None) == "unusable name"


@pytest.mark.parametrize("roots", [None, ["/there"]])
@pytest.mark.parametrize("uri", ["\ud800.png", "/\ud800", "/there/a.tar!\ud800", "file:///\ud800"])
def test_a_name_that_is_not_text(uri: str, roots: Any) -> None:
    assert reason(uri, roots) in ("unusable name", "missing")


def test_a_password_is_not_told() -> None:
    with pytest.raises(UnreadableImage, match="must not contain a password") as raised:
        reopen("s3://me:secret@b/a.png", ())
    assert "secret" not in str(raised.value)


def test_objects_in_a_store() -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra `remote` is not installed")
    store = fsspec.filesystem("memory")
    with store.open("/again/a.png", "wb") as file:
        file.write(png(1))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("b.png", png(2))
    with store.open("/again/x.zip", "wb") as file:
        file.write(data.getvalue())
    assert reopen("memory://again/a.png", ()) == png(1)
    assert reopen("memory://again/x.zip!b.png", ()) == png(2)
    assert reason("memory://again/b.png", ()) == "missing"
    assert reason("memory://again/a.png", (), guards=Guards(max_bytes=10)) == "too large"
