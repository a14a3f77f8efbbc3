"""Chooses the device and the number format of a model."""

from __future__ import annotations

from pathlib import Path

import torch

from imgvec.errors import EncoderError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

#: Images in one pass. On a CPU 8 and 16 are equally fast and 32 is slower by a third: activations leave the caches.
BATCH_SIZES = {"cuda": 64, "mps": 32, "cpu": 16}


def choose_device(name: str) -> torch.device:
    """`auto` is cuda, then mps, then cpu; anything else is a device as torch names it, and must be there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        raise EncoderError(f"device {name!r} cannot be used here: {str(exc).splitlines()[0]}") from exc
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it, which is faster at a cosine of 0.999 to float32."""
    if name == "auto":
        return torch.bfloat16 if _computes_bf16(device) else torch.float32
    if name not in DTYPES:
        raise EncoderError(f"dtype {name!r} is not one of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _cpu_has_bf16(Path("/proc/cpuinfo"))


def _cpu_has_bf16(cpuinfo: Path) -> bool:
    """Read from the kernel: torch's own test also says yes where bfloat16 is emulated, several times slower."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def out_of_memory(exc: BaseException) -> bool:
    """Whether a failed pass may work with fewer images."""
    if isinstance(exc, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(exc).lower()
    return isinstance(exc, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
