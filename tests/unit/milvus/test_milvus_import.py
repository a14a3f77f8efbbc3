"""pymilvus takes an address and a `.env` from where it is imported; imgvec must not care."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("address", ["./photos.db", "photos", "http://"])
@pytest.mark.slow
def test_an_address_in_the_environment_or_in_a_dotenv_file_does_no_harm(tmp_path: Path, address: str) -> None:
    (tmp_path / ".env").write_text(f"MILVUS_URI={address}\nIMGVEC_TEST_FROM_DOTENV=1\n")
    assert run("import pymilvus", tmp_path, MILVUS_URI=address).returncode != 0  # what it is about
    code = (
        "import os, imgvec.milvus; print(os.environ.get('MILVUS_URI'), os.environ.get('IMGVEC_TEST_FROM_DOTENV'), "
        "os.environ.get('PYTHON_DOTENV_DISABLED'), os.environ.get('MILVUS_DEFAULT_CONNECTION'))"
    )
    # `python -c` is where python-dotenv searches from the working directory
    for given, seen in (({}, "None None None None"), ({"MILVUS_URI": address}, f"{address} None None None")):
        done = run(code, tmp_path, **given)
        assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", seen)


@pytest.mark.slow
def test_failed_calls_print_nothing(tmp_path: Path) -> None:
    code = (
        "from imgvec.milvus import connect\n"
        "from imgvec.errors import BackendError\n"
        "for uri in ('http://127.0.0.1:1', 'https://127.0.0.1:1', '/nowhere/x.db'):\n"
        "    try: connect(uri, timeout=1)\n"
        "    except BackendError: pass\n"
        "connection = connect('x.db')\n"
        "for call in (lambda: connection.open('missing'), lambda: connection.drop('missing')):\n"
        "    try: call()\n"
        "    except BackendError: pass\n"
        "connection.close()\n"
    )
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
