"""Whether memory stays flat while many images come out of one tar.

    python tests/benchmarks/memory.py --uri URI [--images 20000]

The images are the photos of IMGVEC_TEST_DATA (or generated ones), each as often as needed with a few bytes of its own
at the end; the encoder needs no weights, so that it is the pipeline that is measured. Use a server: Milvus Lite keeps
its rows in this process. Prints resident memory after 2,000 images and at the end; exit status 1 above 100 MB between.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
import tempfile
from pathlib import Path

import psutil

from imgvec.progress import Progress

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes import FakeEncoder
from jpegs import jpegs

from imgvec import ImageCollection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--uri", required=True)
    args = parser.parse_args()
    process = psutil.Process()
    settled = peak = 0

    def watch(event: Progress) -> None:
        nonlocal settled, peak
        now = process.memory_info().rss
        if event.counts["written"] < 2000:
            settled = now
        peak = max(peak, now)

    with tempfile.TemporaryDirectory() as work:
        tar = Path(work) / "photos.tar"
        _fill(tar, args.images)
        definition = {"encoder": {"model": "fake"}}
        encoder = FakeEncoder(batch_size=16)
        with ImageCollection.create("bench_memory", definition=definition, uri=args.uri, encoder=encoder) as photos:
            report = photos.ingest(tar, on_progress=watch)
            assert report.written == args.images, report
            photos.drop()
    grown = (peak - settled) / 2**20
    print(f"{args.images} images from a tar, {report.written / report.seconds:,.0f} images/s")
    print(f"  resident after 2,000: {settled / 2**20:.0f} MiB; {grown:+.0f} MiB at most after that (wanted: below 100)")
    sys.exit(0 if grown < 100 else 1)


def _fill(tar: Path, number: int) -> None:
    with tarfile.open(tar, "w") as archive:
        for name, content in jpegs(number):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
