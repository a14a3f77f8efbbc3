"""Decodes the files that stdin names, a line each, and answers with a line of JSON each; run by `decoding.py`."""

from __future__ import annotations

import json
import sys
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

from imgvec.errors import UnreadableImage
from imgvec.images import decode

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak() -> float | None:
    """Peak memory of the process in MiB since `forget`; None where the system does not say."""
    if not _RESET.exists():
        return None
    return int(_STATUS.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def forget() -> None:
    if _RESET.exists():
        _RESET.write_text("5")


def seen(path: Path, max_pixels: int, min_side: int | None) -> dict[str, Any]:
    data = path.read_bytes()
    forget()
    before, start = peak(), time.perf_counter()
    answer: dict[str, Any] = {"reason": None, "error": None, "size": None, "digest": None}
    try:
        found = decode(data, uri=str(path), max_pixels=max_pixels, min_side=min_side)
    except UnreadableImage as exc:
        answer["reason"], answer["detail"] = exc.reason, exc.detail
    except BaseException as exc:  # noqa: BLE001 - this is what is looked for
        answer["error"] = f"{type(exc).__name__}: {exc}"
    else:
        image = found.image
        answer |= {
            "size": [found.width, found.height],
            "pixels": list(image.size),
            "mode": image.mode,
            "taken_at": found.taken_at,
            "digest": blake2b(image.tobytes(), digest_size=16).hexdigest(),
        }
    answer["seconds"] = time.perf_counter() - start
    after = peak()
    answer["mebibytes"] = None if before is None or after is None else after - before
    return answer


def main() -> None:
    max_pixels = int(sys.argv[1])
    for line in sys.stdin:
        name, _, min_side = line.rstrip("\n").rpartition("\t")
        print(json.dumps(seen(Path(name), max_pixels, int(min_side) or None)), flush=True)


if __name__ == "__main__":
    main()
