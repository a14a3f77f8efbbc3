"""However many images an archive has, a few are in memory."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from pictures import picture

_MEASURE = """
import sys, psutil
from imgvec.sources import Record, Source
process, seen, warm = psutil.Process(), 0, 0
for record in Source(sys.argv[1]):
    assert isinstance(record, Record) and record.reader.read(10**7)
    seen += 1
    if seen == int(sys.argv[2]):
        warm = process.memory_info().rss
print(seen, process.memory_info().rss - warm)
"""


def grown(path: Path, members: int, warm: int, mode: str) -> tuple[int, int]:
    """Images read, and bytes by which a process of its own grew after the first `warm` of them."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        file = io.BytesIO()
        picture(0, (320, 240)).save(file, "JPEG", quality=95)
        for n in range(members):
            header = tarfile.TarInfo(f"folder/{n:06}.jpg")
            # trailing bytes make each member another size, and a list of them noticeable
            data = file.getvalue() + bytes(n % 97) + bytes(8000)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    command = [sys.executable, "-c", _MEASURE, str(path), str(warm)]
    seen, growth = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(seen), int(growth)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.alone
def test_a_tar_is_streamed(tmp_path: Path, mode: str) -> None:
    seen, growth = grown(tmp_path / "t.tar", 2000, 200, mode)
    assert seen == 2000
    assert growth < 2**20  # the members after the first 200 have 20 MB


@pytest.mark.nightly
@pytest.mark.alone
def test_a_long_tar_is_streamed(tmp_path: Path) -> None:
    seen, growth = grown(tmp_path / "t.tar", 20_000, 2000, "w")
    assert seen == 20_000
    assert growth < 4 * 2**20  # the members after the first 2,000 have 200 MB
