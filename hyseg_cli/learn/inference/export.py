"""A model as one graph that others can run: image in, class probabilities out.

Standardisation, temperature and the policy of the noise are inside. The noise is none (`zero`), as
noise keyed by place would need the place as a second input, which runners of such files do not
give. The exporter that traces runs of the network is not used: it was seen to write files that are
wrong without an error.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.model.weights import Model

Floats = npt.NDArray[np.float32]

INPUT, OUTPUT = "image", "probabilities"
BYTE = 255.0
"""Runners divide 8-bit images by it; the graph multiplies by it again."""
OPSET = 18
EXTRA_HINT = 'Install it with pip install "hyseg[onnx]".'


class ProbabilityNetwork(nn.Module):
    """A model with all that stands around its network.

    Shapes: image (1, bands, S, S) -> float32 (1, N, S, S), summing to one over N. Images of 8-bit
    models come divided by 255, others as they are.

    Args:
        model: The network, whose noise is set to none, and its card.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        network = model.network
        sample = replace(network.config.sample, noise="zero")
        network.config = replace(network.config, sample=sample)
        self.network = network.eval()
        self.standardise = Standardise(model.card.radiometry)
        self.scale = input_scale(model.card)
        self.temperature = model.card.temperature
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        valid = torch.ones_like(image[:, :1], dtype=torch.bool)
        standard = self.standardise(image * self.scale, valid)
        origin = torch.zeros(1, 2, dtype=torch.int64)
        logits = self.network(standard, valid, origin).logits
        probabilities: Tensor = (logits / self.temperature).softmax(dim=1)
        return probabilities


def input_scale(card: ModelCard) -> float:
    """What the graph multiplies its input by."""
    return BYTE if card.dtype == "uint8" else 1.0


def write_onnx(wrapped: ProbabilityNetwork, card: ModelCard, side: int, path: Path) -> None:
    """Write an ONNX file for tiles of one side.

    Raises:
        HysegError: If the packages are missing or the network cannot be exported.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it, and says so late
    except ImportError as error:
        raise HysegError(
            f"ONNX files need {error.name}, which is missing", hint=EXTRA_HINT
        ) from error
    example = torch.zeros(1, len(card.bands), side, side)
    with torch.no_grad():
        program = torch.onnx.export(
            wrapped, (example,), dynamo=True, optimize=False, verbose=False,
            opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT],
        )  # fmt: skip
    if program is None:
        raise HysegError(
            "the exporter gave no graph", hint="Report it with what `hyseg check` prints."
        )
    model = program.model_proto
    for key, value in deepness_metadata(card, side).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def write_pt2(wrapped: ProbabilityNetwork, card: ModelCard, side: int, path: Path) -> None:
    """Write an exported program of PyTorch (`torch.export.load`) for tiles of one side."""
    example = torch.zeros(1, len(card.bands), side, side)
    with torch.no_grad():
        program = torch.export.export(wrapped, (example,))
    extra = {"hyseg.json": json.dumps(deepness_metadata(card, side))}
    content = io.BytesIO()  # PyTorch's own writer aborts the program where a disk is full
    torch.export.save(program, content, extra_files=extra)
    path.write_bytes(content.getbuffer())


def run_onnx(path: Path, images: list[Floats]) -> list[Floats]:
    """What ONNX Runtime makes of images (1, bands, S, S) on the CPU.

    Raises:
        HysegError: If ONNX Runtime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise HysegError(
            f"checking ONNX files needs {error.name}, which is missing", hint=EXTRA_HINT
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: what it does not fold beforehand it computes later
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {INPUT: image})[0] for image in images]


def run_pt2(path: Path, images: list[Floats]) -> list[Floats]:
    """What an exported program of PyTorch makes of images (1, bands, S, S)."""
    module = torch.export.load(path).module()
    with torch.no_grad():
        return [module(torch.from_numpy(image)).numpy() for image in images]


def deepness_metadata(card: ModelCard, side: int) -> dict[str, Any]:
    """Keys by which Deepness, a plugin of QGIS, knows what a file is.

    It reads `tile_size`; its documentation says `tiles_size`. Source: the page "Adding metadata to
    ONNX model" of its documentation.
    """
    found: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": dict(enumerate(card.legend.names)),
        "tile_size": side,
        "tiles_size": side,
        "tiles_overlap": 25,
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
        "hyseg_bands": list(card.bands),
        "hyseg_input_scale": input_scale(card),
        "hyseg_licence": card.data.licence,
        "hyseg_attribution": card.data.attribution,
    }
    if card.resolution_m is not None:
        low, high = card.resolution_m
        usual = card.best_resolution_m or (low * high) ** 0.5
        found["resolution"] = round(100.0 * usual, 1)  # cm
    return found
