"""`imgvec serve` of one collection in its own process, until it is killed: `served_child.py URI ROOT PORT_FILE`."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from fakes import FakeEncoder

from imgvec import ImageCollection, Settings
from imgvec.encoders.protocol import Pixels
from imgvec.ingest import pipeline, reading
from imgvec.options import settled
from imgvec.serving import ServeOptions
from imgvec.serving.running import Server, configured, create_app
from imgvec.vectors import Vectors


class Slow(FakeEncoder):
    def encode(self, pixels: Pixels) -> Vectors:
        time.sleep(0.03)
        return super().encode(pixels)


def main(uri: str, root: str, port_file: str) -> None:
    pipeline.WRITE_ROWS = reading.LOOKUP_ROWS = 8  # so that a small source is written in many parts
    uploads = Path(root).parent / "uploads"
    uploads.mkdir(exist_ok=True)
    settings = Settings(uri=uri, roots=(Path(root), uploads))
    photos = ImageCollection.open("killed", settings=settings, encoder=Slow())
    asked = settled(
        ServeOptions,
        {"port": 0, "rate": 0, "upload_dir": str(uploads), "jobs_dir": str(Path(root).parent / "jobs")},
    )
    server = Server(configured(create_app({"killed": photos}, **asked), asked))

    def tell() -> None:
        while not server.started:
            time.sleep(0.005)
        Path(f"{port_file}.new").write_text(str(server.servers[0].sockets[0].getsockname()[1]))
        Path(f"{port_file}.new").replace(port_file)

    threading.Thread(target=tell, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
