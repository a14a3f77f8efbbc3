"""What `imgvec serve` adds to the library, and what it takes from many clients, beside a user's own handler.

    python tests/benchmarks/serve.py [--photos 400] [--seconds 10] [--rounds 3] [--uri URI] [--clients 1,8,32,128]

A real server (uvicorn, in this process) holds a collection of photos; another process asks it, over connections that
stay open. Measured, in turns within a round:

- overhead: p50 of a search by a stored id over HTTP, less that of the same call of the library;
- clients: by stored id and by an uploaded picture, so many at once, each asking again when it has its answer: p50, p99
  and answers a second;
- share: answers a second to 32 clients by picture, by those of `search_many` on the same files, while the same
  generator posts the same files, as many a second as the clients were answered, to a route that does nothing; and by
  those of the encoder alone;
- plain: the same 32 clients against a handler of FastAPI that decodes, encodes by transformers (bf16, SDPA) and asks
  Milvus by pymilvus, and against one that encodes by imgvec's encoder, one picture at a time; also by the processor
  time that this process took for an answer, which other work on the machine changes less;
- overload: pictures that come at twice the rate of the 32 clients, whether or not others were answered (open loop), for
  four times as long: p99 of those that are answered, and how many are refused with 503.

Exits with 1 where overhead is above 3 ms, the share below 0.9, the plain handler not twice as slow or its p99 less
than twice as long, or where an overload is answered by anything but 200 and 503.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from jpegs import jpegs

sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from served import Client, serving

from imgvec import ImageBytes, ImageCollection, Settings, StoredId

MODEL = "pypi:dinov2-small-11"
LIMIT = 10
QUERIES = 64
Taken = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", default="1,8,32,128")
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    parser.add_argument("--ask", nargs=5, metavar=("PORT", "PATH", "FILES", "CLIENTS", "RATE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ask:
        port, path, files, clients, rate = args.ask
        print(json.dumps(asyncio.run(asked(int(port), path, files, int(clients), args.seconds, float(rate)))))
        return
    with tempfile.TemporaryDirectory() as work:
        sys.exit(0 if measured(Path(work), args) else 1)


def measured(work: Path, args: argparse.Namespace) -> bool:
    """Measure and print; whether what is wanted is reached."""
    folder, queries = work / "photos", work / "queries"
    folder.mkdir()
    queries.mkdir()
    for name, data in jpegs(args.photos):
        (folder / name).write_bytes(data)
    files = [data for _, data in jpegs(args.photos + QUERIES)][-QUERIES:]
    for number, data in enumerate(files):
        (queries / f"{number}.jpg").write_bytes(data)
    settings = Settings.load(uri=args.uri or str(work / "serve.db")).model_copy(update={"roots": ()})
    name = "bench_serve"
    photos = ImageCollection.create(name, definition={"encoder": {"model": MODEL}}, settings=settings)
    try:
        photos.ingest(folder)
        encoder = photos.encoder
        ids = [row["id"] for row in next(iter(photos.store.scan(["id"])))]
        (work / "ids").mkdir()
        for number, each in enumerate(ids[:QUERIES]):
            (work / "ids" / f"{number}.json").write_text(json.dumps({"query": {"id": each}, "limit": LIMIT}))
        opened = ImageCollection.open(name, settings=settings, encoder=encoder)
        with serving({name: opened}) as served, handlers(photos, encoder) as plain:
            return compared(args, photos, files, ids, served, plain, work)
    finally:
        photos.drop()
        photos.close()


def compared(
    args: argparse.Namespace, photos: ImageCollection, files: list[bytes], ids: list[str],
    served: Client, plain: int, work: Path,
) -> bool:  # fmt: skip
    search = f"/v1/collections/{photos.name}/search"

    def load(port: int, path: str, what: str, clients: int, rate: float = 0.0, longer: int = 1) -> Taken:
        command = [sys.executable, __file__, "--seconds", str(longer * args.seconds)]
        command += ["--ask", str(port), path, str(work / what), str(clients), str(rate)]
        before = time.process_time()
        found: Taken = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found["processor"] = (time.process_time() - before) / max(1, found["statuses"].get("200", 0))
        return found

    post = partial(load, plain, "/nothing", "queries", 0)
    while served.get("/readyz").status != 200:
        time.sleep(0.1)
    photos.encoder.prepare_for(1000)  # as the server does, which shares it, and now is done with it
    rounds: list[dict[str, Any]] = []
    answered: list[float] = []
    """Pictures a second of the 32 clients, in each round; the first begins with them."""
    for number in range(args.rounds):
        one: dict[str, Any] = {}
        by_http = load(served.port, search, "ids", 1)
        one["overhead"] = by_http["p50"] - by_library(photos, ids)
        for clients in map(int, args.clients.split(",")):
            for what in ("ids", "queries"):
                one[f"{clients} by {what}"] = load(served.port, search, what, clients)
        contenders: list[tuple[str, Callable[[], Any]]] = [
            ("served", lambda: load(served.port, search, "queries", 32)),
            ("transformers", lambda: load(plain, "/transformers", "queries", 32)),
            ("imgvec's encoder", lambda: load(plain, "/encoder", "queries", 32)),
            (
                "search_many",
                lambda: beside(lambda: post(answered[-1]), partial(many, photos, files)),
            ),
            ("encoder", lambda: encoded(photos, files)),
        ]
        for name, run in reversed(contenders) if number % 2 else contenders:
            one[name] = run()
            if name == "served":
                answered.append(one[name]["rate"])
        one["overload"] = load(served.port, search, "queries", 0, 2 * one["served"]["rate"], 4)
        rounds.append(one)
        print(f"round {number + 1}: " + "; ".join(f"{name} {shown(each)}" for name, each in one.items()), flush=True)
    return report(rounds)


def report(rounds: Sequence[dict[str, Any]]) -> bool:
    def middle(value: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(map(value, rounds))

    overhead = middle(lambda one: one["overhead"])
    share = middle(lambda one: one["served"]["rate"] / one["search_many"])
    alone = middle(lambda one: one["served"]["rate"] / one["encoder"])
    faster = middle(lambda one: one["served"]["rate"] / one["transformers"]["rate"])
    shorter = middle(lambda one: one["transformers"]["p99"] / one["served"]["p99"])
    same = middle(lambda one: one["served"]["rate"] / one["imgvec's encoder"]["rate"])
    cheaper, than_same = (
        middle(lambda one, name=name: one[name]["processor"] / one["served"]["processor"])
        for name in ("transformers", "imgvec's encoder")
    )
    answers = {status for one in rounds for status in one["overload"]["statuses"]}
    late = middle(lambda one: one["overload"]["p99"] / one["served"]["p99"])
    refused = middle(lambda one: one["overload"]["statuses"].get("503", 0) / sum(one["overload"]["statuses"].values()))
    print(f"\nHTTP adds {1000 * overhead:.2f} ms (p50) to a search by stored id")
    print(f"32 clients by picture: {share:.2f} of search_many, {alone:.2f} of the encoder alone")
    print(f"beside a plain handler: {faster:.2f} times as many, p99 {shorter:.2f} times as short")
    print(f"beside one with imgvec's encoder: {same:.2f} times as many")
    print(f"processor time of a picture: {cheaper:.2f} times less than the plain one, {than_same:.2f} than the other")
    print(f"at twice the rate: p99 {late:.2f} times that of 32 clients, {refused:.0%} refused, {sorted(answers)}")
    good = overhead <= 0.003 and share >= 0.9 and faster >= 2 and shorter >= 2 and answers <= {"200", "503"}
    print("as wanted" if good else "NOT as wanted")
    return good


def by_library(photos: ImageCollection, ids: list[str]) -> float:
    """The p50 of the same call, with its answer as JSON."""
    taken = []
    for number in range(300):
        began = time.perf_counter()
        json.dumps(photos.search(StoredId(ids[number % QUERIES % len(ids)]), limit=LIMIT).to_dict())
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[20:])


def many(photos: ImageCollection, files: list[bytes]) -> float:
    """Pictures a second by `search_many`, 32 at a time."""
    return rate_of(lambda: photos.search_many([ImageBytes(each) for each in files[:32]], limit=LIMIT), 32)


def encoded(photos: ImageCollection, files: list[bytes]) -> float:
    """Pictures a second by the encoder alone, decoded before."""
    images = [Image.open(io.BytesIO(each)).convert("RGB") for each in files[:32]]
    return rate_of(lambda: photos.encoder.encode_images(images), 32)


def rate_of(work: Callable[[], object], each: int, seconds: float = 5.0) -> float:
    work()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        done += each
    return done / (time.perf_counter() - began)


def beside(load: Callable[[], object], work: Callable[[], float]) -> float:
    """What the work gives while the load lasts."""
    thread = threading.Thread(target=load)
    thread.start()
    try:
        return work()
    finally:
        thread.join()


@contextmanager
def handlers(photos: ImageCollection, encoder: Any) -> Iterator[int]:
    """What a user would write, and a route that does nothing; its port."""
    import torch
    from pymilvus import MilvusClient
    from transformers import AutoImageProcessor, AutoModel

    from imgvec.encoders.pypi import locate

    found = locate(MODEL.removeprefix("pypi:")).directory
    processor = AutoImageProcessor.from_pretrained(found)
    model = AutoModel.from_pretrained(found, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    lite = photos.store.link.database._lite
    client = MilvusClient(lite.uri if lite else photos.settings.uri)
    other = f"{photos.name}_plain"
    dim = model.config.hidden_size
    client.create_collection(other, dimension=dim, metric_type="COSINE", id_type="int", auto_id=True)
    rows = np.random.default_rng(0).standard_normal((photos.count(), dim)).astype(np.float32)
    client.insert(other, [{"vector": row.tolist()} for row in rows])
    app = FastAPI()

    def hits(name: str, vector: Any) -> list[Any]:
        fields = [] if name == other else ["uri"]
        return [dict(hit) for hit in client.search(name, [vector], limit=LIMIT, output_fields=fields)[0]]

    @app.post("/transformers")
    def by_transformers(image: UploadFile) -> list[Any]:
        inputs = processor(images=Image.open(image.file).convert("RGB"), return_tensors="pt")
        with torch.inference_mode():
            vector = model(inputs["pixel_values"].to(torch.bfloat16)).last_hidden_state[0, 0].float()
        return hits(other, torch.nn.functional.normalize(vector, dim=0).tolist())

    @app.post("/encoder")
    def by_encoder(image: UploadFile) -> list[Any]:
        return hits(photos.name, encoder.encode_images([Image.open(image.file).convert("RGB")])[0].tolist())

    @app.post("/nothing")
    async def nothing(image: UploadFile) -> int:
        return image.size or 0

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        client.drop_collection(other)
        client.close()


async def asked(port: int, path: str, files: str, clients: int, seconds: float, rate: float) -> Taken:
    """In a process of its own: so many clients, or where there are none, so many requests a second."""
    requests = [request(path, each) for each in sorted(Path(files).iterdir())]
    taken: list[float] = []
    statuses: dict[str, int] = {}
    until = time.perf_counter() + seconds

    async def one(connection: Any, number: int, since: float) -> None:
        status = await answered(*connection, requests[number % len(requests)])
        statuses[status] = statuses.get(status, 0) + 1
        if status == "200":
            taken.append(time.perf_counter() - since)

    async def client(number: int) -> None:
        connection = await asyncio.open_connection("127.0.0.1", port)
        while (since := time.perf_counter()) < until:
            await one(connection, number, since)
            number += 1
        connection[1].close()

    async def alone(number: int, since: float) -> None:
        connection = await asyncio.open_connection("127.0.0.1", port)
        await one(connection, number, since)
        connection[1].close()

    began = time.perf_counter()
    if clients:
        await asyncio.gather(*(client(number * 7) for number in range(clients)))
    else:
        tasks = []
        for number in range(int(seconds * rate)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.ensure_future(alone(number, due)))
        await asyncio.gather(*tasks)
    whole = time.perf_counter() - began
    taken.sort()
    p50, p99 = (taken[int(len(taken) * share)] if taken else float("nan") for share in (0.5, 0.99))
    return {"rate": len(taken) / whole, "p50": p50, "p99": p99, "statuses": statuses}


def request(path: str, file: Path) -> bytes:
    data, kind = file.read_bytes(), "application/json"
    if file.suffix == ".jpg":
        options = f'--edge\r\nContent-Disposition: form-data; name="options"\r\n\r\n{{"limit": {LIMIT}}}\r\n'.encode()
        options = options if path.startswith("/v1") else b""
        head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        data, kind = options + head + data + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> str:
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    return head.split(" ")[1]


def shown(each: Any) -> str:
    if isinstance(each, float):
        return f"{1000 * each:.2f} ms" if abs(each) < 1 else f"{each:.1f}/s"
    said = f"{each['rate']:.1f}/s, p50 {1000 * each['p50']:.0f} ms, p99 {1000 * each['p99']:.0f} ms"
    said += f", {1000 * each['processor']:.1f} ms of a processor"
    refused = {status: count for status, count in each["statuses"].items() if status != "200"}
    return f"{said}, {refused}" if refused else said


if __name__ == "__main__":
    main()
