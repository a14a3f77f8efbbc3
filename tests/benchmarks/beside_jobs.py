"""What a search over HTTP feels of a job: by stored id and by picture, while nothing else goes on, and beside one.

    python tests/benchmarks/beside_jobs.py [--photos 400] [--seconds 8] [--rounds 3] [--uri URI]

`imgvec serve` (uvicorn, in this process) holds a collection of photos; one client in another process asks it by stored
ids, then by uploaded pictures, each search as soon as the last was answered. In turns within a round: alone, while a
job ingests a folder of photos that it does not know, alone again, and while jobs look for duplicates, one after the
other. p50 and p99 of each, the medians of the rounds, with how many times as long a job makes them. Exits with 1 where
a search was not answered by 200, or jobs of ingest ended too soon to go on beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jpegs import jpegs

sys.path.insert(0, str(Path(__file__).parents[1]))
from served import Client, serving

from imgvec import ImageCollection, Settings
from imgvec.serving.job import ENDED

MODEL = "pypi:dinov2-small-11"
QUERIES = 32
NAME = "bench_jobs"
V1 = f"/v1/collections/{NAME}"
KINDS = {"ids": "by stored id", "queries": "by picture"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        sys.exit(0 if measured(Path(work), args) else 1)


def measured(work: Path, args: argparse.Namespace) -> bool:
    made = list(jpegs(args.photos + QUERIES))
    for folder, some in (("photos", made[:-QUERIES]), ("queries", made[-QUERIES:])):
        (work / folder).mkdir()
        for name, data in some:
            (work / folder / name).write_bytes(data)
    settings = Settings.load(uri=args.uri or str(work / "jobs.db")).model_copy(update={"roots": (work,)})
    photos = ImageCollection.create(NAME, definition={"encoder": {"model": MODEL}}, settings=settings)
    try:
        photos.ingest(work / "photos")
        (work / "ids").mkdir()
        for number, row in enumerate(photos.store.first(["id"], "", QUERIES)):
            (work / "ids" / f"{number}.json").write_text(json.dumps({"query": {"id": row["id"]}, "limit": 10}))
        opened = ImageCollection.open(NAME, settings=settings, encoder=photos.encoder)
        with serving({NAME: opened}, jobs_dir=str(work / "jobs")) as client:
            while client.get("/readyz").status != 200:
                time.sleep(0.1)
            photos.encoder.prepare_for(1000)  # as the server does: what follows is not measured beside that
            return compared(client, work, args)
    finally:
        photos.drop()
        photos.close()


def compared(client: Client, work: Path, args: argparse.Namespace) -> bool:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    good = True
    for number in range(args.rounds):
        for beside in ("alone", "ingest", "alone", "duplicates"):
            for what in KINDS:
                with job(client, beside, work, f"{number}{what}") as going_on:
                    asked = load(client.port, what, work, args.seconds)
                    good = going_on() and good
                good = good and asked["statuses"].keys() == {"200"}
                found.setdefault((what, beside), []).append(asked)
        print(f"round {number + 1} of {args.rounds}", flush=True)
    for what, said in KINDS.items():
        alone = {name: middle(found[what, "alone"], name) for name in ("p50", "p99")}
        for beside in ("alone", "ingest", "duplicates"):
            now = {name: middle(found[what, beside], name) for name in alone}
            shown = "; ".join(
                f"{name} {1000 * now[name]:7.1f} ms, {now[name] / alone[name]:5.2f} times" for name in alone
            )
            print(f"{said:13} {'beside ' if beside != 'alone' else ''}{beside:11} {shown}")
    return good


def middle(rounds: list[dict[str, Any]], name: str) -> float:
    return statistics.median(one[name] for one in rounds)


def load(port: int, what: str, work: Path, seconds: float) -> dict[str, Any]:
    """One client in a process of its own, as of the benchmark of `imgvec serve`."""
    command = [sys.executable, str(Path(__file__).with_name("serve.py")), "--seconds", str(seconds)]
    command += ["--ask", str(port), f"{V1}/search", str(work / what), "1", "0"]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


@contextmanager
def job(client: Client, kind: str, work: Path, name: str) -> Iterator[Any]:
    """The block goes beside a job of this kind; what it gives says whether there has been one all the time."""
    if kind == "alone":
        yield lambda: True
        return
    over, gaps = threading.Event(), []

    def order(number: int) -> str:
        body = {"source": str(copied(work, f"{name}{number}"))} if kind == "ingest" else {}
        return str(client.post(f"{V1}/{kind}", body).json["id"])

    current = [order(0)]
    while client.get(f"/v1/jobs/{current[0]}").json["state"] == "waiting":
        time.sleep(0.02)

    def go_on() -> None:
        number = 0
        while not over.is_set():
            if client.get(f"/v1/jobs/{current[0]}").json["state"] in ENDED:
                number += 1
                gaps.append(number)
                current[0] = order(number)
            time.sleep(0.05)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield lambda: kind == "duplicates" or len(gaps) <= 2
    finally:
        over.set()
        thread.join()
        end(client, current[0])


def copied(work: Path, name: str) -> Path:
    """A folder of the photos, under names that the collection does not know."""
    folder = work / f"more{name}"
    folder.mkdir(exist_ok=True)
    for each in (work / "photos").iterdir():
        (folder / each.name).write_bytes(each.read_bytes() + name.encode())
    return folder


def end(client: Client, id: str) -> None:
    client.post(f"/v1/jobs/{id}/cancel", {})
    while client.get(f"/v1/jobs/{id}").json["state"] not in ENDED:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
