"""`python -m imgvec` is the command itself: the same words, the same exit statuses."""

from __future__ import annotations

import subprocess
import sys

import imgvec


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "imgvec", *arguments], capture_output=True, text=True, timeout=60)


def test_it_answers_as_the_command_does() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert imgvec.__version__ in done.stdout
    assert run("--help").stdout.startswith("Usage: imgvec ")  # and not "python -m imgvec"


def test_a_wrong_call_ends_with_2() -> None:
    done = run("no-such-command")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no-such-command" in done.stderr
