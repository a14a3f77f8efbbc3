"""One of several processes that ingest a folder at once: `one_part.py URI NAME FOLDER METADATA RANK OF`.

It is `imgvec ingest` with the tests' encoder. It says "ready" when all is imported, and waits for a line to begin.
"""

from __future__ import annotations

import sys

from fakes import FakeEncoder

from imgvec import ImageCollection, filling, loading
from imgvec.cli import main as command


def main(uri: str, name: str, folder: str, metadata: str, rank: str, of: str) -> None:
    # in place of the real one, which would look for weights
    loading.loaded_encoder = filling.loaded_encoder = lambda *_: FakeEncoder()  # type: ignore[attr-defined]  # not its own name
    with ImageCollection.open(name, uri=uri):  # which imports pymilvus
        print("ready", flush=True)
        sys.stdin.readline()
    command(
        ["--uri", uri, "ingest", folder, "-c", name, "--metadata", metadata, "--rank", rank, "--of", of, "-o", "json"]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
