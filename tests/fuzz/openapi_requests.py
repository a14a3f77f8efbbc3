"""Requests that Schemathesis makes of the OpenAPI document of `imgvec serve`, right and wrong ones: a real server.

    .ci/nightly fuzz-http            # in an environment of its own, where schemathesis is installed
    python tests/fuzz/openapi_requests.py --max-time 600

Exits with 1 if the server fails (5xx), answers what its document does not say, or lets a request without a token in.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from fakes import FakeEncoder
from pictures import picture
from served import serving

from imgvec import ImageCollection, Settings
from imgvec.serving.tokens import new_token

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)
"""Not the type of every answer: a head that is longer than uvicorn reads is refused by it, in plain text."""
FIELDS = {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}}


def main(folder: Path, words: list[str]) -> int:
    for number in range(40):
        picture(number).save(folder / f"{number}.jpg")
    settings = Settings(uri=str(folder / "lite.db"), roots=(folder,), fetch_timeout=1)
    encoder = FakeEncoder(text=True)
    definition = {"encoder": {"model": "fake"}, "fields": FIELDS}
    with ImageCollection.create("trip", definition=definition, settings=settings, encoder=encoder) as made:
        made.ingest(folder)
    photos = ImageCollection.open("trip", settings=settings, encoder=encoder)
    token = new_token(folder / "tokens", "fuzz", ["admin"])
    # a name that is served, so that not every request ends with it
    (folder / "schemathesis.toml").write_text('[parameters]\n"path.collection" = "trip"\n')
    (folder / "uploads").mkdir()
    places = {"token_file": str(folder / "tokens"), "upload_dir": str(folder / "uploads")}
    # what is full or is not there answers 5xx, which is right, and would be taken for a failure
    with serving({"trip": photos}, **places, job_queue=1_000_000) as client:  # type: ignore[typeddict-item]  # as said
        command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
        return subprocess.run(
            [*command, "--config-file", str(folder / "schemathesis.toml"), "run",
             f"http://127.0.0.1:{client.port}/openapi.json", "-H", f"Authorization: Bearer {token}",
             "--checks", ",".join(CHECKS), *words],
            check=False, cwd=folder,
        ).returncode  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(main(Path(folder), sys.argv[1:] or ["--max-time", "60"]))
