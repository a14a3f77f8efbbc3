"""The command `imgvec serve`, as it is started and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from served import PATIENCE, started
from vector_rows import eight

import imgvec
from imgvec.cli import main

pytest.importorskip("fastapi")
from imgvec.serving.listening import listening


@pytest.fixture
def uri(lite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("IMGVEC_URI", lite_uri)
    eight(lite_uri, tmp_path)
    return lite_uri


def invoked(*words: str) -> Result:
    return CliRunner().invoke(main, ["serve", *words])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_it_serves_until_it_is_told_to_stop(uri: str, number: int, status: int) -> None:
    with started("-c", "eight", stdout=subprocess.PIPE) as (process, client):
        got = client.post("/v1/collections/eight/search", {"query": {"vector": [1.0, *[0.0] * 7]}, "limit": 1})
        assert got.json["hits"][0]["score"] == pytest.approx(1)
        other = CliRunner().invoke(main, ["collections", "list"])  # by another process, through this one
        assert (other.exit_code, "eight" in other.output) == (0, True), other.output
        process.send_signal(number)
        shown, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    assert shown == ""
    told = [line for line in said.splitlines() if not line.startswith("{")]  # the rest is for who reads logs
    assert [line[:7] for line in told] == ([] if number == signal.SIGTERM else ["Stopped"])
    assert "Traceback" not in said
    with imgvec.ImageCollection.open("eight", uri=uri) as collection:  # the file is free again
        assert collection.count() == 8


def test_a_terminal_is_told_the_address(uri: str) -> None:
    ours, theirs = os.openpty()
    try:
        with started("-c", "eight", stdout=theirs) as (_, client):
            shown = os.read(ours, 1000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown == f"Now open http://127.0.0.1:{client.port}/ in your browser. Ctrl-C ends it.\r\n"


def test_tokens_are_shown_once(uri: str, tmp_path: Path) -> None:
    file = str(tmp_path / "tokens")
    made = invoked("--new-token", "page", "--scope", "read", "--token-file", file)
    assert made.exit_code == 0
    token = made.stdout.strip()
    assert token not in Path(file).read_text()
    with started("--token-file", file, "--host", "0.0.0.0") as (_, client):
        assert client.get("/v1/collections").kind == "token"
        assert client.get("/v1/collections", Authorization=f"Bearer {token}").json["collections"][0]["name"] == "eight"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--host", "0.0.0.0"), 1, "takes tokens"),
        (("-c", "nothing"), 1, "nothing"),
        (("--root", "/no/such/folder"), 2, "is not a folder"),
        (("--new-token", "page"), 2, "--token-file"),
        (("--scope", "read"), 2, "--new-token"),
        (("--token-file", "/no/such/file"), 1, "cannot be read"),
        (("--rate", "-1"), 2, "--rate"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(uri: str, words: tuple[str, ...], status: int, said: str) -> None:
    done = invoked(*words)
    assert (done.exit_code, said in done.output) == (status, True), done.output
    assert len(done.output.splitlines()) == 1 or status == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_is_taken_is_said_in_a_line(uri: str, host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = invoked("--host", host, "--port", str(port))
    assert done.exit_code == 1
    assert f"cannot listen on {host}, port {port}: address already in use; give another --port" in done.stderr
    assert len(done.output.splitlines()) == 1


def test_an_address_of_another_machine_is_said_in_a_line() -> None:
    with pytest.raises(imgvec.errors.UsageError, match=r"cannot listen on 192\.0\.2\.1, port 0: .*give another --host"):
        listening("192.0.2.1", 0)


def test_one_port_of_all_addresses_of_a_name() -> None:
    found = listening("localhost", 0)
    try:
        assert len({one.getsockname()[1] for one in found}) == 1
        assert "127.0.0.1" in {one.getsockname()[0] for one in found}
    finally:
        for one in found:
            one.close()


def test_without_a_collection_there_is_nothing_to_serve(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGVEC_URI", lite_uri)
    assert invoked().exit_code == 1


def test_without_the_extra() -> None:
    code = "import sys; sys.modules['fastapi'] = None; from imgvec.cli import main; main(['serve'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "pip install 'imgvec[serve]'" in done.stderr
