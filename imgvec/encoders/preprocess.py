"""From an upright RGB image to the square of pixels that a model sees, as the model's own processor does it.

The processors of most families are a resize and a crop with a few parameters. Done here they take a third of the time.
The resize is torch's, as in transformers' processors where torchvision is installed; Pillow's, which the others use, is
three times slower and differs by a level or two in a few of a thousand values. A processor that is not known is called
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec.encoders.protocol import Pixels
from imgvec.errors import EncoderUnavailable

#: Processors that do nothing but resize, centre crop, rescale and normalise.
PLAIN = frozenset(f"{name}ImageProcessor" for name in ("Beit", "Bit", "CLIP", "DeiT", "DINOv3ViT", "Siglip", "ViT"))

#: ConvNeXt's evaluation: below this side the image is enlarged by 1/crop_pct and cropped, from it on it is squashed.
CONVNEXT_SQUASH_FROM = 384

#: Longer images are cropped to this ratio first: a banner of 20000 x 10 pixels must not become one of 512000 x 256.
MAX_RATIO = 8


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, rescale, normalise.

    `resize` is the length of the shorter edge, or with `squash` of both; `crop` the side of the centre crop, None for
    no crop. A value v in 0..255 becomes (v · rescale - mean) / std.
    """

    resize: int
    squash: bool
    crop: int | None
    resample: int
    rescale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float | None = None
    """ConvNeXt's: kept so that another `image_size` follows the same rule."""
    processor: Any = None
    """The Hugging Face processor to call, where it is not a plain one."""

    @property
    def image_size(self) -> int:
        return self.crop or self.resize

    def with_size(self, side: int) -> Preprocessing:
        """The same for another side, with resize and crop in proportion."""
        if side == self.image_size:
            return self
        if side < 1:
            raise EncoderUnavailable(f"image_size must be positive, not {side}")
        if self.processor is not None:
            resized = type(self.processor)(**{**self.processor.to_dict(), "size": {"height": side, "width": side}})
            return from_processor(resized)
        if self.crop_pct is not None:
            return replace(self, **_convnext(side, self.crop_pct))
        if self.crop is None:
            return replace(self, resize=side)
        return replace(self, resize=round(self.resize * side / self.crop), crop=side)

    def whole(self) -> Preprocessing:
        """The same without a crop: the whole picture is resized to the square.

        Raises `EncoderUnavailable` for a processor of a kind that is not known.
        """
        if self.processor is not None:
            raise EncoderUnavailable(f"{type(self.processor).__name__} cannot be told to resize the whole picture")
        if self.squash and self.crop is None:
            return self
        return replace(self, resize=self.image_size, squash=True, crop=None, crop_pct=None)

    def prepare(self, image: Image.Image) -> Pixels:
        """(3, image_size, image_size) uint8, C-contiguous."""
        if image.mode != "RGB":
            image = image.convert("RGB")
        if self.processor is not None:
            return self._through_processor(image)
        if self.squash:
            width, height = self.resize, self.resize
        else:
            image = _within_ratio(image)
            width, height = _shorter_edge(image.width, image.height, self.resize)
        pixels = _resized(image, width, height, self.resample)
        if self.crop is not None:
            pixels = _centre(pixels, self.crop)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def values(self, pixels: Pixels) -> NDArray[np.float32]:
        """What the model sees of (n, 3, side, side) uint8 pixels: rescaled and normalised, float32."""
        mean, std = (np.asarray(each, np.float32).reshape(-1, 1, 1) for each in (self.mean, self.std))
        return np.asarray((pixels.astype(np.float32) * np.float32(self.rescale) - mean) / std, np.float32)

    def _through_processor(self, image: Image.Image) -> Pixels:
        values = self.processor(images=image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
        return np.ascontiguousarray(np.clip(np.rint(np.asarray(values)[0]), 0, 255).astype(np.uint8))

    def identity(self) -> dict[str, Any]:
        """What a fingerprint is taken over."""
        if self.processor is not None:
            return {k: v for k, v in self.processor.to_dict().items() if k != "processor_class"}
        numbers = {name: getattr(self, name) for name in ("resize", "squash", "crop", "resample", "rescale")}
        return {**numbers, "mean": list(self.mean), "std": list(self.std)}


def from_processor(processor: Any) -> Preprocessing:
    """Read a loaded Hugging Face image processor."""
    parameters = processor.to_dict()
    plain = from_parameters(parameters)
    if plain is not None:
        return plain
    rescale, mean, std = _affine(parameters)
    # The size that an unknown processor makes is seen by having it make one.
    probe = Preprocessing(0, True, None, 0, rescale, mean, std, processor=processor)
    try:
        shape = probe.prepare(Image.new("RGB", (640, 480), (128, 128, 128))).shape
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as exc:
        raise EncoderUnavailable(f"{type(processor).__name__} makes no plain pixel_values: {exc}") from exc
    if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
        raise EncoderUnavailable(
            f"{type(processor).__name__} makes arrays of shape {shape}, not a square of 3 channels"
        )
    return replace(probe, resize=shape[1])


def from_parameters(parameters: Mapping[str, Any]) -> Preprocessing | None:
    """Read a processor's parameters; None if it is not a plain one."""
    kind = str(parameters.get("image_processor_type", "")).removesuffix("Pil").removesuffix("Fast")
    size, crop_size = parameters.get("size") or {}, parameters.get("crop_size") or {}
    shortest = size.get("shortest_edge")
    rescale, mean, std = _affine(parameters)
    if not parameters.get("do_resize", True) or parameters.get("do_pad"):
        return None
    resample = int(parameters.get("resample", Image.Resampling.BILINEAR))
    if kind == "ConvNextImageProcessor" and shortest and not parameters.get("do_center_crop"):
        crop_pct = float(parameters.get("crop_pct") or 224 / 256)
        sides = _convnext(shortest, crop_pct)
        return Preprocessing(**sides, resample=resample, rescale=rescale, mean=mean, std=std, crop_pct=crop_pct)
    if kind not in PLAIN:
        return None
    squash = "height" in size and size["height"] == size.get("width")
    cropped = bool(parameters.get("do_center_crop"))
    square = crop_size.get("height") if crop_size.get("height") == crop_size.get("width") else None
    if squash == bool(shortest) or size.get("longest_edge") or (cropped and not square) or not (squash or cropped):
        return None
    return Preprocessing(
        resize=int(size["height"]) if squash else int(shortest or 0),
        squash=squash,
        crop=int(square) if cropped and square else None,
        resample=resample,
        rescale=rescale,
        mean=mean,
        std=std,
    )


def _affine(parameters: Mapping[str, Any]) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    rescale = float(parameters.get("rescale_factor", 1 / 255)) if parameters.get("do_rescale", True) else 1.0
    if not parameters.get("do_normalize", True):
        return rescale, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = (np.broadcast_to(parameters[key], 3).tolist() for key in ("image_mean", "image_std"))
    return rescale, tuple(mean), tuple(std)


def _convnext(side: int, crop_pct: float) -> dict[str, Any]:
    if side >= CONVNEXT_SQUASH_FROM:
        return {"resize": side, "squash": True, "crop": None}
    return {"resize": int(side / crop_pct), "squash": False, "crop": side}


def _shorter_edge(width: int, height: int, edge: int) -> tuple[int, int]:
    """Width and height with the shorter edge at `edge`, rounded down as transformers and torchvision do."""
    if width <= height:
        return edge, int(edge * height / width)
    return int(edge * width / height), edge


def _resized(image: Image.Image, width: int, height: int, resample: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8, low-pass filtered where it is made smaller."""
    mode = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}.get(Image.Resampling(resample))
    if mode is None:
        return np.asarray(image.resize((width, height), resample))
    import torch  # late: what reads a processor's parameters must not wait for it

    planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(planes, size=(height, width), mode=mode, antialias=True)
    made: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return made


def _centre(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle (side, side, 3); what is smaller is padded with zeros, the odd one first, as transformers does."""
    height, width = pixels.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    if top < 0 or left < 0:
        around = [(max(0, -start), max(0, side + start - length)) for start, length in ((top, height), (left, width))]
        pixels = np.pad(pixels, [*around, (0, 0)])
        top, left = max(top, 0), max(left, 0)
    return pixels[top : top + side, left : left + side]


def _within_ratio(image: Image.Image) -> Image.Image:
    longest = MAX_RATIO * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
