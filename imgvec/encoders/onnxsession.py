"""onnxruntime's session of one file: on which device, and in a process that was forked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from imgvec import forked
from imgvec.errors import EncoderError, EncoderUnavailable

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxSession:
    """Made again in a forked child, since onnxruntime's threads stay behind in the parent.

    Raises `EncoderUnavailable` for a file that onnxruntime cannot run.
    """

    def __init__(self, file: Path, model: str, wanted: list[Any]) -> None:
        self._file, self._model, self._wanted = file, model, wanted
        self._made: Any = None
        self._left_behind = False
        if self._session.get_providers()[0] == _CPU and wanted[-1] != _CPU:
            raise EncoderError(f"{model}: onnxruntime cannot start its CUDA provider here; use device cpu")
        self.on_gpu = self._session.get_providers()[0] != _CPU
        forked.watch(self)

    def after_fork(self) -> None:
        """In a forked child: see `forked`."""
        self._left_behind = self.on_gpu
        self._made = None

    @property
    def _session(self) -> Any:
        if self._left_behind:
            raise EncoderUnavailable(
                f"{self._model} was loaded on a GPU before this process was forked, and GPU memory is not inherited: "
                f"use spawn to start processes, or load the encoder in each"
            )
        if self._made is None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # errors; warnings are about the exporter's work
            if forked.one_thread():
                options.intra_op_num_threads = 1
            try:
                self._made = onnxruntime.InferenceSession(str(self._file), options, providers=self._wanted)
            except Exception as exc:  # its exceptions have no common root of their own
                said = (str(exc).splitlines() or [type(exc).__name__])[0][:300]
                raise EncoderUnavailable(f"{self._model}: onnxruntime cannot run it: {said}") from exc
        return self._made

    def inputs(self) -> list[Any]:
        return list(self._session.get_inputs())

    def outputs(self) -> list[Any]:
        return list(self._session.get_outputs())

    def run(self, output: str, values: dict[str, Any]) -> Any:
        return self._session.run([output], values)[0]


def providers(device: str, model: str) -> list[Any]:
    """onnxruntime's providers for a device as torch names it; `auto` is CUDA where it is there, with the CPU behind it.

    Raises `EncoderError` for a device that this onnxruntime cannot use.
    """
    here = onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and _CUDA not in here):
        return [_CPU]
    if device == "auto":
        return [_CUDA, _CPU]
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise EncoderError(f"{model}: onnxruntime computes on cpu and cuda here, not on {device!r}")
    if _CUDA not in here:
        raise EncoderError(f"{model}: this onnxruntime has no CUDA provider: pip install onnxruntime-gpu, or use cpu")
    return [(_CUDA, {"device_id": int(number or 0)})]
