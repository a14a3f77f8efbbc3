"""Nothing is deleted without a yes: a person's on a terminal, or `--yes`; a pipe's answer is none."""

from __future__ import annotations

import io
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from imgvec.cli import main
from imgvec.cli.options import confirmed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "meant"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_is_asked(
    answer: str, meant: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert confirmed("Delete 3 rows?", yes=False) is meant
    out, err = capsys.readouterr()
    assert (out, "Delete 3 rows? [y/N]" in err) == ("", True)


@pytest.mark.parametrize("answer", ["y\n", ""])
def test_without_a_terminal_nobody_is_asked(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    with pytest.raises(click.UsageError, match=r"^Delete 3 rows\? No terminal to ask on: add --yes\.$"):
        confirmed("Delete 3 rows?", yes=False)
    assert confirmed("Delete 3 rows?", yes=True)


@pytest.mark.parametrize(
    "words",
    [
        ["ingest", "pictures", "-c", "trip", "--prune"],
        ["index", "tune", "-c", "trip", "--types", "HNSW,FLAT", "--apply"],
    ],
)
def test_who_could_not_be_asked_later_is_refused_before_any_work(words: list[str], tmp_path: Path) -> None:
    database = tmp_path / "trip.db"
    result = CliRunner().invoke(main, ["--uri", str(database), *words], input="y\n")
    assert result.exit_code == 2
    assert "needs confirmation, but there is no terminal: add --yes" in result.stderr
    assert not database.exists()
