"""An encoder's net written as an ONNX file with its preprocessing beside it, as an exporter would leave them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from imgvec.encoders import HuggingFaceEncoder
from imgvec.encoders.lastlayer import read_every_token


class _ClassToken(torch.nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.net(pixel_values=values).last_hidden_state[:, 0]
        return made


def export(encoder: HuggingFaceEncoder, folder: Path) -> Path:
    """`model.onnx` of an encoder in float32 on the CPU that reads the class token."""
    preprocessing = encoder._preprocessing
    net, side, file = encoder._readout.vision, encoder.binding.image_size, folder / "model.onnx"
    read_every_token(net)  # as transformers has it
    with warnings.catch_warnings():
        # torch's older exporter, which needs no package beside torch, warns of itself and of what it traces
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _ClassToken(net).eval(),
            (torch.zeros(2, 3, side, side),),
            str(file),
            input_names=["pixel_values"],
            output_names=["image_embeds"],
            dynamic_axes={"pixel_values": {0: "n"}, "image_embeds": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
    stated = {
        "size": {"shortest_edge": preprocessing.resize},
        "crop_size": {"height": side, "width": side},
        "resample": preprocessing.resample,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    file.with_name("model.onnx.json").write_text(json.dumps(stated), encoding="utf-8")
    return file
