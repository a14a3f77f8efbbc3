"""Vectors of keras.applications.VGG16, by Keras itself or by imgvec; a process of its own, for one backend each.

python keras_vectors.py weights FOLDER         random weights, saved
python keras_vectors.py vectors FOLDER         Keras's vectors of pixels.npy
python keras_vectors.py keras FOLDER           both, of the pictures in the folder
python keras_vectors.py imgvec FOLDER MODEL    imgvec's vectors of these
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def weights(folder: Path) -> None:
    """Random weights, saved."""
    import keras

    keras.utils.set_random_seed(7)
    net = keras.applications.VGG16(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    net.save_weights(folder / "vgg16.weights.h5")


def vectors(folder: Path) -> None:
    """What Keras's documentation would have one make of (n, 3, 224, 224) uint8 pixels."""
    import keras

    file = folder / "vgg16.weights.h5"
    net = keras.applications.VGG16(weights=str(file), include_top=False, pooling="avg", input_shape=(224, 224, 3))
    values = np.load(folder / "pixels.npy").transpose(0, 2, 3, 1).astype(np.float32)
    np.save(folder / "keras.npy", net.predict(keras.applications.vgg16.preprocess_input(values), verbose=0))


def by_keras(folder: Path) -> None:
    """Weights, and vectors of the pictures as Keras loads them."""
    import keras

    weights(folder)
    pictures = [
        keras.utils.img_to_array(keras.utils.load_img(file, target_size=(224, 224), interpolation="bilinear"))
        for file in sorted(folder.glob("*.png"))
    ]
    np.save(folder / "pixels.npy", np.stack(pictures).astype(np.uint8).transpose(0, 3, 1, 2))
    vectors(folder)


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
    {"weights": weights, "vectors": vectors, "keras": by_keras, "imgvec": by_imgvec}[sys.argv[1]](
        Path(sys.argv[2]), *sys.argv[3:]
    )
