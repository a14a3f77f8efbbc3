"""The command as a process: streams that are closed, full, of another encoding, or left by their reader."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import FakeEncoder
from pictures import picture

from imgvec import ImageCollection

DEFINITION = {"encoder": {"model": "fake"}, "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}}}
PROGRAM = [sys.executable, "-c", "from imgvec.cli import main; main(prog_name='imgvec')"]
NAME = "写真 é 😀.jpg"
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A collection `t` at `folder/t.db` of two rows, and the id of the picture called `NAME`."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "uni").mkdir()
    for i in range(2):
        picture(i).save(folder / "uni" / (NAME if i == 0 else f"{i}.jpg"))
    with ImageCollection.create(
        "t", definition=DEFINITION, uri=str(folder / "t.db"), encoder=FakeEncoder()
    ) as collection:
        metadata = {str(folder / "uni" / NAME): {"album": "Grüße"}}
        collection.ingest(folder / "uni", metadata=metadata)
        [hit] = [hit for hit in collection.search(picture(0), limit=2) if hit.uri.endswith(NAME)]
    return folder, hit.id


class Run:
    """`imgvec` in a shell, so that its streams can be anything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["/bin/bash", "-c", f'imgvec() {{ "${{PROGRAM[@]}}" "$@"; }}; PROGRAM=("$@"); {words}', "x", *PROGRAM],
            cwd=self._folder,
            env={**os.environ, "IMGVEC_URI": str(self._folder / "t.db"), **environment},
            capture_output=True,
            timeout=120,
        )


@pytest.fixture
def run(photos: tuple[Path, str]) -> Run:
    return Run(photos[0])


ENCODINGS = {"latin-1": {"PYTHONIOENCODING": "latin-1"}, "ascii": {"PYTHONIOENCODING": "ascii"}, "C": {"LC_ALL": "C"}}


@pytest.mark.parametrize(
    ("output", "encoding"),
    [*((output, "latin-1") for output in ("paths", "json", "csv", "table")), ("table", "ascii"), ("json", "C")],
)
def test_names_that_stdout_lacks(run: Run, photos: tuple[Path, str], output: str, encoding: str) -> None:
    folder, id_ = photos
    done = run(f"imgvec search id:{id_} -c t -k 1 -o {output}", **ENCODINGS[encoding])
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) <= 1
    path = str(folder / "uni" / NAME)
    if output == "paths":
        assert done.stdout == os.fsencode(path) + b"\n"
    elif output == "json":
        [row] = json.loads(done.stdout)
        assert (row["uri"], row["fields"]["album"]) == (path, "Grüße")
    else:
        text = done.stdout.decode("latin-1" if encoding == "latin-1" else "utf-8")
        if output == "csv":
            [row] = csv.DictReader(io.StringIO(text))
            assert row["id"] == id_
            text = row["uri"]
        escaped = path.replace("写真", "\\u5199\\u771f").replace("😀", "\\ud83d\\ude00")
        assert path in text or escaped in text or escaped.replace("é", "\\u00e9") in text
        if path not in text:
            assert b"PYTHONIOENCODING=utf-8" in done.stderr


def test_a_message_of_a_name_that_is_no_unicode(run: Run) -> None:
    done = run(r"imgvec search $'\xff.jpg' -c t", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"Error: ")
    assert b"missing" in done.stderr
    assert len(done.stderr.splitlines()) == 1


COMMANDS = [
    "search id:ID -c t",
    "search id:ID -c t -o paths",
    "collections show t",
    "index types",
    "encoders list -o json",
    "--help",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_results_that_cannot_be_written(run: Run, photos: tuple[Path, str], command: str) -> None:
    words = command.replace("ID", photos[1])
    for where, why in ((">/dev/full", b"No space left"), (">&-", b"it is closed")):
        if where == ">/dev/full" and not FULL.exists():
            continue
        done = run(f"imgvec {words} {where}")
        lines = done.stderr.splitlines()
        assert done.returncode == 1, (where, done.stderr)
        assert lines[-1].startswith(b"Error: cannot write the results to stdout: " + why)
        assert len(lines) == 1, (where, done.stderr)
    # whoever reads goes away at once
    done = run(f"imgvec {words} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_first_of_many_lines(run: Run, photos: tuple[Path, str]) -> None:
    done = run("imgvec index types -o json | head -1; exit ${PIPESTATUS[0]}")
    assert done.returncode in (0, 141)  # a pipe's buffer may hold it all
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == b""


def test_a_closed_stdin_is_no_yes(run: Run) -> None:
    for words in ("collections drop t", "collections delete t --eq album=x", "ingest uni -c t --prune"):
        done = run(f"imgvec {words} <&-")
        assert b"Traceback" not in done.stderr
        if "delete" in words:  # no such row, nothing to ask
            assert done.returncode == 0
        else:
            assert (done.returncode, b"--yes" in done.stderr.splitlines()[-1]) == (2, True)
    assert run("imgvec collections count t").stdout == b"2\n"


def test_all_three_closed(run: Run, photos: tuple[Path, str]) -> None:
    """A file that is opened then gets no stream's number: nothing is printed into the database."""
    assert run("imgvec collections count t <&- >&- 2>&-").returncode == 1
    assert run("imgvec collections drop t <&- >&- 2>&-").returncode == 2
    assert run("imgvec collections count t <&- 2>&-").stdout == b"2\n"
    done = run(f"imgvec search id:{photos[1]} -c nobody 2>&-")
    assert (done.returncode, done.stdout) == (1, b"")
    assert run(f"imgvec search id:{photos[1]} -c nobody 2>/dev/full").returncode == 1


# ingests with an encoder that needs no weights, and each image takes its time
SLOW = """
import sys, time
sys.path[:0] = {paths!r}
from fakes import FakeEncoder
import imgvec.collection, imgvec.opening
class Slow(FakeEncoder):
    def encode(self, pixels):
        time.sleep({seconds})
        return super().encode(pixels)
imgvec.opening.first_encoder = imgvec.loading.loaded_encoder = lambda *_, **__: Slow(batch_size=4)
from imgvec.cli import main
main(prog_name="imgvec")
"""


def slow(folder: Path, seconds: float) -> list[str]:
    paths = [str(Path(__file__).parents[1])]
    (folder / "fake.yaml").write_text("encoder: {model: fake}\n")
    return [sys.executable, "-c", SLOW.format(paths=paths, seconds=seconds)]


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_an_ingest_whose_messages_nobody_gets(tmp_path: Path, pictures: Path, stream: str) -> None:
    program = " ".join(f"'{word}'" if i < 2 else '"$SLOW"' for i, word in enumerate(slow(tmp_path, 0)))
    words = f"{program} --uri {tmp_path}/t.db -v ingest {pictures} -c t --definition {tmp_path}/fake.yaml {stream}"
    environment = {**os.environ, "SLOW": slow(tmp_path, 0)[2]}
    done = subprocess.run(["/bin/bash", "-c", words], capture_output=True, timeout=120, env=environment)
    assert (done.returncode, b"20 written" in done.stdout) == (0, True), done.stderr


class Ingest:
    """An ingest under way, with a terminal as its stderr or without."""

    def __init__(self, folder: Path, pictures: Path, seconds: float, *words: str, terminal: bool = False) -> None:
        self.uri = str(folder / "slow.db")
        self.screen, stderr = pty.openpty() if terminal else (None, subprocess.PIPE)
        command = ["--uri", self.uri, "-v", "ingest", str(pictures), "-c", "t"]
        self.process = subprocess.Popen(
            [*slow(folder, seconds), *command, "--definition", str(folder / "fake.yaml"), *words],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        if terminal:
            os.close(stderr)
        self.said = b""

    def until(self, text: bytes) -> None:
        deadline = time.monotonic() + 60
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            self._read()

    def _read(self) -> bool:
        source = self.screen if self.screen is not None else self.process.stderr.fileno()  # type: ignore[union-attr]
        try:
            more = os.read(source, 65536)
        except OSError:  # the other end of a terminal is closed
            return False
        self.said += more
        return bool(more)

    def signal(self, number: int) -> float:
        os.killpg(self.process.pid, number)  # as a terminal does, to every process
        return time.monotonic()

    def end(self) -> int:
        while self._read():
            pass
        if self.screen is not None:
            os.close(self.screen)
        elif self.process.stderr is not None:
            self.process.stderr.close()
        return self.process.wait(60)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("processes", [0, 1])
def test_one_signal_finishes_the_batch_in_hand(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int, processes: int
) -> None:
    if processes and number == signal.SIGTERM:
        pytest.skip("whoever ends the children as well wants no batch finished")
    monkeypatch.setenv("IMGVEC_DECODE_PROCESSES", str(processes))
    for i in range(20, 120):
        picture(i).save(pictures / f"{i}.jpg")
    ingest = Ingest(tmp_path, pictures, 0.5)
    ingest.until(b"pictures written")
    ingest.signal(number)
    assert ingest.end() == status, ingest.said
    assert b"Finishing the batch in hand" in ingest.said
    assert b"run the same command again to resume" in ingest.said
    assert b"Traceback" not in ingest.said
    with ImageCollection.open("t", uri=ingest.uri, encoder=FakeEncoder()) as photos:
        written = photos.count()
        assert 4 <= written < 120
        assert photos.ingest(pictures).unchanged == written


@pytest.mark.parametrize("terminal", [False, True])
def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, pictures: Path, terminal: bool) -> None:
    ingest = Ingest(tmp_path, pictures, 0.6, terminal=terminal)
    ingest.until(b"pictures written")
    ingest.signal(signal.SIGINT)
    ingest.until(b"Ctrl-C again stops at once")
    before = ingest.signal(signal.SIGINT)
    assert ingest.end() == 130, ingest.said
    assert time.monotonic() - before < 10
    assert b"Traceback" not in ingest.said
    acknowledged = max(int(number) for number in re.findall(rb"pictures written, (\d+) so far", ingest.said))
    with ImageCollection.open("t", uri=ingest.uri, encoder=FakeEncoder()) as photos:
        assert acknowledged <= photos.count() < 20


def test_a_second_ctrl_c_does_not_wait_for_what_hangs(tmp_path: Path, pictures: Path) -> None:
    """An encoder, a network or a frozen server may never come back."""
    ingest = Ingest(tmp_path, pictures, 0)
    ingest.until(b"pictures written")
    ingest.end()
    for i in range(20, 60):
        picture(i).save(pictures / f"{i}.jpg")
    again = Ingest(tmp_path, pictures, 3600)
    time.sleep(8)  # it says nothing before it hangs
    again.signal(signal.SIGINT)
    again.until(b"Ctrl-C again stops at once")
    before = again.signal(signal.SIGINT)
    assert again.end() == 130, again.said
    assert time.monotonic() - before < 10
    assert b"Traceback" not in again.said
    with ImageCollection.open("t", uri=again.uri, encoder=FakeEncoder()) as photos:
        assert photos.count() == 20


def test_ctrl_c_in_any_other_command(run: Run, photos: tuple[Path, str]) -> None:
    hung = "import time, imgvec.collection as c; c.ImageCollection.open = lambda *_, **__: time.sleep(60)"
    program = f"{hung}\n{PROGRAM[2]}"
    process = subprocess.Popen([sys.executable, "-c", program, "collections", "count", "t"], stderr=subprocess.PIPE)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"Stopped.\n")
