"""How fast a second ingest passes over what is unchanged.

    python tests/benchmarks/skip.py [--files 5000] [--uri URI]

The files are the photos of IMGVEC_TEST_DATA (or generated ones), each as often as needed with a few bytes of its own at
the end. They are ingested once with an encoder that needs no weights, then three more times, which must write, decode
and encode nothing. Prints files a second; exit status 1 below 1,000 on Milvus Lite, 2,000 on a server.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes import FakeEncoder
from jpegs import jpegs

from imgvec import ImageCollection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    wanted = 2000 if args.uri else 1000

    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "photos"
        size = _fill(folder, args.files)
        encoder = FakeEncoder(batch_size=64)
        definition = {"encoder": {"model": "fake"}}
        uri = args.uri or str(Path(work) / "skip.db")
        with ImageCollection.create("bench_skip", definition=definition, uri=uri, encoder=encoder) as photos:
            first = photos.ingest(folder)
            assert first.written == args.files, first
            rates = []
            for _ in range(3):
                encoder.encoded = 0
                report = photos.ingest(folder)
                assert (report.unchanged, report.written, encoder.encoded) == (args.files, 0, 0), report
                assert "decode" not in report.stage_seconds
                rates.append(args.files / report.seconds)
            photos.drop()

    rate = statistics.median(rates)
    print(f"{args.files} files of {size / args.files / 1024:.0f} KiB, {args.uri or 'Milvus Lite'}")
    print(f"  unchanged: {rate:,.0f} files/s (min {min(rates):,.0f}, max {max(rates):,.0f}; wanted: {wanted:,})")
    sys.exit(0 if rate >= wanted else 1)


def _fill(folder: Path, number: int) -> int:
    folder.mkdir()
    return sum((folder / name).write_bytes(content) for name, content in jpegs(number))


if __name__ == "__main__":
    main()
