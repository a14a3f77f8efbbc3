"""Vectors of keras.applications.VGG16, by Keras itself or by imgvec; a process of its own, for one backend each.

python keras_vectors.py keras|imgvec FOLDER MODEL
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def by_keras(folder: Path) -> None:
    """Random weights, saved, and the vectors that Keras's documentation would have one make of the pictures."""
    import keras

    keras.utils.set_random_seed(7)
    net = keras.applications.VGG16(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    net.save_weights(folder / "vgg16.weights.h5")
    pictures = [
        keras.utils.img_to_array(keras.utils.load_img(file, target_size=(224, 224), interpolation="bilinear"))
        for file in sorted(folder.glob("*.png"))
    ]
    values = keras.applications.vgg16.preprocess_input(np.stack(pictures))
    np.save(folder / "keras.npy", net.predict(values, verbose=0))
    np.save(folder / "pixels.npy", np.stack(pictures).astype(np.uint8).transpose(0, 3, 1, 2))


def by_imgvec(folder: Path, model: str) -> None:
    from PIL import Image

    from imgvec.encoders import EncoderSpec, load_encoder

    encoder = load_encoder(EncoderSpec(model), device="cpu")
    import keras

    backend = keras.backend.backend()
    pictures = [Image.open(file).convert("RGB") for file in sorted(folder.glob("*.png"))]
    np.save(folder / f"imgvec-{backend}.npy", encoder.encode_images(pictures))
    np.save(folder / f"pixels-{backend}.npy", encoder.encode(np.load(folder / "pixels.npy")))
    print(json.dumps({"backend": backend, **encoder.binding.to_dict()}))


if __name__ == "__main__":
    if sys.argv[1] == "keras":
        by_keras(Path(sys.argv[2]))
    else:
        by_imgvec(Path(sys.argv[2]), sys.argv[3])
