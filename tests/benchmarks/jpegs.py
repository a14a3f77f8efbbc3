"""Photos as files for the benchmarks of the pipeline."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # pictures.py lies beside this folder

from pictures import picture


def jpegs(number: int) -> Iterator[tuple[str, bytes]]:
    """Names and JPEG files: the photos of IMGVEC_TEST_DATA, or generated ones, each as often as needed.

    Each copy is another file: a few bytes of its own follow the end of the image, which decoders pass over.
    """
    data = os.environ.get("IMGVEC_TEST_DATA")
    found = [path.read_bytes() for path in sorted((Path(data) / "clothing").rglob("*.jpg"))] if data else []
    if not found:
        for seed in range(50):
            file = io.BytesIO()
            picture(seed, (400, 300)).save(file, "JPEG")
            found.append(file.getvalue())
    for i in range(number):
        yield f"{i:06}.jpg", found[i % len(found)] + i.to_bytes(8, "big")
