"""The command line with arguments at random: a known exit status, a line where it fails, and no traceback."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from fields import texts
from hypothesis import strategies as st
from pictures import picture
from tally import Fuzz, Tally

from imgvec import ImageCollection
from imgvec.cli import main

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
        "stars": {"type": "INT8", "default": -1},
        "taken_at": {"type": "INT64", "format": "unix_ms", "default": 0},
        "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_length": 16, "max_capacity": 4, "default": []},
    },
}
#: Those that reach out for weights, or take minutes by what they are for.
LEFT_OUT = {"demo", "doctor", "encoders show"}
STATUSES = {0, 1, 2, 130}


def _commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)
        elif " ".join([*path, name]) not in LEFT_OUT:
            yield (*path, name), command


COMMANDS = list(_commands(main))

#: What people give to a parameter of this name, right and wrong; FOLDER is the test's own.
GIVEN = {
    "name": ["trip"] * 30 + ["nowhere", "", "trip2", "a b", "é", "x" * 300, "trip__pictures", "../x"],
    "query": [*["FOLDER/pictures/3.png", "id:ID"] * 6, "id:",
        "id:nobody", "a dog", "", "FOLDER", "FOLDER/nowhere.jpg", "http://127.0.0.1:1/x.jpg"],
    "where": ['album == "a"', "stars > 3", "taken_at >= 2024-01-01", "stars >",
        "nowhere == 1", "", "stars == 'x'", "(" * 200, "album like '%'"],
    "eq": ["album=a", "stars=3", "stars=many", "album", "=", "tags=x", "nowhere=1", "taken_at=2024-06", "taken_at=x"],
    "within": ["album=a,b", 'album="a,b"', "stars=3,4", "stars=3,x", "album", 'album="a',
        "nowhere=1,2", "taken_at=2024,"],
    "ranges": ["stars=1..5", "taken_at=2024..", "stars=", "album=a..b",
        "..", "stars=5..1", "stars=a..b", "taken_at=..2024-06"],
    "source": ["FOLDER/pictures"] * 15 + ["FOLDER/pictures/*.png",
        "FOLDER/{a,b}", "FOLDER/nowhere", "", "ftp://x/y", "file:///nowhere", "FOLDER/table.csv",
        "FOLDER/broken.zip", "FOLDER/vectors.npy", "."],
    "target": ["FOLDER/out.parquet", "FOLDER/out.npy", "FOLDER", "", "FOLDER/no/where.parquet", "FOLDER/out.xyz"],
    "metadata": ["FOLDER/table.csv", "FOLDER/nowhere.csv", "FOLDER", "FOLDER/broken.zip", ""],
    "definition": ["photos", "faces", "FOLDER/definition.yaml", "FOLDER/table.csv", "nowhere", "", "FOLDER"],
    "root": ["FOLDER", "FOLDER/pictures", "/", "nowhere", ""],
    "mapped": ["album=album", "stars=stars", "=", "a=b=c", "album=id", "album=vector", "x"],
    "ids": ["ID", "nobody", "", "x" * 200, '" or id != "'],
    "param": ["ef=64", "ef=x", "ef", "nprobe=3", "ef=[1]", "ef=-1", "=1", "ef=1e999", "ef={"],
    "params": ["ef=64", "ef=x", "ef", "nprobe=3", "ef=[1]", "ef=-1", "=1", "ef=1e999", "ef={",
        "M=8", "M=x", "nlist=4", "M", "efConstruction=-1"],
    "image": ["FOLDER/pictures/3.png", "FOLDER", "FOLDER/nowhere.jpg", "", "id:ID", "FOLDER/broken.zip"],
    "text": ["a dog", "", " ", "FOLDER/pictures/3.png", "id:ID"],
    "stored": ["ID", "id:ID", "nobody", "", "x" * 200],
    "via": ["parquet FOLDER/staged", "parquet ", "csv x"],
    "errors": ["FOLDER/errors.jsonl", "FOLDER/no/where", "FOLDER"],
    "stats": ["FOLDER/stats.json", "FOLDER/no/where", "FOLDER"],
    "exclude": ["*.png", "[", "**/3.png", ""],
    "label": ["album", "stars", "nowhere", "", "tags", "id"],
    "engine": ["local", "lokal"],
    "token": ["root:Milvus", "", ":", "é"],
    "uri": ["FOLDER/other.db", "", "nowhere", "ftp://x", "FOLDER"],
    "compare": ["trip", "nowhere", ""],
    "memory": ["8GiB", "8", "many", "-1GiB", ""],
}  # fmt: skip
NUMBERS = ["0", "1", "3", "-1", "10", "1e3", "x", "", "99999999999999999999", "nan", "0.95", "1.5", "16385"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMGVEC_URI", str(tmp_path / "lite.db"))
    monkeypatch.setenv("IMGVEC_RETRY_SECONDS", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("imgvec.loading.loaded_encoder", lambda *_: FakeEncoder())
    monkeypatch.setattr("imgvec.opening.first_encoder", lambda *_, **__: FakeEncoder())
    if importlib.util.find_spec("fastapi"):  # what may be served would be until somebody stops it
        monkeypatch.setattr("imgvec.serving.running.Server.run", lambda _, sockets: [each.close() for each in sockets])
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(8):
        picture(number, (16, 16)).save(pictures / f"{number}.png")
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4" + bytes(50))
    (tmp_path / "vectors.npy").write_bytes(b"\x93NUMPY\1\0" + bytes(30))
    (tmp_path / "definition.yaml").write_text("encoder: {model: fake}\nfields: {album: {type: VARCHAR, default: ''}}\n")
    rows = "".join(f"{pictures}/{number}.png,a,{number}\n" for number in range(8))
    (tmp_path / "table.csv").write_text(f"path,album,stars\n{rows}")
    return tmp_path


def _trip(folder: Path) -> str:
    """The collection `trip`, made again where a command dropped it; returns the id of one of its rows."""
    uri = os.environ["IMGVEC_URI"]
    with ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=FakeEncoder(), exist_ok=True) as trip:
        if trip.count() != 8:
            trip.delete([row["id"] for rows in trip.store.scan(["id"]) for row in rows])
            trip.ingest(folder / "pictures", metadata=folder / "table.csv")
        return str(next(iter(trip.store.scan(["id"])))[0]["id"])


@st.composite
def calls(draw: st.DrawFn) -> list[str]:
    """The words of a call; most of what is required is there."""
    path, command = draw(st.sampled_from(COMMANDS))
    words = [*draw(st.sampled_from([[], [], [], ["--uri", "FOLDER/other.db"], ["--token", "a:b"], ["-v"]])), *path]
    for parameter in command.params:
        if parameter.name in ("help", "yes"):
            continue
        needed = parameter.required or parameter.name == "query"
        if not draw(st.integers(0, 9)) if needed else draw(st.integers(0, 5)):
            continue
        words += draw(_spelled(parameter))
    return [*words, "--yes"] if any(one.name == "yes" for one in command.params) and draw(st.booleans()) else words


@st.composite
def _spelled(draw: st.DrawFn, parameter: click.Parameter) -> list[str]:
    name = [] if isinstance(parameter, click.Argument) else [draw(st.sampled_from(parameter.opts))]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return name
    value = draw(_values(parameter))
    return [*name, *(value.split(" ") if parameter.nargs == 2 or isinstance(parameter.type, click.Tuple) else [value])]


def _values(parameter: click.Parameter) -> st.SearchStrategy[str]:
    known = GIVEN.get(parameter.name or "", [])
    if isinstance(parameter.type, click.Choice):
        known = [*parameter.type.choices, "nothing"] if parameter.name != "engine" else known
    elif not known:
        known = NUMBERS
    # no system passes a NUL on, and a path that leads out of the folder would be followed
    odd = texts.filter(lambda text: "\0" not in text and not text.startswith(("/", "~", "..")))
    return st.one_of(*[st.sampled_from(known)] * 19, odd)


def test_calls_end_as_they_should(fuzz: Fuzz, tally: Tally, folder: Path) -> None:
    def check(words: list[str]) -> None:
        id_ = _trip(folder)
        said = [word.replace("FOLDER", str(folder)).replace("ID", id_) for word in words]
        result = CliRunner().invoke(main, said)
        tally.inputs += 1
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code in STATUSES
        assert "Traceback" not in result.output
        if result.exit_code == 0:
            tally.accepted += 1
            _check_json(words, result.stdout)
        else:
            tally.refused[f"exit status {result.exit_code}"] += 1
            assert result.stderr.strip() or result.stdout.strip(), "it failed without a word"
        if result.exit_code == 1 and "Error: " in result.stderr:
            errors = [line for line in result.stderr.splitlines() if not line.startswith("Note: ")]
            assert errors[-1].startswith("Error: "), result.stderr

    fuzz(check, calls(), day=80, night=4000)
    assert tally.accepted
    assert tally.refused


def _check_json(words: list[str], printed: str) -> None:
    if any(pair in (("-o", "json"), ("--output", "json")) for pair in pairwise(words)):
        json.loads(printed)
