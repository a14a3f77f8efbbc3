"""One of several processes that ingest a folder at once: `one_part.py URI NAME FOLDER METADATA RANK OF`.

It says "ready" when it has opened the collection, waits for a line, and then says its report, as JSON.
"""

from __future__ import annotations

import json
import sys

from fakes import FakeEncoder

from imgvec import ImageCollection


def main(uri: str, name: str, folder: str, metadata: str, rank: str, of: str) -> None:
    with ImageCollection.open(name, uri=uri, encoder=FakeEncoder()) as photos:
        print("ready", flush=True)
        sys.stdin.readline()
        report = photos.ingest(folder, metadata=metadata, part=(int(rank), int(of)))
        counts = ("seen", "written", "updated", "unchanged", "duplicates")
        print(json.dumps({name: getattr(report, name) for name in counts} | {"refused": report.refused.total()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
