"""Whole image files to mutate, some of each format that can be had here."""

from __future__ import annotations

import io
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF.get_ifd(0x8769)[0x9003] = "2021:05:04 03:02:01"


def photo(mode: str = "RGB", size: tuple[int, int] = (60, 44)) -> Image.Image:
    """A smooth picture without symmetry, whose every part differs."""
    coarse = np.random.default_rng(7).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    image = Image.fromarray(coarse, "RGBA").resize(size, Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert("RGB").convert(mode) if mode != "RGBA" else image


def _saved(format: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    photo(mode).save(buffer, format, **options)
    return buffer.getvalue()


@cache
def seeds() -> dict[str, list[bytes]]:
    """Files by format; formats that nothing here can write are left out."""
    found = {
        "JPEG": [
            _saved("JPEG"),
            _saved("JPEG", progressive=True, exif=EXIF),
            _saved("JPEG", "CMYK"),
            _saved("JPEG", "L", quality=30, restart_marker_rows=1),
        ],
        "PNG": [
            _saved("PNG"),
            _saved("PNG", "P", transparency=3),
            _saved("PNG", "RGBA", exif=EXIF),
            _saved("PNG", "I;16"),
            _saved("PNG", "1"),
            _saved("PNG", save_all=True, append_images=[photo().rotate(90)]),
        ],
        "GIF": [
            _saved("GIF", "P"),
            _saved("GIF", "P", save_all=True, append_images=[photo("P").rotate(90)], transparency=2),
        ],
        "BMP": [_saved("BMP"), _saved("BMP", "P"), _saved("BMP", "1"), _saved("BMP", "RGBA")],
        "WEBP": [_saved("WEBP"), _saved("WEBP", "RGBA", lossless=True, exif=EXIF), _saved("WEBP", "RGBA", quality=40)],
        "TIFF": [
            _saved("TIFF", compression=compression)
            for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ]
        + [_saved("TIFF", "1", compression="group4"), _saved("TIFF", "I;16"), _saved("TIFF", "CMYK")],
        "MPO": [_saved("MPO", save_all=True, append_images=[photo().rotate(90)])],
        "AVIF": [_saved("AVIF"), _saved("AVIF", "RGBA", exif=EXIF)],
        "JPEG2000": [_saved("JPEG2000"), _saved("JPEG2000", tile_size=(32, 32), no_jp2=True)],
        "PPM": [_saved("PPM"), _saved("PPM", "L"), _saved("PPM", "1"), b"P3\n2 2\n255\n" + b"9 80 200\n" * 4],
    }
    if shutil.which("heif-enc"):
        found["HEIC"] = [_heic()]
    jxl = _jxl()
    if jxl:
        found["JXL"] = jxl
    return found


def _heic() -> bytes:
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "photo.png"), Path(folder, "photo.heic")
        photo().save(source)
        subprocess.run(["heif-enc", source, "-o", target], check=True, capture_output=True)
        return target.read_bytes()


def _jxl() -> list[bytes]:
    try:
        import pillow_jxl  # noqa: F401 - registers the format
    except ImportError:
        return []
    return [_saved("JXL"), _saved("JXL", lossless=True)]
